# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of mamctl(1) for bash. Commands, options and their values come from mamctl itself, services and revisions from the running manager.

_mamctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]}
  local command='' service='' word words valued i n=0
  COMPREPLY=()

  # bash splits words at '=' and ':', and hands over the separator as a word of its own
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi

  # the command, how many arguments stand between it and the cursor, and the first of them
  valued=" $("$program" __complete valued 2>/dev/null | tr '\n' ' ')"
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == -* ]]; then
      # --version takes a value only after a command that says so
      if [[ $valued == *" $word "* && ( $word != --version || -n $command ) ]]; then
        [[ ${COMP_WORDS[i + 1]} == '=' ]] && ((i++))
        ((i++))
      fi
    elif [[ $word != '=' && $word != ':' ]]; then
      if [[ -z $command ]]; then
        command=$word
      else
        ((n++))
        [[ $n -eq 1 ]] && service=$word
      fi
    fi
  done

  if [[ $prev == -H || $prev == --host ]]; then
    if declare -F _known_hosts_real >/dev/null; then
      _known_hosts_real -a -- "$cur"
    fi
    return
  fi
  if [[ $prev == --exec || $prev == --image ]]; then
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    compopt -o filenames 2>/dev/null
    return
  fi

  if [[ $valued == *" $prev "* && ( $prev != --version || -n $command ) ]]; then
    words=$("$program" __complete -- values "$prev" "$command" ${service:+"$service"} 2>/dev/null)
  elif [[ $cur == -* ]]; then
    words=$("$program" __complete options ${command:+"$command"} 2>/dev/null)
  elif [[ -z $command ]]; then
    words=$("$program" __complete commands 2>/dev/null | cut -d: -f1)
  else
    words=$("$program" __complete argument "$command" "$n" ${service:+"$service"} 2>/dev/null | cut -d: -f1)
  fi

  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}

complete -F _mamctl mamctl

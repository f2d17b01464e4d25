# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of mamctl(1) for bash. Commands and options come from mamctl itself, services from the running manager.

_mamctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]}
  local command='' word words i n=0
  COMPREPLY=()

  # bash splits words at '=' and ':', and hands over the separator as a word of its own
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi

  case $prev in
    -H | --host)
      if declare -F _known_hosts_real >/dev/null; then
        _known_hosts_real -a -- "$cur"
      fi
      return
      ;;
    --cpu | --memory)
      mapfile -t COMPREPLY < <(compgen -W 'default' -- "$cur")
      return
      ;;
    -n | --lines | --interval | --timeout | --ttl | --subject | --role)
      return
      ;;
  esac

  # the command, and how many arguments stand between it and the cursor
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    case $word in
      -H | --host | -n | --lines | --cpu | --memory | --interval | --timeout | --ttl | --subject | --role)
        [[ ${COMP_WORDS[i + 1]} == '=' ]] && ((i++))
        ((i++))
        ;;
      -* | = | :) ;;
      *)
        if [[ -z $command ]]; then
          command=$word
        else
          ((n++))
        fi
        ;;
    esac
  done

  if [[ $cur == -* ]]; then
    words=$("$program" __complete options ${command:+"$command"} 2>/dev/null)
  elif [[ -z $command ]]; then
    words=$("$program" __complete commands 2>/dev/null | cut -d: -f1)
  elif [[ $command == help && $n -eq 0 ]]; then
    words=$("$program" __complete commands 2>/dev/null | cut -d: -f1)
  elif [[ $n -eq 0 ]] && "$program" __complete takes-service "$command" 2>/dev/null; then
    words=$("$program" __complete services 2>/dev/null)
  else
    return
  fi

  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}

complete -F _mamctl mamctl

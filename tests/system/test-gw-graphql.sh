# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# /graphql of the gateway over the project manager, with curl and the reference implementation of npm.

# graphql DOCUMENT [VARIABLES [CURL ARGUMENT]…]: the answer, whatever its status.
graphql() {
  local document=$1 variables=${2:-null}
  shift
  (($# == 0)) || shift
  jq -cn --arg q "$document" --argjson v "$variables" '{query: $q, variables: $v}' |
    curl -sS --max-time 30 -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' --data-binary @- "$@" http://localhost:3000/graphql
}

graphql_up() {
  suite_up
  eventually 20 graphql_is_there
}

graphql_is_there() {
  graphql '{projects(first: 1) {next}}' | jq -e .data.projects
}

test_projects_and_tasks_are_made_read_changed_and_removed() {
  graphql_up
  local made id version task
  # shellcheck disable=SC2016
  made=$(graphql 'mutation($i: NewProject!, $k: String) {a: createProject(input: $i, idempotencyKey: $k) {id key version state} b: createProject(input: $i, idempotencyKey: $k) {id}}' \
    '{"i":{"key":"GQL","name":"Of GraphQL"},"k":"once"}')
  id=$(jq -re .data.a.id <<<"$made")
  equal "$(jq -r .data.b.id <<<"$made")" "$id" "the same key made another project"
  equal "$(jq -r '.data.a | .key + " " + .state' <<<"$made")" "GQL ACTIVE"
  # shellcheck disable=SC2016
  task=$(graphql 'mutation($p: ID!) {a: createTask(project: $p, input: {title: "one", priority: HIGH, due: "2027-01-31"}) {id} b: createTask(project: $p, input: {title: "two", status: IN_PROGRESS, assignee: "ada"}) {id key}}' \
    "{\"p\":\"$id\"}")
  equal "$(jq -r .data.b.key <<<"$task")" GQL-2
  equal "$(graphql '{project(id: "GQL") {name tasks {items {key title status priority due assignee project {key}} next}} none: project(id: "NONE") {id}}' | jq -c .data)" \
    '{"project":{"name":"Of GraphQL","tasks":{"items":[{"key":"GQL-1","title":"one","status":"TODO","priority":"HIGH","due":"2027-01-31","assignee":null,"project":{"key":"GQL"}},{"key":"GQL-2","title":"two","status":"IN_PROGRESS","priority":"NORMAL","due":null,"assignee":"ada","project":{"key":"GQL"}}],"next":null}},"none":null}'
  equal "$(graphql '{project(id: "GQL") {tasks(status: IN_PROGRESS) {items {key}}}}' | jq -c .data.project.tasks.items)" '[{"key":"GQL-2"}]'

  # pages: one after the other
  made=$(graphql '{project(id: "GQL") {tasks(first: 1) {items {key} next}}}')
  # shellcheck disable=SC2016
  equal "$(graphql 'query($a: String) {project(id: "GQL") {tasks(first: 1, after: $a) {items {key} next}}}' "$(jq -c '{a: .data.project.tasks.next}' <<<"$made")" |
    jq -c .data.project.tasks)" '{"items":[{"key":"GQL-2"}],"next":null}'

  # a change of somebody else is not overwritten
  version=$(graphql '{project(id: "GQL") {version}}' | jq .data.project.version)
  equal "$(graphql "mutation {updateProject(id: \"GQL\", version: $version, input: {name: \"New\"}) {name version}}" | jq -c .data.updateProject)" \
    "{\"name\":\"New\",\"version\":$((version + 1))}"
  equal "$(graphql "mutation {updateProject(id: \"GQL\", version: $version, input: {name: \"Newer\"}) {name}}" | jq -c '[.data, .errors[0].extensions.code, .errors[0].path]')" \
    '[null,"PRECONDITION_FAILED",["updateProject"]]'
  # what is wrong with an input comes with its pointer
  equal "$(graphql 'mutation {createProject(input: {key: "bad key", name: ""}) {id}}' | jq -c '.errors[0].extensions | [.code, .status, (.errors | map(.pointer) | sort)]')" \
    '["BAD_USER_INPUT",422,["/key","/name"]]'
  equal "$(graphql "mutation {deleteProject(id: \"GQL\", version: $((version + 1)))}" | jq -c .data)" '{"deleteProject":true}'
  equal "$(graphql '{project(id: "GQL") {id}}' | jq -c .)" '{"data":{"project":null}}'
}

test_it_permits_what_the_routes_permit() {
  graphql_up
  local TOKEN
  equal "$(http_status POST /graphql -H 'Content-Type: application/json' -d '{"query":"{__typename}"}')" 401
  TOKEN=$(mamctl token --subject reader --role viewer --ttl 1h)
  equal "$(graphql '{projects {items {id}}}' | jq -c 'has("errors")')" false
  equal "$(graphql 'mutation {createProject(input: {key: "NO", name: "no"}) {id}}' | jq -c '[.data, .errors[0].extensions.code, .errors[0].extensions.status]')" '[null,"FORBIDDEN",403]'
  equal "$(graphql '{a: project(id: 1) {id} b: nothing}' null -H 'Accept: application/graphql-response+json' -o /dev/null -w '%{http_code}')" 400
}

test_what_costs_too_much_is_refused() {
  graphql_up
  equal "$(graphql '{projects(first: 200) {items {tasks(first: 200) {items {project {tasks {items {id}}}}}}}}' | jq -r '.errors[0].extensions.code')" LIMIT_EXCEEDED
  equal "$(graphql "{$(printf 'a%d: __typename ' {1..60})}" | jq -r '.errors[0].extensions.code')" LIMIT_EXCEEDED
  equal "$(graphql "$(printf '{project(id:1)%.0s' {1..500})" | jq -r '.errors[0].extensions.code')" LIMIT_EXCEEDED
}

test_a_file_of_an_administrator_joins_in() {
  graphql_up
  cat >/etc/mam/graphql.d/own.graphql <<'EOF'
extend type Query {
  "Keys of projects"
  keys: [Key!] @rest(service: "project-manager", get: "/api/v1/projects?limit=5", at: "/items")
}
type Key { key: String! name: String @json(name: "key") }
EOF
  eventually 20 graphql_has keys
  # what is broken changes nothing, and the journal says where
  echo 'extend type Query { broken }' >/etc/mam/graphql.d/broken.graphql
  eventually 20 journal_has 'broken.graphql:1: Syntax error'
  graphql_has keys
  rm /etc/mam/graphql.d/*.graphql
  eventually 20 graphql_has_not keys
}

graphql_has() {
  graphql "{$1 {__typename}}" | jq -e 'has("errors") | not'
}

graphql_has_not() {
  graphql "{$1 {__typename}}" | jq -e '.errors[0].extensions.code == "GRAPHQL_VALIDATION_FAILED"'
}

journal_has() {
  journalctl -o cat -u 'mam*' | grep -qF "$1"
}

test_it_is_switched_off_and_on_without_a_pause() {
  graphql_up
  local file=/etc/mam/microservices.json before
  before=$(cat $file)
  jq '.gateway.graphql.introspection = false' <<<"$before" >$file
  mamctl init >/dev/null
  eventually 30 introspection_is_off
  graphql_is_there
  jq '.gateway.graphql.enabled = false' <<<"$before" >$file
  mamctl init >/dev/null
  eventually 30 graphql_status 404
  echo "$before" >$file
  mamctl init >/dev/null
  eventually 30 graphql_status 200
}

introspection_is_off() {
  graphql '{__schema {description}}' | jq -e '.errors[0].message == "Introspection is not allowed here"'
}

graphql_status() {
  [[ $(graphql '{__typename}' null -o /dev/null -w '%{http_code}') == "$1" ]]
}

npm_up() {
  graphql_up
  command -v node >/dev/null || skip "node is not installed"
  [[ -d $here/node_modules/graphql-http ]] || skip "the npm package graphql-http was not fetched (./dev test does where there is npm)"
}

test_the_audits_of_graphql_over_http_pass() {
  npm_up
  (cd "$here" && node graphql.js audit http://localhost:3000/graphql "$TOKEN") >/tmp/audit
  equal "$(tail -n 1 /tmp/audit)" "0 failed" "$(cat /tmp/audit)"
}

test_the_reference_implementation_reads_the_schema_and_agrees_on_what_is_valid() {
  npm_up
  matches "$(cd "$here" && node graphql.js schema http://localhost:3000/graphql "$TOKEN")" 'Project ProjectChange ProjectPage ProjectState Query'
  (cd "$here" && node graphql.js differ http://localhost:3000/graphql "$TOKEN") >/tmp/differ
  equal "$(tail -n 1 /tmp/differ)" "0 different" "$(cat /tmp/differ)"
}

# grpc_health METHOD MESSAGE [CURL ARGUMENT]…: the answer's bytes in hexadecimal; /tmp/grpc-head has fields and trailers. MESSAGE as of printf.
grpc_health() {
  local method=$1 message=$2
  shift 2
  # shellcheck disable=SC2059
  printf "$message" | curl -sS --max-time 30 --http2-prior-knowledge -H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- \
    -D /tmp/grpc-head "$@" "http://localhost:3000/grpc.health.v1.Health/$method" | od -An -v -tx1 | tr -d ' \n'
}

test_grpc_health_is_answered_over_http2() {
  suite_up
  curl --version | grep -q HTTP2 || skip "this curl does not speak HTTP/2"
  local message='\0\0\0\0\021\n\017project-manager'
  equal "$(grpc_health Check '\0\0\0\0\0')" 00000000020801
  grep -qi '^grpc-status: 0' /tmp/grpc-head
  equal "$(grpc_health Check "$message" -H "Authorization: Bearer $TOKEN")" 00000000020801
  equal "$(grpc_health Check "$message")" ""
  grep -qi '^grpc-status: 16' /tmp/grpc-head
  equal "$(grpc_health Check '\0\0\0\0\006\n\004none' -H "Authorization: Bearer $TOKEN")" ""
  grep -qi '^grpc-status: 5' /tmp/grpc-head
}

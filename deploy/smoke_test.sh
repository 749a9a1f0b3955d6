#!/usr/bin/env bash
# The whole stack on a machine with Docker, from nothing to a verdict:
#
#     deploy/smoke_test.sh
#     deploy/smoke_test.sh --cluster
#
# Builds the images, draws a library, starts everything, searches, kills and restarts Qdrant in
# the middle of an ingest, tries the keys, asks the API through the TLS overlay, backs up, restores
# into an empty stack, and cleans up.
# With --cluster it starts three nodes instead and loses each in turn, the first too, while an
# ingest and searches run, and counts the pictures on every node afterwards.
# It uses a project name, ports and a folder of its own and touches no other stack. Takes some
# minutes, most of them the build.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v docker >/dev/null || {
  echo "deploy/smoke_test.sh needs docker, which is not installed" >&2
  exit 2
}

case "${1:-}" in
  "") files=() ;;
  --cluster) files=(--file docker-compose.yml --file deploy/compose.cluster.yml) ;;
  *)
    echo "deploy/smoke_test.sh takes --cluster or nothing" >&2
    exit 2
    ;;
esac

work=$(mktemp -d)
mkdir -p "$work/photos" "$work/exchange"
chmod 755 "$work" "$work/photos"
chmod 777 "$work/exchange" # written to by user 10001
cat >"$work/env" <<ENV
$(deploy/make_keys.sh)
PHOTOS=$work/photos
EXCHANGE=$work/exchange
INGEST_WORKERS=2
PAGE_PORT=${PAGE_PORT:-18501}
API_PORT=${API_PORT:-18600}
HTTP_PORT=${HTTP_PORT:-18080}
HTTPS_PORT=${HTTPS_PORT:-18443}
SITE=smoke.internal
PAGE_USER=smoke
PAGE_PASSWORD_HASH='\$2a\$14\$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG'
QDRANT_PORT=${QDRANT_PORT:-16333}
QDRANT_GRPC_PORT=${QDRANT_GRPC_PORT:-16334}
SCENESEARCH_LIBRARY=smoke
ENV
# shellcheck disable=SC1091
. "$work/env"

passed=0
project=scenesearch-smoke
compose() { docker compose "${files[@]}" --env-file "$work/env" --project-name "$project" "$@"; }
admin() { compose run --rm --no-deps -T admin "$@"; }
step() { printf '\n== %s\n' "$1"; }
pass() { passed=$((passed + 1)); printf 'PASS  %s\n' "$1"; }
fail() { printf 'FAIL  %s\n' "$1"; exit 1; }

finish() {
  code=$?
  if [ "$code" != 0 ]; then compose logs --tail 40 || true; fi
  project=scenesearch-smoke compose --profile '*' down --volumes --remove-orphans >/dev/null 2>&1 || true
  project=scenesearch-smoke-2 compose --profile '*' down --volumes --remove-orphans >/dev/null 2>&1 || true
  rm -rf "$work"
  if [ "$code" = 0 ]; then
    printf '\nVERDICT: the stack works (%s checks)\n' "$passed"
  else
    printf '\nVERDICT: the stack does NOT work (%s checks passed before)\n' "$passed"
  fi
  exit "$code"
}
trap finish EXIT
project=scenesearch-smoke

# What a node says, all of them when none is named.
pictures() {
  compose run --rm --no-deps -T ${1:+--env SCENESEARCH_QDRANT_URL=http://$1:6333} admin \
    library status --json 2>/dev/null | sed -n 's/^ "pictures": \([0-9]*\).*/\1/p'
}
# How many there are once there are at least $1, or after $2 seconds; on node $3, if named.
wait_for() {
  local found=0 end=$((SECONDS + $2))
  while [ "$SECONDS" -lt "$end" ]; do
    found=$(pictures "${3:-}" || true)
    [ "${found:-0}" -ge "$1" ] && break
    sleep 2
  done
  echo "${found:-0}"
}
# Method, path, key, port; bash itself asks, for not every machine has curl. The answer is on 3.
ask() {
  local body=
  [ "$1" = PUT ] && body='{"vectors":{"size":4,"distance":"Cosine"}}'
  exec 3<>"/dev/tcp/127.0.0.1/$4"
  printf '%s %s HTTP/1.0\r\nHost: 127.0.0.1\r\napi-key: %s\r\nContent-Type: application/json\r\nContent-Length: %s\r\n\r\n%s' \
    "$1" "$2" "$3" "${#body}" "$body" >&3
}
asked() { # method, path, key: the status
  local status
  ask "$1" "$2" "$3" "$QDRANT_PORT"
  read -r _ status _ <&3
  exec 3>&-
  echo "$status"
}

step "a missing key stops the start with a sentence"
grep -v API_KEY "$work/env" >"$work/env-without"
if docker compose --env-file "$work/env-without" config --quiet 2>"$work/said"; then
  fail "it started without keys"
fi
grep -q "is missing in .env" "$work/said" || fail "no clear sentence: $(cat "$work/said")"
pass "refused: $(tail -1 "$work/said")"

step "images"
compose build --quiet ui ingest
pass "built; sizes: $(docker image inspect -f '{{.RepoTags}} {{.Size}}' scenesearch-ui scenesearch-ingest | tr '\n' ' ')"
for image in scenesearch-ui scenesearch-ingest; do
  docker run --rm --entrypoint python "$image" -c \
    'import importlib.util as u, os; assert not u.find_spec("torch"); assert os.getuid() == 10001'
done
pass "no torch, no root in them"

step "start with an empty folder"
compose up --detach --wait --wait-timeout 180
pass "everything is healthy"

step "keys"
[ "$(asked GET /collections none)" = 401 ] || fail "Qdrant answers without a key"
[ "$(asked GET /collections "$SCENESEARCH_QDRANT_READ_ONLY_API_KEY")" = 200 ] || fail "the read-only key does not read"
case $(asked PUT /collections/intruder "$SCENESEARCH_QDRANT_READ_ONLY_API_KEY") in
  401 | 403) ;;
  *) fail "the read-only key writes" ;;
esac
pass "no key: refused; read-only key: reads and does not write"

draw() {
  docker run --rm --user "$(id -u)" --entrypoint python -v "$work/photos:/photos" scenesearch-ingest -c \
    "from pathlib import Path; from scenesearch.sample.library import write_library; write_library(Path('/photos'), size=$1)"
}

if [ "${#files[@]}" -gt 0 ]; then
  step "draw 300 pictures into the watched folder; lose each node while they come in"
  draw 300 &
  drawing=$!
  found=$(wait_for 1 120)
  [ "$found" -ge 1 ] || fail "nothing came in"
  for node in qdrant qdrant-2 qdrant-3; do
    compose kill --signal KILL "$node"
    for text in "a red boat" "a dog" "people on a beach"; do
      admin search "$text" --json --all >"$work/found.json" || fail "a search failed without $node"
      grep -q '"image_id"' "$work/found.json" || fail "nothing found without $node"
    done
    pass "three searches without $node"
    compose up --detach --wait --wait-timeout 120 "$node"
  done
  wait "$drawing" || fail "the pictures could not be drawn"
  found=$(wait_for 300 300)
  [ "$found" = 300 ] || fail "$found of 300 pictures"
  for node in qdrant qdrant-2 qdrant-3; do
    found=$(wait_for 300 120 "$node")
    [ "$found" = 300 ] || fail "$found of 300 pictures on $node"
  done
  pass "all 300 on every node"
  exit 0
fi

step "draw 300 pictures into the watched folder; kill Qdrant while they come in"
draw 300 &
drawing=$!
found=$(wait_for 1 120)
[ "$found" -ge 1 ] || fail "nothing came in"
compose kill --signal KILL qdrant
sleep 5
compose up --detach --wait --wait-timeout 120 qdrant
wait "$drawing" || fail "the pictures could not be drawn"
pass "killed with $found pictures in it, and started again"
found=$(wait_for 300 300)
[ "$found" = 300 ] || fail "$found of 300 pictures"
pass "all 300 are there, by two workers, with no loss and none twice"

step "search"
admin search "a red boat on the water" --json --all >"$work/found.json"
grep -q '"image_id"' "$work/found.json" || fail "nothing found"
pass "the command line finds"
ask GET /_stcore/health none "$PAGE_PORT"
[ "$(tail -n 1 <&3)" = ok ] || fail "the page is not healthy"
exec 3>&-
pass "the page answers"
compose run --rm -T evaluate --library smoke --queries /photos/test_queries.csv --json >"$work/evaluated.json"
grep -q '"recall@10"' "$work/evaluated.json" || fail "no evaluation"
pass "an evaluation reads with the read-only key"

step "the API through the proxy with TLS"
# Method, path, key, body: the status, and the answer in the next lines. Caddy signs for this name.
ask_site() {
  docker run --rm --network host --entrypoint python scenesearch-ui -c "
import http.client, socket, ssl
context = ssl._create_unverified_context()
asking = http.client.HTTPSConnection('$SITE', context=context)
bare = socket.create_connection(('127.0.0.1', $HTTPS_PORT), 60)
asking.sock = context.wrap_socket(bare, server_hostname='$SITE')
told = {'Content-Type': 'application/json'} | ({'Authorization': 'Bearer ${3:-}'} if '${3:-}' else {})
asking.request('$1', '$2', '${4:-}' or None, told)
answer = asking.getresponse()
print(answer.status)
print(answer.read().decode())"
}
status_of() { ask_site "$@" | sed -n 1p; }
compose run --rm --no-deps -T api serve --new-key smoke >"$work/key"
key=$(sed -n 's/^key: //p' "$work/key")
printf "SCENESEARCH_API_KEYS='[%s]'\n" "$(sed -n 's/^entry: //p' "$work/key")" >>"$work/env"
files=(--file docker-compose.yml --file deploy/compose.tls.yml)
compose --profile api up --detach --wait --wait-timeout 180 api proxy
[ "$(status_of GET /healthz)" = 200 ] || fail "the API does not answer through the proxy"
[ "$(status_of GET /readyz)" = 200 ] || fail "the API is not ready"
ask_site POST /v1/search "$key" '{"text": "a red boat on the water"}' >"$work/asked.json"
[ "$(sed -n 1p "$work/asked.json")" = 200 ] || fail "the key does not search: $(cat "$work/asked.json")"
grep -q '"image_id"' "$work/asked.json" || fail "nothing found through the proxy"
pass "it answers, and finds with the key"
[ "$(status_of POST /v1/search "" '{"text": "a boat"}')" = 401 ] || fail "it searches without a key"
[ "$(status_of POST /mcp "" '{}')" = 401 ] || fail "assistants are answered without a key"
[ "$(status_of GET /metrics "$key")" = 404 ] || fail "the metrics are public"
[ "$(status_of GET /)" = 401 ] || fail "the page asks for no password"
pass "refused: a search without a key, the metrics, the page without the password"

step "back up, and restore into an empty stack"
compose run --rm -T backup >"$work/saved"
file=$(basename "$(ls "$work"/exchange/*.zip)")
compose --profile '*' down >/dev/null 2>&1
project=scenesearch-smoke-2
compose up --detach --wait --wait-timeout 180 qdrant
admin library restore "/exchange/$file"
[ "$(pictures)" = 300 ] || fail "the restored library does not have 300 pictures"
admin search "a red boat on the water" --json --all >"$work/found-again.json"
ids() { sed -n 's/.*"image_id": *"\([^"]*\)".*/\1/p' "$1"; }
[ "$(ids "$work/found.json")" = "$(ids "$work/found-again.json")" ] || fail "the restored library answers differently"
pass "300 pictures, and the same answer as before"

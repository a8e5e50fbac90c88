#!/bin/sh
# Starts the hello function with the logger extension, calls it once, and shows answer, log and the extension's line.
# The kernel chooses the ports, so that other programs, or another agent, are not in the way.
set -eu
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'kill "$agent" 2>/dev/null || :; wait "$agent" 2>/dev/null || :; rm -f "$log"' EXIT
RUNTIME_CODE_ROOT=examples/nodejs/hello GANTRY_EXTENSION_DIRS="$PWD/bin/extensions" GANTRY_LOG_FORMAT=text \
  GANTRY_ADDR=127.0.0.1:0 GANTRY_OPS_ADDR=127.0.0.1:0 EXTENSION_API_ADDR=127.0.0.1:0 \
  bin/bootstrap >"$log" 2>&1 &
agent=$!

# address NAME prints the address of a listener, as the agent's line "listening" has it; nothing before that line is
# there.
address() {
  sed -n 's/.*listening {.*"'"$1"'": "\([^"]*\)".*/\1/p' "$log"
}

tries=0
until [ -n "$(address ops)" ] && GANTRY_OPS_ADDR=$(address ops) bin/bootstrap health >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -gt 200 ] || ! kill -0 "$agent" 2>/dev/null; then
    echo "the agent did not become ready; its log:" >&2
    cat "$log" >&2
    exit 1
  fi
  sleep 0.05
done
function=$(address function)
echo "--- the function listens on http://$function; this calls it: curl http://$function/invoke -d '{\"name\":\"Gantry\"}'"
echo "--- the answer"
echo '{"name":"Gantry"}' | bin/bootstrap invoke --to "$function" --event - 2>/dev/null
echo
tries=0
# The notification does not wait for the call.
until grep -q '^\[extensionLogger\] call' "$log" || [ "$tries" -gt 100 ]; do
  tries=$((tries + 1))
  sleep 0.02
done
echo "--- the log, with the extension's lines in brackets"
cat "$log"
grep -q '^\[extensionLogger\] call' "$log"
echo "--- the agent stops now; start it yourself with: bin/bootstrap serve --code examples/nodejs/hello"

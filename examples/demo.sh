#!/bin/sh
# Starts the hello function with the logger extension, calls it once, and shows answer, log and the extension's line.
set -eu
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'kill "$agent" 2>/dev/null || :; wait "$agent" 2>/dev/null || :; rm -f "$log"' EXIT
RUNTIME_CODE_ROOT=examples/nodejs/hello GANTRY_EXTENSION_DIRS="$PWD/bin/extensions" GANTRY_LOG_FORMAT=text \
  bin/bootstrap >"$log" 2>&1 &
agent=$!
tries=0
until bin/bootstrap health >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -gt 200 ] || ! kill -0 "$agent" 2>/dev/null; then
    echo "the agent did not get ready:" >&2
    cat "$log" >&2
    exit 1
  fi
  sleep 0.05
done
echo "--- the answer"
echo '{"name":"Gantry"}' | bin/bootstrap invoke --to 127.0.0.1:8000 --event - 2>/dev/null
echo
tries=0
until grep -q '^\[extensionLogger\] call' "$log" || [ "$tries" -gt 100 ]; do # the notification does not wait for the call
  tries=$((tries + 1))
  sleep 0.02
done
echo "--- the log, with the extension's lines in brackets"
cat "$log"
grep -q '^\[extensionLogger\] call' "$log"

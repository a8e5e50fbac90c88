#!/bin/sh
# Node.js inspector: Runtime.evaluate is answered while a loop that never yields runs, and with the loop's stack.
#
# Versions:  node 18.20.8, 22.23.3, 24.21.0 (npm package "node"), Linux.
# Behaviour: a debugger that only connects, and sends Runtime.evaluate without Debugger.enable and without
#            Debugger.pause, is answered in milliseconds although JavaScript runs without end: V8 interrupts the loop and
#            evaluates inside it. An Error made there has the frames of the loop, with file and line. The loop goes on.
# Seen:      node 22.23.3: answered after 14 ms, at spin (…/loop.js:1:19
# Guessed:   one thread runs JavaScript, so evaluation waits until the event loop is free, which it never is; only
#            Debugger.pause can stop a loop.
#
# Exits with 0 if this still holds, 1 if it has changed, 77 without npm.
set -eu
command -v npm >/dev/null || { echo "npm is needed"; exit 77; }
work=$(mktemp -d)
running=
trap '[ -z "$running" ] || kill -9 $running 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
for v in 18.20.8 22.23.3 24.21.0; do
  mkdir "node-$v"
  (cd "node-$v" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund --loglevel=error "node@$v" >/dev/null)
done
echo 'function spin() { for (let i = 0; ; i++) if (i % 1e9 === 0) require("fs").writeSync(1, "."); }
setTimeout(() => spin(), 100);' >loop.js
# Needs the WebSocket that Node.js has since version 22.
cat >ask.js <<'JS'
const socket = new WebSocket(process.argv[2]);
let sent;
socket.onopen = () => {
  sent = Date.now();
  socket.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression: 'new Error().stack' } }));
};
socket.onmessage = (m) => {
  const stack = JSON.parse(m.data).result.result.value;
  console.log('answered after ' + (Date.now() - sent) + ' ms, ' + (/at spin .*loop\.js:1:\d+/.exec(stack) || ['without the loop'])[0]);
  process.exit(0);
};
setTimeout(() => { console.log('no answer within 10 s'); process.exit(0); }, 10000);
JS
changed=0
for v in 18.20.8 22.23.3 24.21.0; do
  "node-$v/node_modules/node/bin/node" --inspect=127.0.0.1:0 loop.js >loop.out 2>loop.err &
  running=$!
  until [ -s loop.out ]; do sleep 0.05; done # the loop runs
  address=$(sed -n 's/^Debugger listening on //p' loop.err)
  seen=$(node-22.23.3/node_modules/node/bin/node ask.js "$address")
  kill -9 $running
  wait $running 2>/dev/null || :
  running=
  rm loop.out
  echo "node $v: $seen"
  case $seen in *"at spin "*) ;; *) changed=1 ;; esac
done
[ $changed = 0 ] || { echo "this has changed"; exit 1; }

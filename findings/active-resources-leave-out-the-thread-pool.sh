#!/bin/sh
# Node.js: process.getActiveResourcesInfo() leaves out jobs of the thread pool that keep the process alive.
#
# Versions:  node 20.20.2, 22.23.3, 24.21.0 (npm package "node"), Linux.
# Behaviour: while crypto.pbkdf2 and zlib.gzip work on the thread pool, their callbacks are pending and the process stays
#            alive for them, the list of active resources is empty. A read of a file by fs, which takes the same thread
#            pool, is on it as FSReqCallback; so are a timer and a socket.
# Seen:      pbkdf2: []   gzip: []   fs.readFile: ["FSReqCallback"]   setTimeout: ["Timeout"]
# Guessed:   the documentation says that the list has "the types of the active resources that are currently keeping the
#            event loop alive". So an empty list would prove that nothing can go on, and that a Promise is never settled.
#
# Exits with 0 if this still holds, 1 if it has changed, 77 without npm.
set -eu
command -v npm >/dev/null || { echo "npm is needed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >show.js <<'JS'
const show = (name) => console.log(name + ': ' + JSON.stringify(process.getActiveResourcesInfo().filter((r) => !/^(TTY|Pipe|FS)Wrap$/.test(r))));
let begun = 0;
const steps = [
  (done) => { require('crypto').pbkdf2('password', 'salt', 200000, 64, 'sha512', done); show('pbkdf2'); },
  (done) => { require('zlib').gzip(Buffer.alloc(16 << 20), done); show('gzip'); },
  (done) => { require('fs').readFile(__filename, done); show('fs.readFile'); },
  (done) => { setTimeout(done, 10); show('setTimeout'); },
];
// Only when nothing else is pending: each step starts after the one before it has called back.
(function next() { if (begun < steps.length) steps[begun++](() => setImmediate(next)); })();
JS
changed=0
for v in 20.20.2 22.23.3 24.21.0; do
  mkdir "node-$v"
  (cd "node-$v" && echo '{"private":true}' >package.json && npm install --no-audit --no-fund --loglevel=error "node@$v" >/dev/null)
  seen=$("node-$v/node_modules/node/bin/node" show.js | cat)
  echo "node $v"
  echo "$seen"
  echo "$seen" | grep -qx 'pbkdf2: \[\]' || changed=1
  echo "$seen" | grep -q '^fs.readFile: .*FSReq' || changed=1
  echo "$seen" | grep -q '^setTimeout: .*Timeout' || changed=1
done
[ $changed = 0 ] || { echo "this has changed"; exit 1; }

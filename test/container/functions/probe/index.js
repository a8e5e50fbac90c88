'use strict';
// Runs the action that the event names, and returns the results. The container tests choose it.
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');

const attempt = (f) => { try { return f(); } catch (e) { return e.code || String(e); } };

const actions = {
  hello: (event) => ({ hello: event.name || 'world' }),

  identity: () => ({
    uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), cwd: process.cwd(), home: process.env.HOME,
    agent: fs.readFileSync('/proc/1/cmdline', 'utf8').split('\0')[0],
  }),

  // write reports for each path whether a file can be made there.
  write: (event) => Object.fromEntries(event.paths.map((path) => [path, attempt(() => { fs.writeFileSync(path, 'x'); return 'written'; })])),

  // eat takes memory, 4 MB at a time, until it has event.mb or the kernel ends it.
  eat: (event) => { const taken = []; while (taken.length * 4 < event.mb) taken.push(Buffer.alloc(4 << 20, 1)); return { mb: taken.length * 4 }; },

  exit: (event) => process.exit(event.code),

  hang: () => new Promise(() => setInterval(() => {}, 1000)),

  // orphans leaves event.count processes behind whose parents ended before them.
  orphans: (event) => {
    execFileSync('sh', ['-c', 'i=0; while [ $i -lt "$0" ]; do (sleep 0.0$((i % 10)) &); i=$((i + 1)); done', String(event.count)]);
    return { left: event.count };
  },

  // watch looks into the environment of every process that comes and goes, for event.ms.
  watch: (event) => {
    const needle = Buffer.from(event.halves.join(''));
    const until = Date.now() + event.ms;
    const seen = {};
    for (let rounds = 1; Date.now() < until; rounds++) {
      for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        if (attempt(() => (fs.readFileSync(`/proc/${pid}/environ`).includes(needle) ? 'FOUND' : 'not there')) === 'FOUND') {
          seen[pid] = attempt(() => fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8'));
        }
      }
      seen.rounds = rounds;
    }
    return { seen };
  },

  // secrets looks for the halves of a text, joined, wherever the kernel shows what another process holds.
  secrets: (event, context) => {
    const needle = Buffer.from(event.halves.join(''));
    const seen = {};
    const look = (path, read) => { seen[path] = attempt(() => (read().includes(needle) ? 'FOUND' : 'not there')); };
    for (const pid of ['self', ...fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))]) {
      look(`/proc/${pid}/environ`, () => fs.readFileSync(`/proc/${pid}/environ`));
      look(`/proc/${pid}/cmdline`, () => fs.readFileSync(`/proc/${pid}/cmdline`));
    }
    for (const tid of fs.readdirSync('/proc/1/task')) look(`/proc/1/task/${tid}/environ`, () => fs.readFileSync(`/proc/1/task/${tid}/environ`));
    look('/proc/1/mem', () => Buffer.concat(mappings(1).map(([from, to]) => memory(1, from, to))));
    look('environment', () => JSON.stringify(process.env));
    look('context', () => context.getSecurityToken());
    return seen;
  },
};

function mappings(pid) {
  return fs.readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n').filter((line) => / rw/.test(line))
    .map((line) => line.split(' ')[0].split('-').map((hex) => Number.parseInt(hex, 16)));
}

function memory(pid, from, to) {
  const fd = fs.openSync(`/proc/${pid}/mem`);
  const block = Buffer.alloc(Math.min(to - from, 64 << 20));
  try { return block.subarray(0, fs.readSync(fd, block, 0, block.length, from)); } finally { fs.closeSync(fd); }
}

exports.handler = async (event, context) => actions[event.do || 'hello'](event, context);

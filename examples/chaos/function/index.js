'use strict';
// A function that misbehaves on request, so that you can test your alarms. The event says how:
// {"do": "answer|raise|throw|sleep|hang|loop|exit|abort|hog|flood|late|orphans|big|garbage",
//  "ms": 100, "code": 1, "n": 1000}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const deeds = {
  answer: async (e) => ({ answered: e.value === undefined ? true : e.value }),
  raise: (e, callback) => callback(new Error(e.text || 'raised on request')),
  throw: () => {
    throw new TypeError('thrown on request');
  },
  sleep: async (e) => {
    await sleep(e.ms || 100);
    return { slept: e.ms || 100 };
  },
  hang: () => new Promise(() => {}),
  loop: () => {
    for (;;);
  },
  exit: (e) => process.exit(e.code || 0),
  abort: () => process.abort(),
  hog: async () => {
    const hoard = [];
    for (;;) {
      hoard.push(Buffer.alloc(8 << 20, 1));
      await sleep(1);
    }
  },
  flood: async (e) => {
    for (let i = 0; i < (e.n || 1000); i++) console.log('line', i);
    return { lines: e.n || 1000 };
  },
  late: async (e) => {
    setTimeout(() => Promise.reject(new Error('after the answer')), e.ms || 1);
    return { answered: true };
  },
  orphans: async (e) => {
    const { spawn } = require('child_process');
    const n = e.n || 10;
    const shell = spawn('/bin/sh', ['-c', 'i=0; while [ $i -lt ' + Number(n) + ' ]; do (sleep 0.05 &); i=$((i+1)); done']);
    await new Promise((resolve) => shell.on('exit', resolve));
    return { orphans: n };
  },
  big: async (e) => 'x'.repeat(e.n || 1000),
  garbage: async () => {
    require('fs').writeSync(4, Buffer.from('this is no frame, and the agent has to notice'));
    return { written: true };
  },
};

exports.handler = (event, context, callback) => {
  const deed = deeds[event.do || 'answer'];
  if (!deed) return callback(new Error('unknown deed ' + event.do));
  return deed(event, callback);
};

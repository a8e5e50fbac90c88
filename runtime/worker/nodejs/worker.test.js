'use strict';
// Tests of what in the worker needs no agent. Run them with: node --test runtime/worker/nodejs/worker.test.js (Node.js
// 18 or later)

const test = require('node:test');
const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const util = require('node:util');

const HELLO = 1, INIT = 2, INVOKE = 3, RESULT = 4, FAILURE = 5, LOG = 6, CANCEL = 7, BYE = 8, PRESTOP = 9;
const LIMIT = 500000;

// The function under test: load() takes it once, and each test says what its parts do.
const root = fs.mkdtempSync(path.join(os.tmpdir(), 'gantry-worker-'));
fs.writeFileSync(root + '/index.js', 'exports.handler = (event, context) => {};\n');
test.after(() => fs.rmSync(root, { recursive: true }));
Object.assign(process.env, {
  RUNTIME_CODE_ROOT: root, RUNTIME_HANDLER: 'index.handler', RUNTIME_INITIALIZER_HANDLER: 'index.init', RUNTIME_PRESTOP_HANDLER: 'index.stop',
  RUNTIME_FUNC_NAME: 'hello', RUNTIME_PACKAGE: 'default', RUNTIME_PROJECT_ID: 'p', RUNTIME_FUNC_VERSION: 'latest', RUNTIME_MEMORY: '128', RUNTIME_CPU: '300',
  RUNTIME_TIMEOUT: '2.5', GANTRY_CONCURRENCY: '100', RUNTIME_USERDATA: '{"k":"v"}', RUNTIME_MAX_RESP_BODY_SIZE: String(LIMIT),
});

// What the worker writes to descriptor 4 is kept here; the test runner needs the rest of fs.writeSync. Set before the
// worker takes it.
let written = [];
const writeSync = fs.writeSync;
fs.writeSync = function (fd, buf, from, n) {
  if (fd !== 4) return writeSync.apply(fs, arguments);
  const part = Math.min(n, 100000); // as a socket may: a part of it
  written.push(Buffer.from(buf.subarray(from, from + part)));
  return part;
};
const worker = require('./worker.js');
fs.writeSync = writeSync;

function bytes() {
  const all = Buffer.concat(written);
  written = [];
  return all;
}

// sent returns the frames written since the last time.
function sent() {
  const found = [];
  for (let all = bytes(); all.length > 0;) {
    assert.ok(all.length >= 13, 'a whole header');
    const length = all.readUInt32BE(0), size = all.readUInt32BE(9);
    assert.ok(all.length >= 4 + length, 'a whole frame');
    const meta = all.toString('latin1', 13, 13 + size);
    found.push({ type: all[4], id: all.readUInt32BE(5), meta: meta === '' ? {} : JSON.parse(meta), payload: all.toString('utf8', 13 + size, 4 + length) });
    all = all.subarray(4 + length);
  }
  return found;
}

// answered waits for an answer and returns the frames up to it.
async function answered() {
  const found = [];
  const end = Date.now() + 30000;
  while (!found.some((f) => f.type === RESULT || f.type === FAILURE)) {
    assert.ok(Date.now() < end, 'no answer');
    await new Promise(setImmediate);
    found.push(...sent());
  }
  return found;
}

function frame(type, id, meta, payload) {
  const m = Buffer.from(meta === undefined ? '' : JSON.stringify(meta));
  const p = Buffer.from(payload === undefined ? '' : payload);
  const head = Buffer.alloc(13);
  head.writeUInt32BE(9 + m.length + p.length, 0);
  head[4] = type;
  head.writeUInt32BE(id, 5);
  head.writeUInt32BE(m.length, 9);
  return Buffer.concat([head, m, p]);
}

const feed = (buf) => worker.feed(buf.length, buf);
const meta = (id, more) => Object.assign({ requestId: 'r' + id, deadline: 4e12 }, more);

let lastID = 100;

// call runs a handler with an event and returns the frames up to the answer.
function call(handler, event) {
  functions().handler = handler;
  feed(frame(INVOKE, ++lastID, meta(lastID), event === undefined ? '{}' : event));
  return answered();
}

// hook runs an initializer or a pre-stop hook.
function hook(type, f) {
  functions()[type === INIT ? 'init' : 'stop'] = f;
  feed(frame(type, ++lastID, meta(lastID)));
  return answered();
}

// functions are the exports of the function under test, which is loaded the first time.
function functions() {
  return require(root + '/index.js');
}

test('load', () => {
  worker.load();
  assert.deepStrictEqual(sent(), [{ type: RESULT, id: 0, meta: {}, payload: '' }]);
});

test('vectors of the protocol', async () => {
  const hex = fs.readFileSync(path.join(__dirname, '../../../function/frame/testdata/vectors.txt'), 'utf8').split('\n').filter((l) => l !== '' && !l.startsWith('#'));
  const types = { Hello: HELLO, Init: INIT, Invoke: INVOKE, Result: RESULT, Failure: FAILURE, Log: LOG, Cancel: CANCEL, Bye: BYE, PreStop: PRESTOP };
  let checked = 0;
  for (const line of hex) {
    const [type, id, m, payload, want] = line.split(' | ').map((s) => s.trim());
    const data = Buffer.from(want.replace(/ /g, ''), 'hex');
    if (['Hello', 'Result', 'Failure', 'Log', 'Bye'].includes(type)) { // Bye is sent, too; received, it ends the process
      worker.put(types[type], Number(id), m === '-' ? '' : m, payload === '-' ? '' : payload);
      worker.flush();
      assert.strictEqual(bytes().toString('hex'), data.toString('hex'), line);
      checked++;
      continue;
    }
    const seen = [];
    functions().handler = async (event, context) => seen.push(event, context.getRequestID());
    functions().init = functions().stop = async (context, callback) => seen.push(context.getRequestID());
    feed(data);
    if (m !== '-') {
      assert.deepStrictEqual((await answered()).map((f) => [f.type, f.id]), [[RESULT, Number(id)]]);
      assert.deepStrictEqual(seen, (payload === '-' ? [] : [JSON.parse(payload)]).concat(JSON.parse(m).requestId), line);
    }
    assert.deepStrictEqual(sent(), [], line);
    checked++;
  }
  assert.ok(checked >= 11, 'vectors.txt has ' + checked + ' vectors');
  const c = new worker.Context({ id: 1, requestID: 'r1', answered: false }, { requestId: 'r1', deadline: 1 }); // after the frame UserData
  assert.strictEqual(c.getUserData('KEY'), 'v');
  assert.ok(!util.inspect(c).includes('KEY') && !JSON.stringify(c).includes('KEY'), 'encrypted variables are not shown');
});

test('frames are written whole, whatever their size', () => {
  const sizes = [0, 1, 16384, 48 * 1024, 48 * 1024 + 1, 100000, 163839, 163840, 524288 - 13, 524288, 1500000];
  const payloads = [];
  for (const n of sizes) payloads.push('x'.repeat(n), 'ü'.repeat(n), Buffer.alloc(n, 'y'));
  for (let i = 0; i < 60; i++) payloads.push('€'.repeat(10000 + i)); // more than the buffer holds
  payloads.forEach((p, i) => worker.put(LOG, i, i % 2 ? '{"level":"INFO"}' : '', p)); // without a flush between them
  worker.flush();
  const found = sent();
  assert.strictEqual(found.length, payloads.length);
  found.forEach((f, i) => {
    assert.deepStrictEqual([f.type, f.id, f.meta], [LOG, i, i % 2 ? { level: 'INFO' } : {}]);
    assert.ok(f.payload === String(payloads[i]), 'payload ' + i + ' of ' + payloads[i].length);
  });
});

test('frames are read in any pieces', async () => {
  const stream = Buffer.concat([
    frame(INVOKE, 1, meta(1), '"a"'), frame(CANCEL, 1), frame(INVOKE, 2, meta(2), JSON.stringify('ü€😀' + 'b'.repeat(300))), frame(CANCEL, 77),
    frame(INIT, 3, meta(3)), frame(INVOKE, 4, meta(4)), frame(PRESTOP, 5, meta(5)), frame(INVOKE, 6, meta(6), '"c"'),
  ]);
  for (let size = 1; size <= stream.length; size++) {
    const seen = [];
    functions().handler = async (event, context) => { seen.push([context.getRequestID(), event]); };
    functions().init = async (context, callback) => { seen.push([context.getRequestID(), 'init']); };
    functions().stop = async (context) => { seen.push([context.getRequestID(), 'stop']); };
    const shared = Buffer.alloc(size); // as the socket has it: one buffer for all pieces
    for (let at = 0; at < stream.length; at += size) {
      const n = stream.copy(shared, 0, at, at + size);
      worker.feed(n, shared);
      shared.fill(0xff);
    }
    assert.deepStrictEqual(seen, [['r1', 'a'], ['r2', 'ü€😀' + 'b'.repeat(300)], ['r3', 'init'], ['r4', {}], ['r5', 'stop'], ['r6', 'c']], 'in pieces of ' + size);
    await new Promise(setImmediate);
    worker.flush();
    const answers = sent().map((f) => f.id);
    assert.deepStrictEqual(answers, [2, 3, 4, 5, 6], 'each once, and none to the call that was cancelled, in pieces of ' + size);
    assert.strictEqual(worker.calls.size, 0);
  }
});

test('two halves, cut anywhere', async () => {
  const stream = Buffer.concat([frame(INVOKE, 1, meta(1), '"a"'), frame(INVOKE, 2, meta(2), '"b"')]);
  const seen = [];
  functions().handler = async (event) => { seen.push(event); };
  for (let cut = 0; cut <= stream.length; cut++) {
    feed(Buffer.from(stream.subarray(0, cut)));
    feed(Buffer.from(stream.subarray(cut)));
    await new Promise(setImmediate);
  }
  worker.flush();
  assert.strictEqual(seen.join(''), 'ab'.repeat(stream.length + 1));
  assert.strictEqual(sent().length, 2 * stream.length + 2);
});

test('results', async () => {
  const cases = [
    [{ a: 1, b: [true, null] }, '{"a":1,"b":[true,null]}', false], [[1, 'x'], '[1,"x"]', false], [new Date(0), '"1970-01-01T00:00:00.000Z"', false],
    [Buffer.from('hi'), '{"type":"Buffer","data":[104,105]}', false], ['grüße \u{1F600}', 'grüße \u{1F600}', true], ['', '', true], [1.5, '1.5', true],
    [NaN, 'NaN', true], [false, 'false', true], [12345678901234567890n, '12345678901234567890', true], [Symbol('s'), 'Symbol(s)', true],
    [isNaN, 'function isNaN() { [native code] }', true], [undefined, '', false], [null, 'null', false], [{ toJSON() {} }, '', false],
    ['x'.repeat(LIMIT), 'x'.repeat(LIMIT), true], ['ü'.repeat(LIMIT / 2), 'ü'.repeat(LIMIT / 2), true],
  ];
  for (const [value, body, text] of cases) {
    const want = { type: RESULT, meta: text ? { text: true } : {}, payload: body };
    const name = util.inspect(value).slice(0, 50);
    const promised = await call(async () => value);
    assert.deepStrictEqual(promised, [Object.assign({ id: lastID }, want)], name);
    const handed = await call((event, context, callback) => callback(null, value));
    assert.deepStrictEqual(handed, [Object.assign({ id: lastID }, want)], name);
  }
});

test('callbacks without an error', async () => {
  for (const none of [null, false, 0, '']) {
    assert.deepStrictEqual(await call((event, context, callback) => callback(none, 'fine')), [{ type: RESULT, id: lastID, meta: { text: true }, payload: 'fine' }], String(none));
  }
});

test('events', async () => {
  const typeOf = async (event) => [typeof event, event];
  for (const [event, want] of [['\ufeff{"a":1}', ['object', { a: 1 }]], ['\ufeff', ['object', {}]], ['"\ufeff"', ['string', '\ufeff']]]) {
    const [result] = await call(typeOf, event);
    assert.deepStrictEqual(JSON.parse(result.payload), want, 'a byte order mark: ' + event);
  }
  for (const [event, want] of [['{"a":1}', ['object', { a: 1 }]], ['[1]', ['object', [1]]], ['"s"', ['string', 's']], ['5', ['number', 5]], ['null', ['object', null]], ['', ['object', {}]]]) {
    const [result] = await call(typeOf, event);
    assert.deepStrictEqual(JSON.parse(result.payload), want, event);
  }
  const [log, failure] = await call(typeOf, '{');
  assert.deepStrictEqual([log.type, log.meta.level, failure.type, failure.meta], [LOG, 'ERROR', FAILURE, { code: 4002, type: 'SyntaxError', event: true }]);
  assert.ok(failure.payload !== '' && !failure.payload.startsWith('{\n'), 'the parser\'s own words: ' + failure.payload);
});

test('the first answer counts', async () => {
  const frames = await call((event, context, callback) => {
    callback(null, 1);
    callback(null, 2);
    callback(new Error('x'));
    throw new Error('y');
  });
  assert.deepStrictEqual(frames, [{ type: RESULT, id: lastID, meta: { text: true }, payload: '1' }]);
  await new Promise(setImmediate);
  assert.deepStrictEqual(sent(), []);
});

// pretty is the body of an error.
function pretty(errorMessage, errorType, stackTrace) {
  return JSON.stringify(stackTrace === undefined ? { errorMessage, errorType } : { errorMessage, errorType, stackTrace }, null, 4);
}

class Named extends Error {
  get name() { return 'Named'; }
}

test('errors', async () => {
  const ENTRY = 'function entry exception, error: ', INVOCATION = 'function invocation exception, error: ', INVALID = 'function result is invalid, error: ';
  const circle = {};
  circle.o = circle;
  const cases = [
    ['callback(Error)', (e, c, cb) => cb(new RangeError('too far')), 4001, 'RangeError', pretty(ENTRY + 'too far', 'RangeError')],
    ['callback(Error with type)', (e, c, cb) => cb(Object.assign(new Error('x'), { type: 'Mine' })), 4001, 'Mine', pretty(ENTRY + 'x', 'Mine')],
    ['callback(text)', (e, c, cb) => cb('plain'), 4001, 'UserFunctionError', 'plain'],
    ['callback(object)', (e, c, cb) => cb({ a: 1, message: 'm' }), 4001, 'UserFunctionError', '{"a":1,"message":"' + ENTRY + 'm"}'],
    ['callback()', (e, c, cb) => cb(), 4001, 'UserFunctionError', '{"message":"' + ENTRY + 'undefined"}'],
    ['callback(number)', (e, c, cb) => cb(5), 4001, 'UserFunctionError', '5'],
    ['callback(array)', (e, c, cb) => cb([1]), 4001, 'UserFunctionError', '[1]'],
    ['callback(circle)', (e, c, cb) => cb(circle), 4007, 'TypeError', /^\{\n {4}"errorMessage": "function result is invalid, error: Converting circular/],
    ['rejection with text', async () => { throw 'words'; }, 4002, 'UserFunctionError', pretty(INVOCATION + 'words', 'UserFunctionError', [])],
    ['rejection with nothing', () => Promise.reject(), 4002, 'UserFunctionError', pretty(INVOCATION + 'undefined', 'UserFunctionError', [])],
    ['throw', () => { throw Object.assign(new Named('in ' + root + '/x'), { stack: 'Named: in\n    at f (' + root + '/index.js:1:2)\n    at w (/elsewhere:1:2)' }); }, 4002, 'Named', pretty(INVOCATION + 'in ./x', 'Named', ['at f (./index.js:1:2)'])],
    ['circle', async () => circle, 4007, 'TypeError', /^\{\n {4}"errorMessage": "function result is invalid, error: Converting circular/],
    ['bigint inside', async () => ({ n: 1n }), 4007, 'TypeError', pretty(INVALID + 'Do not know how to serialize a BigInt', 'TypeError'), 'result["n"] is a BigInt: write String(value), or Number(value)'],
    ['too large', async () => 'x'.repeat(LIMIT + 1), 4004, 'ResponseTooLarge', 'response body size 500001 exceeds the limit of 500000'],
    ['too large in bytes', async () => 'ü'.repeat(LIMIT / 2 + 1), 4004, 'ResponseTooLarge', 'response body size 500002 exceeds the limit of 500000'],
    ['too large an error', async () => { throw new Error('x'.repeat(LIMIT)); }, 4004, 'Error', /^response body size 5\d{5} exceeds the limit of 500000$/],
    ['a name without an end', (e, c, cb) => cb(Object.assign(new Error('x'), { type: 'T'.repeat(70000) })), 4001, 'T'.repeat(1000), pretty(ENTRY + 'x', 'T'.repeat(70000))],
    ['message that cannot be shown', async () => { throw { toString() { throw new Error('no'); } }; }, 4002, 'UserFunctionError', pretty(INVOCATION + 'an error that cannot be shown', 'UserFunctionError', [])],
  ];
  for (const [name, handler, code, type, body, hint] of cases) {
    const frames = await call(handler);
    const failure = frames.pop();
    const meta = hint === undefined ? { code, type } : { code, type, hint };
    assert.deepStrictEqual([failure.type, failure.id, failure.meta], [FAILURE, lastID, meta], name);
    if (body instanceof RegExp) assert.match(failure.payload, body, name);
    else assert.strictEqual(failure.payload, body, name);
    assert.ok(frames.length > 0 && frames.every((f) => f.type === LOG && f.meta.level === 'ERROR'), name + ': the log was told first');
  }
});

test('frames of a stack', () => {
  const stack = (...lines) => worker.frames({ stack: ['Error: x', 'second line'].concat(lines).join('\n') });
  assert.deepStrictEqual(stack('    at a (' + root + '/i.js:1:2)', '    at lib (node:fs:1)', '    at b (file://' + root + '/m.mjs:3:4)', '    at w (node:gantry:1:1)'), ['at a (./i.js:1:2)', 'at lib (node:fs:1)', 'at b (./m.mjs:3:4)']);
  assert.deepStrictEqual(stack('    at w (node:gantry:1:1)'), []);
  assert.deepStrictEqual(stack('    at a (' + root + '-old/i.js:1:2)', '    at b (/src/index.ts:1:2)', '    at w (node:gantry:1:1)', '    at c (node:events:1:2)'), ['at a (' + root + '-old/i.js:1:2)', 'at b (/src/index.ts:1:2)'], 'none in the code folder: all up to the worker');
  assert.deepStrictEqual(stack('    at a (node:net:1:2)'), ['at a (node:net:1:2)']);
  assert.deepStrictEqual(stack(), []);
  assert.deepStrictEqual(worker.frames({ get stack() { throw new Error('no'); } }), []);
});

test('the code folder is shortened at the borders of paths', () => {
  for (const [text, want] of [
    ['in R', 'in .'], ['R/x.json', './x.json'], ['open \'R/x\' (R)', 'open \'./x\' (.)'], ['file://R/x', './x'], ['path=R/x:1', 'path=./x:1'], ['no R.', 'no ..'], ['R, R', '., .'],
    ['R-config/x', 'R-config/x'], ['R2/R.bak/x', 'R2/R.bak/x'], ['R/R-old', './R-old'], ['/srvR/x', '/srvR/x'], ['..R/x', '..R/x'], ['R\u00fc/x', 'R\u00fc/x'], ['\u65e0\u6cd5R/x', '\u65e0\u6cd5./x'], ['', ''],
  ]) assert.strictEqual(worker.shorten(text.replace(/R/g, root)), want.replace(/R/g, root), text);
});

test('callbacks after a promise with nothing are logged once', async () => {
  const late = [];
  for (let i = 0; i < 2; i++) await call(async (event, context, callback) => { late.push(callback); });
  late[0](null, 'x');
  worker.flush();
  const logged = sent();
  assert.deepStrictEqual(logged.map((f) => [f.type, f.id, f.meta]), [[LOG, 0, { level: 'WARN', requestId: 'r' + (lastID - 1) }]]);
  assert.match(logged[0].payload, /^callback was called after the async handler had ended with nothing/);
  late[0](new Error('x'));
  late[1](null, 'x');
  worker.flush();
  assert.deepStrictEqual(sent(), []);
});

test('hooks', async () => {
  const INITIALIZATION = 'function initialization exception, error: ', PRESTOPPING = 'function prestop exception, error: ';
  const thrown = () => Object.assign(new RangeError('oops'), { stack: 'RangeError: oops\n    at f (' + root + '/index.js:1:2)' });
  const good = {
    'callback': (context, callback) => callback(null, 'ignored'), 'late callback': (context, callback) => { setImmediate(callback, null); },
    'async': async (context, callback) => 'ignored', 'promise': (context, callback) => Promise.resolve(5), // eslint-disable-line no-unused-vars
  };
  for (const type of [INIT, PRESTOP]) {
    const [code, prefix] = type === INIT ? [4009, INITIALIZATION] : [4001, PRESTOPPING];
    for (const name of Object.keys(good)) {
      assert.deepStrictEqual(await hook(type, good[name]), [{ type: RESULT, id: lastID, meta: {}, payload: '' }], type + name);
    }
    const bad = [
      ['callback(Error)', (context, callback) => callback(thrown()), 'RangeError', pretty(prefix + 'oops', 'RangeError')],
      ['callback(text)', (context, callback) => callback('words'), 'UserFunctionError', pretty(prefix + 'words', 'UserFunctionError')],
      ['throw', (context, callback) => { throw thrown(); }, 'RangeError', pretty(prefix + 'oops', 'RangeError', ['at f (./index.js:1:2)'])], // eslint-disable-line no-unused-vars
      ['rejection', async (context, callback) => { throw thrown(); }, 'RangeError', pretty(prefix + 'oops', 'RangeError', ['at f (./index.js:1:2)'])], // eslint-disable-line no-unused-vars
      ['missing', undefined, 'FunctionConfigError', pretty(prefix + (type === INIT ? 'initializer \'init\'' : 'prestop handler \'stop\'') + ' not found in module \'./index.js\'', 'FunctionConfigError')],
    ];
    if (type === INIT) bad.push(['one parameter', async (context) => {}, 'FunctionConfigError', pretty(prefix + 'initializer expect to have 2 parameters, but received 1', 'FunctionConfigError')]); // eslint-disable-line no-unused-vars
    for (const [name, f, errorType, body] of bad) {
      const frames = await hook(type, f);
      const want = type === INIT && errorType === 'FunctionConfigError' ? { code, type: errorType, final: true } : { code, type: errorType }; // the code itself is wrong
      const end = frames.pop();
      if (name === 'missing') {
        assert.match(end.meta.hint, /^the export (init|stop) is undefined: it has to be a function$/);
        delete end.meta.hint;
      }
      assert.deepStrictEqual(end, { type: FAILURE, id: lastID, meta: want, payload: body }, type + name);
      assert.deepStrictEqual(frames.map((l) => [l.type, l.id, l.meta]), [[LOG, lastID, { level: 'ERROR' }]], type + name);
    }
  }
});

test('a pre-stop hook of fewer parameters ends when it returns', async () => {
  for (const f of [(context) => context.getLogger().info('bye'), function () { arguments[0].getLogger().info('bye'); return { then() {} }; }]) {
    assert.deepStrictEqual(await hook(PRESTOP, f), [{ type: LOG, id: lastID, meta: { level: 'INFO' }, payload: 'bye' }, { type: RESULT, id: lastID, meta: {}, payload: '' }]);
  }
  let finish;
  functions().stop = (context, callback) => { finish = callback; };
  feed(frame(PRESTOP, ++lastID, meta(lastID)));
  await new Promise(setImmediate);
  assert.deepStrictEqual(sent(), [], 'one with a callback does not');
  finish(null);
  assert.deepStrictEqual((await answered()).map((f) => [f.type, f.id]), [[RESULT, lastID]]);
});

test('hints for handlers that cannot answer', async () => {
  for (const [handler, hint] of [
    [(event, context) => 5, /can never answer/], [(event, context, callback) => ({ then() {} }), /no native Promise/], // eslint-disable-line no-unused-vars
    [(event, context, callback) => 5, /is ignored unless it is a Promise/], [(event, context, callback) => {}, null], // eslint-disable-line no-unused-vars
  ]) {
    functions().handler = handler;
    feed(frame(INVOKE, ++lastID, meta(lastID), '{}'));
    worker.flush();
    const frames = sent();
    feed(frame(CANCEL, lastID));
    if (hint === null) assert.deepStrictEqual(frames, []);
    else {
      assert.deepStrictEqual([frames.length, frames[0].type, frames[0].id, Object.keys(frames[0].meta)], [1, LOG, lastID, ['hint']]);
      assert.match(frames[0].meta.hint, hint);
    }
  }
});

test('log pieces', () => {
  const logger = new worker.Logger({ id: 7, requestID: 'r7', answered: false });
  for (const [text, pieces] of [['x', 1], ['x'.repeat(48 * 1024), 1], ['x'.repeat(48 * 1024 + 1), 2], ['ü'.repeat(30000), 2], ['ü'.repeat(60000), 3], ['€'.repeat(48 * 1024), 3]]) {
    logger.info(text);
    const found = bytes();
    const texts = [];
    for (let at = 0; at < found.length;) {
      const length = found.readUInt32BE(at), size = found.readUInt32BE(at + 9);
      const m = JSON.parse(found.toString('latin1', at + 13, at + 13 + size));
      assert.deepStrictEqual(m, texts.length < pieces - 1 ? { level: 'INFO', more: true } : { level: 'INFO' });
      texts.push(found.subarray(at + 13 + size, at + 4 + length));
      assert.ok(length - 9 - size <= 48 * 1024);
      at += 4 + length;
    }
    assert.strictEqual(texts.length, pieces);
    assert.ok(Buffer.concat(texts).toString() === text, 'the pieces are the text');
  }
});

test('log levels and the request id of late lines', () => {
  const late = { id: 7, requestID: 'r "7" ü', answered: false };
  const logger = new worker.Logger(late);
  for (const level of ['debug', 'info', 'warn', 'error']) logger[level]('%s %d', level, 1, { a: 1 });
  logger.setLevel('DEBUG');
  logger.debug('shown');
  logger.setLevel('nonsense');
  logger.setLevel('toString');
  logger.debug('still');
  logger.setLevel('ERROR');
  logger.warn('gone');
  assert.deepStrictEqual(sent().map((f) => [f.meta.level, f.payload]), [['INFO', 'info 1 { a: 1 }'], ['WARN', 'warn 1 { a: 1 }'], ['ERROR', 'error 1 { a: 1 }'], ['DEBUG', 'shown'], ['DEBUG', 'still']]);
  late.answered = true;
  logger.error('late');
  assert.deepStrictEqual(sent(), [{ type: LOG, id: 0, meta: { level: 'ERROR', requestId: 'r "7" ü' }, payload: 'late' }]);
});

test('streams belong to the call that writes', async () => {
  worker.replaceStream('gantryTest', 1);
  const stream = process.gantryTest;
  const tick = () => new Promise(setImmediate);
  functions().handler = async (event) => {
    stream.write('a' + event);
    await tick();
    stream.write(Buffer.from('b' + event));
    await tick();
    stream.write('6320', 'hex'); // "c "
    await new Promise((done) => stream.write('d' + event, done));
    tick().then(() => stream.write('after ' + event));
    return event;
  };
  const ids = [1, 2, 3].map(() => ++lastID);
  feed(Buffer.concat(ids.map((id) => frame(INVOKE, id, meta(id), String(id)))));
  const found = [];
  const end = Date.now() + 30000;
  while (found.filter((f) => f.payload.startsWith('after')).length < 3) {
    assert.ok(Date.now() < end, 'lines are missing');
    await tick();
    found.push(...sent());
  }
  for (const id of ids) {
    const own = found.filter((f) => (f.id === id || f.meta.requestId === 'r' + id) && f.type === LOG);
    assert.deepStrictEqual(own.map((f) => f.payload), ['a' + id, 'b' + id, 'c ', 'd' + id, 'after ' + id]);
    assert.ok(own.every((f) => f.meta.stream === 'gantryTest'));
    assert.deepStrictEqual(own.map((f) => f.meta.requestId), [undefined, undefined, undefined, undefined, 'r' + id]);
  }
  stream.write('none');
  stream.write('');
  stream.end('end');
  assert.deepStrictEqual(sent().map((f) => [f.id, f.payload]), [[0, 'none'], [0, 'end']]);
  assert.throws(() => stream.write(5), TypeError);
});

const secrets = { v: 1, accessKey: 's3cr3t-ak', secretKey: 's3cr3t-sk', securityAccessKey: 's3cr3t-sak', securitySecretKey: 's3cr3t-ssk', securityToken: 's3cr3t-st', authToken: 's3cr3t-at' };

test('context', () => {
  const id = { id: 1, requestID: 'r1', answered: false };
  const c = new worker.Context(id, { requestId: 'r1', deadline: Date.now() + 1500.7, alias: 'prod', workflowId: 'w', workflowRunId: 'wr', workflowStateId: 'ws', credentials: secrets });
  const values = {
    getRequestID: 'r1', getAccessKey: 's3cr3t-ak', getSecretKey: 's3cr3t-sk', getSecurityAccessKey: 's3cr3t-sak', getSecuritySecretKey: 's3cr3t-ssk', getSecurityToken: 's3cr3t-st', getToken: 's3cr3t-at',
    getFunctionName: 'hello', getRunningTimeInSeconds: 2.5, getVersion: 'latest', getMemorySize: '128', getCPUNumber: '300', getProjectID: 'p', getPackage: 'default', getAlias: 'prod',
    getWorkflowID: 'w', getWorkflowRunID: 'wr', getWorkflowStateID: 'ws',
  };
  for (const name of Object.keys(values)) assert.strictEqual(c[name](), values[name], name);
  assert.deepStrictEqual([c.getUserData('k'), c.getUserData('nope'), c.getUserData('toString')], ['v', undefined, undefined]);
  assert.strictEqual(c.getLogger(), c.logger);
  assert.deepStrictEqual([c.timeout, c.traceID, c.invokeID, c.invokeProperty, c.instanceID, c.state, c.fromTask], [2500, 'r1', '', '', '', '', false]);
  const left = c.getRemainingTimeInMilliSeconds();
  assert.ok(Number.isInteger(left) && left > 0 && left <= 1500, String(left));
  const bare = new worker.Context(id, { requestId: 'r1', deadline: 1000 });
  assert.ok(bare.getRemainingTimeInMilliSeconds() < 0);
  assert.deepStrictEqual([bare.getToken(), bare.getSecurityToken(), bare.getAlias(), bare.getWorkflowID()], ['', '', '', '']);
});

test('no secret is shown', () => {
  const c = new worker.Context({ id: 1, requestID: 'r1', answered: false }, { requestId: 'r1', deadline: 1, credentials: secrets });
  for (const shown of [util.inspect(c), util.inspect({ nested: [c] }), util.format('%o %s', c, c), util.format(c)]) assert.ok(!shown.includes('s3cr3t'), shown);
  assert.strictEqual(util.inspect(c).split('[redacted]').length, 7, 'each of the six says so');
  assert.ok(!util.inspect(new worker.Context({ id: 1, requestID: 'r1' }, { requestId: 'r1', deadline: 1 })).includes('[redacted]'), 'what is not there is not redacted');
});

test('meta is ASCII', () => {
  const text = worker.asciiJSON({ type: 'grüße \u{1F600} \u007f "q"' });
  assert.match(text, /^[\x20-\x7e]*$/);
  assert.deepStrictEqual(JSON.parse(text), { type: 'grüße \u{1F600} \u007f "q"' });
});

test('which files are ES modules', () => {
  const write = (name, text) => {
    fs.mkdirSync(path.dirname(root + '/' + name), { recursive: true });
    fs.writeFileSync(root + '/' + name, text);
  };
  write('m/package.json', '{"type":"module"}');
  write('m/sub/package.json', 'no JSON');
  write('b/package.json', '\ufeff{"type":"module"}');
  write('c/package.json', '{}');
  for (const [file, want] of [['a.mjs', true], ['m/a.cjs', false], ['m/a.js', true], ['m/deep/a.js', true], ['m/sub/a.js', false], ['c/a.js', false], ['b/a.js', true]]) {
    assert.strictEqual(worker.isModule(root + '/' + file), want, file);
  }
});

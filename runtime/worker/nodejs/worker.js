'use strict';
// The Node.js worker: loads the function, speaks frames with the agent (docs/PROTOCOL.md), answers as the platform's
// own worker does (docs/COMPATIBILITY.md). One file, embedded into the agent; requires nothing but what Node has loaded
// anyway. ASCII only: it is handed over as a string. No static initializers, private fields and the like, for old
// versions.

const fs = require('fs');
const util = require('util');
const pathToFileURL = require('url').pathToFileURL;

const EVENTS = 3; // the agent writes, we read
const ANSWERS = 4; // we write, and may block: the agent always reads
const SOURCE = 5; // this file

const HELLO = 1, INIT = 2, INVOKE = 3, RESULT = 4, FAILURE = 5, LOG = 6, CANCEL = 7, BYE = 8, PRESTOP = 9, USERDATA = 10, LOAD = 12, CODECACHE = 13;
const HEADER = 13;
const LOG_PIECE = 48 * 1024;

// The file name in stacks. Nothing can be opened by it: tools that show source lines open what stacks name, and the
// descriptor of this source is closed, or one of the user's by then.
const NAME = 'node:gantry';

// ---------------------------------------------------------------------------------------------------- the language

// User code may replace whatever it can reach: globals, functions of modules, methods of prototypes. So the worker
// takes what it needs before user code runs, and never looks it up again: functions as constants, methods as functions
// of their object (uncurry), and as properties of the object itself (own) where every call counts.
const uncurry = Function.prototype.bind.bind(Function.prototype.call);
const define = Object.defineProperty;

function own(object, names) {
  for (const name of names) define(object, name, { value: object[name] });
  return object;
}

const process = global.process, Promise = global.Promise, Error = global.Error, TypeError = global.TypeError, String = global.String;
const Uint8Array = global.Uint8Array, Int32Array = global.Int32Array, SharedArrayBuffer = global.SharedArrayBuffer;
const parse = JSON.parse, stringify = JSON.stringify, now = Date.now, apply = Reflect.apply, wait = Atomics.wait, floor = Math.floor;
const assign = Object.assign, prototypeOf = Object.getPrototypeOf, keysOf = Object.keys, isArray = Array.isArray;
const promisePrototype = Promise.prototype;
const hasOwn = uncurry(Object.prototype.hasOwnProperty), tagOf = uncurry(Object.prototype.toString), then = uncurry(Promise.prototype.then);
const split = uncurry(''.split), slice = uncurry(''.slice), indexOf = uncurry(''.indexOf), trim = uncurry(''.trim);
const startsWith = uncurry(''.startsWith), lower = uncurry(''.toLowerCase), codeAt = uncurry(''.charCodeAt), hex = uncurry((0).toString);
const exec = uncurry(/x/.exec);
const bufferFrom = Buffer.from, isBuffer = Buffer.isBuffer, byteLength = Buffer.byteLength, allocate = Buffer.allocUnsafe, concat = Buffer.concat;
const utf8Slice = uncurry(Buffer.prototype.utf8Slice), part = uncurry(Buffer.prototype.slice), copy = uncurry(Buffer.prototype.copy);
const writeSync = fs.writeSync, statSync = fs.statSync, readFileSync = fs.readFileSync, readdirSync = fs.readdirSync, realpathSync = fs.realpathSync;
const inspect = util.inspect, format = util.format, Script = require('vm').Script;
const immediately = setImmediate, later = setTimeout, nextTick = process.nextTick;
const exitOf = uncurry(process.exit), listenerCount = uncurry(process.listenerCount), once = uncurry(process.once);

const env = process.env; // used at the start only
const codeRoot = env.RUNTIME_CODE_ROOT || '/opt/function/code';
const maxResponse = Number(env.RUNTIME_MAX_RESP_BODY_SIZE) || 6291456;
const nodeVersion = process.versions.node.split('.').map(Number);
const atLeast = (major, minor) => nodeVersion[0] > major || (nodeVersion[0] === major && nodeVersion[1] >= minor);

// ---------------------------------------------------------------------------------------------------- answers

const out = own(allocate(512 * 1024), ['utf8Write', 'latin1Write']); // memory that is not touched costs nothing
let used = 0;
let flushing = false;

function writeAll(buf, from, to) {
  while (from < to) {
    try {
      from += writeSync(ANSWERS, buf, from, to - from);
    } catch (e) {
      if (e.code === 'EPIPE' || e.code === 'ECONNRESET') exitOf(process, 1); // the agent is gone
      if (e.code !== 'EAGAIN') throw e;
      wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

function flush() {
  flushing = false;
  const n = used;
  used = 0;
  if (n > 0) writeAll(out, 0, n);
}

function flushSoon() {
  if (flushing) return;
  flushing = true;
  immediately(flush);
}

function write32(at, n) {
  out[at] = n >>> 24;
  out[at + 1] = n >>> 16;
  out[at + 2] = n >>> 8;
  out[at + 3] = n;
}

const read32 = (buf, at) => buf[at] * 0x1000000 + (buf[at + 1] << 16 | buf[at + 2] << 8 | buf[at + 3]);

function header(at, type, id, metaLength, payloadLength) {
  write32(at, HEADER - 4 + metaLength + payloadLength);
  out[at + 4] = type;
  write32(at + 5, id);
  write32(at + 9, metaLength);
}

// put appends a frame to what will be written next. meta is ASCII JSON text, payload a string or a Buffer.
function put(type, id, meta, payload) {
  const small = typeof payload === 'string' && payload.length < 160 * 1024;
  const bound = HEADER + meta.length + (small ? payload.length * 3 : 0);
  if (used + bound > out.length) flush();
  const at = used;
  let end = at + HEADER + meta.length;
  if (meta.length > 0) out.latin1Write(meta, at + HEADER, meta.length);
  if (small) {
    if (payload.length > 0) end += out.utf8Write(payload, end, payload.length * 3);
    header(at, type, id, meta.length, end - at - HEADER - meta.length);
    used = end;
    return;
  }
  const bytes = typeof payload === 'string' ? bufferFrom(payload, 'utf8') : payload;
  header(at, type, id, meta.length, bytes.length);
  used = end;
  if (bytes.length <= LOG_PIECE && used + bytes.length <= out.length) {
    used += copy(bytes, out, used);
    return;
  }
  flush();
  writeAll(bytes, 0, bytes.length);
}

// asciiJSON is JSON.stringify with every other character escaped, so that its length in bytes is its length.
function asciiJSON(value) {
  const text = stringify(value);
  let escaped = '';
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const code = codeAt(text, i);
    if (code < 0x7f) continue;
    escaped += slice(text, from, i) + '\\u' + slice('000' + hex(code, 16), -4);
    from = i + 1;
  }
  return escaped + slice(text, from);
}

// ---------------------------------------------------------------------------------------------------- calls

const calls = own(new Map(), ['get', 'set', 'delete', 'forEach']); // id -> Call that has no answer yet
let inFlight = 0; // how many these are

class Call {
  // hook distinguishes initializer and pre-stop hook from the handler.
  constructor(id, meta, hook) {
    this.id = id;
    this.requestID = meta.requestId;
    this.hook = hook;
    this.company = false; // whether another call has run beside it
    this.concluded = false; // the answer is known; it may wait for output
    this.answered = false;
    this.empty = false; // the answer is that of a Promise with nothing, and callback had not been called
  }
}

function begin(id, meta, hook) {
  const call = new Call(id, meta, hook);
  calls.set(id, call);
  if (++inFlight > 1) {
    call.company = true;
    if (inFlight === 2) calls.forEach(accompany);
  }
  return call;
}

function accompany(call) {
  call.company = true;
}

// Which call runs here and now: exact with AsyncLocalStorage. Older versions run one call at a time, which is the one
// in flight.
let storage = null;
if (atLeast(12, 17)) {
  const AsyncLocalStorage = require('async_hooks').AsyncLocalStorage;
  storage = own(new AsyncLocalStorage(), Object.getOwnPropertyNames(AsyncLocalStorage.prototype).filter((name) => name !== 'constructor'));
}
const single = storage === null || (Number(env.GANTRY_CONCURRENCY) || 1) === 1; // calls never overlap
delete env.GANTRY_CONCURRENCY;
const parked = env.GANTRY_PARKED === '1';
delete env.GANTRY_PARKED;
const cacheMode = env.GANTRY_CODE_CACHE; // read or write, if there is a descriptor for it
delete env.GANTRY_CODE_CACHE;

function current() {
  return storage !== null ? storage.getStore() : undefined;
}

function run(call, fn) {
  return storage !== null ? storage.run(call, fn) : fn();
}

// owner is the call that output belongs to, undefined for none; call is the one that a logger was made for. What
// outlives a call (sockets, timers, pools) keeps the context it was made in, so an answered call gives way to the one
// in flight if calls never overlap. Where they do, the late output of a call stays its own, and what has no context
// belongs to a call that runs alone.
function owner(call) {
  if (call !== undefined && !call.answered) return call;
  let here = current();
  if (here !== undefined) {
    if (!here.answered) return here;
    if (here.hook) here = undefined; // as the load: what was made there serves all calls
  }
  if (call !== undefined && call.hook) call = undefined;
  if (inFlight === 1) {
    const alone = only();
    if (single || (here === undefined && call === undefined && !alone.company)) return alone;
  }
  return here !== undefined ? here : call;
}

function only() {
  let found;
  calls.forEach((call) => { found = call; });
  return found;
}

function settle(call) {
  if (call.answered) return false;
  call.answered = true;
  if (calls.delete(call.id)) inFlight--;
  return true;
}

// conclude sends the answer, as soon as output is written that user code's own streams still hold.
function conclude(call, type, meta, body) {
  if (call.concluded) return;
  call.concluded = true;
  if (unwritten() > 0) awaitOutput(() => finish(call, type, meta, body));
  else finish(call, type, meta, body);
}

function finish(call, type, meta, body) {
  if (!settle(call)) return; // cancelled meanwhile
  put(type, call.id, meta, body);
  if (inFlight === 0) flush();
  else flushSoon();
}

const TEXT = '{"text":true}';
const LONGEST_TYPE = 1000; // characters: meta has a limit, errors may have any name

const MOST_MEMBERS = 10000; // of a result, that a BigInt is looked for in

// resultHint says which member of a result is a BigInt; undefined if none is found. Of a circle the message says all.
function resultHint(value) {
  let left = MOST_MEMBERS;
  const search = (inner, path) => {
    if (typeof inner === 'bigint') return path + ' is a BigInt: write String(value), or Number(value)';
    if (inner === null || typeof inner !== 'object' || typeof inner.toJSON === 'function' || path.length > 200) return undefined;
    const names = keysOf(inner);
    for (let i = 0; i < names.length && --left > 0; i++) {
      const found = search(inner[names[i]], path + '[' + (names[i] >= 0 ? names[i] : stringify(slice(names[i], 0, 60))) + ']');
      if (found !== undefined) return found;
    }
    return undefined;
  };
  try {
    return search(value, 'result');
  } catch (_) {
    return undefined; // a getter that throws
  }
}

function answer(call, value) {
  if (call.answered || call.concluded) return;
  let body;
  let meta = '';
  try {
    if (value === undefined) body = '';
    else if (typeof value === 'object') body = stringify(value);
    else {
      body = String(value);
      meta = TEXT;
    }
    if (body === undefined) body = ''; // a toJSON that returns nothing
  } catch (e) {
    failure(call, { code: 4007, type: 'TypeError', hint: resultHint(value) }, errorBody('function result is invalid, error: ', messageOf(e), 'TypeError'), e);
    return;
  }
  if (body.length * 3 > maxResponse) {
    const size = byteLength(body);
    if (size > maxResponse) {
      failure(call, { code: 4004, type: 'ResponseTooLarge' }, 'response body size ' + size + ' exceeds the limit of ' + maxResponse);
      return;
    }
  }
  conclude(call, RESULT, meta, body);
}

// failure answers with an error body. cause, if there is one, goes to the log with its stack first.
function failure(call, meta, body, cause) {
  if (call.answered || call.concluded) return;
  writeLog(call, '{"level":"ERROR"}', cause !== undefined ? describe(cause) : body);
  const size = byteLength(body);
  if (size > maxResponse) {
    meta.code = 4004;
    body = 'response body size ' + size + ' exceeds the limit of ' + maxResponse;
  }
  meta.type = slice(meta.type, 0, LONGEST_TYPE);
  const hint = cause instanceof FunctionError ? cause.hint : isError(cause) ? absent(cause) : undefined;
  if (hint !== undefined) meta.hint = hint;
  conclude(call, FAILURE, asciiJSON(meta), body);
}

// ---------------------------------------------------------------------------------------------------- errors

const isError = (e) => e instanceof Error || tagOf(e) === '[object Error]';

const INSIDE = 1, AFTER = 2, DOT = 46, SLASH = 47;

// The code folder's path as stacks and messages may have it: as it is set and as Node.js resolves it, plain and in a
// URL. Empty for the root of the file system, where there is nothing to shorten. Made for the first error: a start
// without one does not wait for the file system and the parser of URLs.
let spellings = null;

function spell() {
  if (spellings !== null) return spellings;
  let end = codeRoot.length;
  while (end > 0 && codeAt(codeRoot, end - 1) === SLASH) end--;
  const plain = slice(codeRoot, 0, end);
  let real = plain;
  try {
    real = realpathSync(codeRoot);
  } catch (_) {
    // the load says what is wrong with it
  }
  const found = plain === '' ? [] : [plain];
  if (real !== plain && real !== '/') found[found.length] = real;
  for (let i = 0, n = found.length; i < n && typeof pathToFileURL === 'function'; i++) found[n + i] = pathToFileURL(found[i]).href;
  spellings = found;
  return spellings;
}

// Of the ASCII characters, those that names of files usually have, before and after a place in a path.
const kinds = new Uint8Array(128);

function setKind(characters, kind) {
  for (let i = 0; i < characters.length; i++) kinds[codeAt(characters, i)] = kind;
}

setKind('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.%~-', INSIDE);
setKind('+@$', AFTER);

// follows reports whether the name before goes on at a position: /app does not in "/app/x" and "in /app.", it does in
// /app-x.
function follows(text, at) {
  if (at >= text.length) return false;
  const c = codeAt(text, at);
  return c === DOT ? follows(text, at + 1) : c >= 128 || kinds[c] !== 0;
}

// precedes reports whether a path goes on before a position: /app does in /srv/app and file:///app.
function precedes(text, at) {
  if (at === 0) return false;
  const c = codeAt(text, at - 1);
  return c === SLASH || (c < 128 && kinds[c] === INSIDE);
}

// find returns where a spelling stands in a text as a whole path or the beginning of one, -1 if nowhere.
function find(text, spelling, from) {
  for (let at = from; (at = indexOf(text, spelling, at)) >= 0; at += spelling.length) {
    if (!precedes(text, at) && !follows(text, at + spelling.length)) return at;
  }
  return -1;
}

// shorten writes a dot in place of the code folder's path.
function shorten(text) {
  const paths = spell();
  for (let i = 0; i < paths.length; i++) {
    let short = '';
    let from = 0;
    for (let at; (at = find(text, paths[i], from)) >= 0; from = at + paths[i].length) short += slice(text, from, at) + '.';
    text = short + slice(text, from);
  }
  return text;
}

// isUsers reports whether a frame lies in the code folder.
function isUsers(frame) {
  const paths = spell();
  for (let i = 0; i < paths.length; i++) if (find(frame, paths[i], 0) >= 0) return true;
  return paths.length === 0 && exec(/(?:[ (]|file:\/\/)\//, frame) !== null;
}

function messageOf(e) {
  try {
    return String(isError(e) ? e.message : e);
  } catch (_) {
    return 'an error that cannot be shown';
  }
}

function nameOf(e) {
  try {
    return String(e.name || 'Error');
  } catch (_) {
    return 'Error';
  }
}

const isFrame = (line) => startsWith(line, '    at');

// describe is an error for the log: with its stack, but without the frames that are not the user's.
function describe(e) {
  try {
    if (!isError(e) || !e.stack) return shorten(inspect(e));
    const lines = split(String(e.stack), '\n');
    let text = lines[0];
    for (let i = 1; i < lines.length && !isFrame(lines[i]); i++) text += '\n' + lines[i];
    text = shorten(text);
    const rest = frames(e);
    for (let i = 0; i < rest.length; i++) text += '\n    ' + rest[i];
    return text;
  } catch (_) {
    return messageOf(e);
  }
}

// frames keeps the user's part of a stack: from the first frame to the last one inside the code folder. Where none is,
// as with source maps, it is what there is up to the worker's own.
function frames(e) {
  let lines;
  try {
    lines = split(String(e.stack), '\n');
  } catch (_) {
    return [];
  }
  let first = -1;
  let last = -1;
  let mine = lines.length;
  for (let i = 0; i < lines.length; i++) {
    if (first < 0 && isFrame(lines[i])) first = i;
    if (first < 0) continue;
    if (isUsers(lines[i])) last = i;
    if (mine === lines.length && indexOf(lines[i], NAME + ':') >= 0) mine = i;
  }
  const kept = [];
  if (first < 0) return kept;
  const end = last >= 0 ? last + 1 : mine;
  for (let i = first; i < end; i++) kept[kept.length] = shorten(trim(lines[i]));
  return kept;
}

function errorBody(prefix, message, type, stack) {
  const body = { errorMessage: prefix + shorten(message), errorType: type };
  if (stack !== undefined) body.stackTrace = stack;
  return stringify(body, null, 4);
}

const ENTRY = 'function entry exception, error: ';
const INVOCATION = 'function invocation exception, error: ';
const INITIALIZATION = 'function initialization exception, error: ';
const PRESTOPPING = 'function prestop exception, error: ';

// raised builds the answer for a throw or a rejection.
function raised(call, code, prefix, e) {
  if (isError(e)) {
    const type = nameOf(e);
    failure(call, { code: code, type: type }, errorBody(prefix, messageOf(e), type, frames(e)), e);
  } else {
    failure(call, { code: code, type: 'UserFunctionError' }, errorBody(prefix, messageOf(e), 'UserFunctionError', []), e);
  }
}

// handed builds the answer for callback(err).
function handed(call, e) {
  if (isError(e)) {
    const type = e.type ? String(e.type) : nameOf(e);
    failure(call, { code: 4001, type: type }, errorBody(ENTRY, messageOf(e), type), e);
  } else if (typeof e === 'object' && !isArray(e)) {
    let body;
    try {
      body = stringify(assign({}, e, { message: ENTRY + e.message }));
    } catch (err) {
      failure(call, { code: 4007, type: 'TypeError' }, errorBody('function result is invalid, error: ', messageOf(err), 'TypeError'), err);
      return;
    }
    failure(call, { code: 4001, type: 'UserFunctionError' }, shorten(body), e);
  } else {
    failure(call, { code: 4001, type: 'UserFunctionError' }, shorten(typeof e === 'string' ? e : String(stringify(e))), e);
  }
}

class FunctionError extends Error {
  // hint is what to do about it, for the log and local callers: the message is the platform's.
  constructor(name, message, hint) {
    super(message);
    define(this, 'name', { value: name });
    define(this, 'hint', { value: hint });
  }
}

// ---------------------------------------------------------------------------------------------------- logs

// writeLog writes at once: what was logged before a crash, an endless loop or process.exit() is not lost.
function writeLog(call, meta, text) {
  let id = 0;
  if (call !== undefined) {
    if (call.answered) meta = slice(meta, 0, -1) + ',"requestId":' + asciiJSON(call.requestID) + '}';
    else id = call.id;
  }
  if (typeof text === 'string' ? text.length < LOG_PIECE / 3 : text.length < LOG_PIECE) {
    put(LOG, id, meta, text);
  } else {
    const bytes = typeof text === 'string' ? bufferFrom(text, 'utf8') : text;
    for (let at = 0; at < bytes.length; at += LOG_PIECE) {
      const more = at + LOG_PIECE < bytes.length;
      put(LOG, id, more ? slice(meta, 0, -1) + ',"more":true}' : meta, part(bytes, at, at + LOG_PIECE));
    }
  }
  flush();
}

const LEVELS = { DEBUG: 0, INFO: 1, WARN: 2, ERROR: 3 };

class Logger {
  constructor(call) {
    define(this, 'call', { value: call });
    this.level = LEVELS.INFO;
  }
  setLevel(level) {
    if (hasOwn(LEVELS, level)) this.level = LEVELS[level];
  }
  debug() {
    if (this.level <= 0) writeLog(owner(this.call), '{"level":"DEBUG"}', apply(format, util, arguments));
  }
  info() {
    if (this.level <= 1) writeLog(owner(this.call), '{"level":"INFO"}', apply(format, util, arguments));
  }
  warn() {
    if (this.level <= 2) writeLog(owner(this.call), '{"level":"WARN"}', apply(format, util, arguments));
  }
  error() {
    writeLog(owner(this.call), '{"level":"ERROR"}', apply(format, util, arguments));
  }
}

let Writable = null; // loaded by the first replaceStream: after Hello, before user code
const ours = {}; // name -> the stream that took the place of process[name]

// replaceStream puts a stream of ours in the place of process.stdout or process.stderr.
function replaceStream(name, fd) {
  if (Writable === null) Writable = require('stream').Writable;
  const stream = makeStream('{"stream":"' + name + '"}', fd);
  ours[name] = stream;
  define(process, name, { configurable: true, enumerable: true, get: () => stream });
  rebindConsole(name);
}

// makeStream is a stream whose chunks become Log frames with this meta.
function makeStream(meta, fd) {
  const emit = (chunk, encoding) => {
    let data = chunk;
    if (typeof chunk === 'string') {
      if (typeof encoding === 'string' && encoding !== 'utf8' && exec(/^utf-?8$/i, encoding) === null) data = bufferFrom(chunk, encoding);
    } else if (!isBuffer(chunk)) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError('The "chunk" argument must be of type string, Buffer or Uint8Array');
      data = bufferFrom(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    }
    if (data.length > 0) writeLog(owner(), meta, data);
  };
  const stream = new Writable({
    decodeStrings: false,
    write(chunk, encoding, done) {
      emit(chunk, encoding);
      done();
    },
  });
  stream.write = (chunk, encoding, done) => {
    emit(chunk, encoding);
    const cb = typeof encoding === 'function' ? encoding : done;
    if (typeof cb === 'function') nextTick(cb);
    return true;
  };
  // Who waits for the end of the stream sees one, as with Node's own stdout; unlike that it can be ended by every call.
  stream.end = (chunk, encoding, done) => {
    const cb = typeof chunk === 'function' ? chunk : typeof encoding === 'function' ? encoding : done;
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') emit(chunk, encoding);
    nextTick(() => {
      stream.emit('finish');
      if (typeof cb === 'function') cb();
      stream.emit('close');
    });
    return stream;
  };
  stream.destroy = stream.destroySoon = (err, done) => {
    nextTick(() => {
      if (typeof done === 'function') done(err || null);
      else if (err) stream.emit('error', err);
      stream.emit('close');
    });
    return stream;
  };
  stream.ref = stream.unref = () => stream;
  stream._handle = { fd: fd, setBlocking: () => 0, ref() {}, unref() {}, hasRef: () => false };
  stream.fd = fd;
  stream._type = 'pipe';
  stream._isStdio = true;
  return stream;
}

// rebindConsole lets the console take its stream when it is first used, as without us: code that was loaded before the
// worker may have used it already, and it keeps the stream it took.
function rebindConsole(name) {
  let taken = null;
  define(console, '_' + name, {
    configurable: true,
    get() {
      if (taken === null) taken = process[name];
      return taken;
    },
    set(stream) { taken = stream; },
  });
}

// How long an answer waits for output, in looks 1 ms apart: while it does not get less, and in all. Looks, because time
// also passes while the machine has none for this process.
const STUCK = 100, HOLD = 1000;
const hopeless = {}; // name -> a stream of user code's that does not write what it holds

// unwritten is how much output the streams hold that user code put in the place of ours.
function unwritten() {
  return held('stdout') + held('stderr');
}

function held(name) {
  let stream;
  try {
    stream = process[name];
    if (stream === ours[name] || !stream || stream === hopeless[name]) return 0;
    return (stream.writableLength || 0) + (stream.readableFlowing ? stream.readableLength || 0 : 0);
  } catch (_) {
    return 0; // a getter of the user's
  }
}

// awaitOutput calls fn when that output is written, or does not get less.
function awaitOutput(fn) {
  let least = unwritten();
  let looks = 0;
  let vain = 0;
  const look = () => {
    const left = unwritten();
    vain = left < least ? 0 : vain + 1;
    least = left;
    if (left > 0 && vain < STUCK && ++looks < HOLD) {
      later(look, 1);
      return;
    }
    if (vain >= STUCK) { // it is never waited for again
      hopeless.stdout = process.stdout;
      hopeless.stderr = process.stderr;
    }
    fn();
  };
  immediately(look);
}

// ---------------------------------------------------------------------------------------------------- context

const facts = {
  functionName: env.RUNTIME_FUNC_NAME || '',
  package: env.RUNTIME_PACKAGE || '',
  projectID: env.RUNTIME_PROJECT_ID || '',
  version: env.RUNTIME_FUNC_VERSION || '',
  memory: env.RUNTIME_MEMORY || '0',
  cpu: env.RUNTIME_CPU || '0',
  timeout: Math.round(Number(env.RUNTIME_TIMEOUT) * 1000) || 3000,
  userData: {},
};
try {
  const parsed = parse(env.RUNTIME_USERDATA || '{}');
  if (parsed !== null && typeof parsed === 'object') facts.userData = parsed;
} catch (_) {
  // as on the platform: no user data
}

let encrypted = {}; // user variables that are not in the environment: only getUserData has them

const deadline = Symbol('deadline');
const SECRET = ['accessKey', 'secretKey', 'securityAccessKey', 'securitySecretKey', 'authToken', 'securityToken'];

class Context {
  constructor(call, meta) {
    const secrets = meta.credentials || {};
    this.functionName = facts.functionName;
    this.package = facts.package;
    this.projectID = facts.projectID;
    this.functionVersion = facts.version;
    this.memory = facts.memory;
    this.cpu = facts.cpu;
    this.userData = facts.userData;
    this.timeout = facts.timeout;
    this.startTime = now();
    this.requestID = call.requestID;
    this.accessKey = secrets.accessKey || '';
    this.secretKey = secrets.secretKey || '';
    this.securityAccessKey = secrets.securityAccessKey || '';
    this.securitySecretKey = secrets.securitySecretKey || '';
    this.authToken = secrets.authToken || '';
    this.securityToken = secrets.securityToken || '';
    this.logger = new Logger(call);
    this.invokeID = '';
    this.invokeProperty = '';
    this.fromTask = false;
    this.instanceID = '';
    this.state = '';
    this.traceID = call.requestID;
    this.alias = meta.alias || '';
    this.workflowID = meta.workflowId || '';
    this.workflowRunID = meta.workflowRunId || '';
    this.workflowStateID = meta.workflowStateId || '';
    this[deadline] = meta.deadline;
  }
  getRequestID() { return this.requestID; }
  getRemainingTimeInMilliSeconds() { return floor(this[deadline] - now()); }
  getAccessKey() { return this.accessKey; }
  getSecretKey() { return this.secretKey; }
  getSecurityAccessKey() { return this.securityAccessKey; }
  getSecuritySecretKey() { return this.securitySecretKey; }
  getSecurityToken() { return this.securityToken; }
  getToken() { return this.authToken; }
  getUserData(key) {
    if (hasOwn(encrypted, key)) return encrypted[key];
    return hasOwn(this.userData, key) ? this.userData[key] : undefined;
  }
  getFunctionName() { return this.functionName; }
  getRunningTimeInSeconds() { return this.timeout / 1000; }
  getVersion() { return this.functionVersion; }
  getMemorySize() { return this.memory; }
  getCPUNumber() { return this.cpu; }
  getProjectID() { return this.projectID; }
  getPackage() { return this.package; }
  getLogger() { return this.logger; }
  getAlias() { return this.alias; }
  getWorkflowID() { return this.workflowID; }
  getWorkflowRunID() { return this.workflowRunID; }
  getWorkflowStateID() { return this.workflowStateID; }
  // console.log(context) must not put credentials into the log.
  [Symbol.for('nodejs.util.inspect.custom')]() {
    const shown = assign({}, this);
    for (let i = 0; i < SECRET.length; i++) if (shown[SECRET[i]] !== '') shown[SECRET[i]] = '[redacted]';
    delete shown[deadline];
    return shown;
  }
}

// ---------------------------------------------------------------------------------------------------- the function

const target = splitHandler(env.RUNTIME_HANDLER || 'index.handler');
const initializerName = (env.RUNTIME_INITIALIZER_HANDLER || '.').split('.')[1];
const preStopName = (env.RUNTIME_PRESTOP_HANDLER || '.').split('.')[1];
const file = '\'./' + target.file + '.js\'';
let exported = null; // returns the module's exports as they are now
let importModule = null; // import(), which a script without a file does not have
let cache = null; // what codecache.js returns

function splitHandler(text) {
  const dot = text.lastIndexOf('.');
  return { file: text.slice(0, dot), symbol: text.slice(dot + 1) };
}

function findModule() {
  for (const extension of ['.js', '.mjs', '.cjs']) {
    const path = codeRoot + '/' + target.file + extension;
    try {
      if (statSync(path).isFile()) return path;
    } catch (e) {
      if (e.code !== 'ENOENT' && e.code !== 'ENOTDIR') throw e;
    }
  }
  throw new FunctionError('FunctionLoadError', 'not found module ' + file, relative());
}

// relative is a hint at a file that has the handler's name and another extension.
function relative() {
  const path = codeRoot + '/' + target.file;
  const slash = path.lastIndexOf('/');
  let names = [];
  try {
    names = readdirSync(path.slice(0, slash));
  } catch (_) {
    // there is not even the folder
  }
  const found = names.find((name) => name.startsWith(path.slice(slash + 1) + '.') && /\.([cm]?ts|tsx|jsx)$/.test(name));
  if (found === undefined) return undefined;
  return 'there is ' + found + ', which has to be compiled to JavaScript first (tsc, esbuild); Node.js 22.18 or later also runs plain TypeScript from an index.js like: module.exports = require(\'./' + found + '\')';
}

// isModule reports whether a file is an ES module, as Node.js decides it: by extension, then by the nearest
// package.json.
function isModule(path) {
  if (path.endsWith('.mjs')) return true;
  if (path.endsWith('.cjs')) return false;
  for (let dir = path; (dir = dir.slice(0, dir.lastIndexOf('/'))) !== '';) {
    let text;
    try {
      text = readFileSync(dir + '/package.json', 'utf8');
    } catch (_) {
      continue;
    }
    try {
      return parse(withoutMark(text)).type === 'module';
    } catch (_) {
      return false;
    }
  }
  return false;
}

// withoutMark leaves a byte order mark out.
function withoutMark(text) {
  return codeAt(text, 0) === 0xfeff ? slice(text, 1) : text;
}

function load() {
  try {
    const path = findModule();
    if (isModule(path)) {
      if (!atLeast(12, 17)) throw new FunctionError('FunctionLoadError', 'ES modules need Node.js 12.17 or later, this is ' + process.version);
      loadModule(path);
      return;
    }
    try {
      require(path);
    } catch (e) {
      if (!isUntypedModule(e, path)) throw e;
      loadModule(path);
      return;
    }
    const entry = require.cache[realpathSync(path)] || require.cache[path];
    const first = require(path);
    exported = entry ? () => entry.exports : () => first;
    loaded();
  } catch (e) {
    notLoaded(e);
  }
}

function loadModule(path) {
  then(importModule(pathToFileURL(path).href), (namespace) => {
    try {
      exported = () => namespace;
      loaded();
    } catch (e) {
      notLoaded(e);
    }
  }, notLoaded);
}

// isUntypedModule reports whether e says that the file itself, and not one that it requires, is an ES module that only
// import() can load: nothing says so but its syntax.
function isUntypedModule(e, path) {
  try {
    if (e.code !== 'ERR_REQUIRE_ASYNC_MODULE' && e.code !== 'ERR_REQUIRE_ESM') return false;
    const text = withoutMark(readFileSync(path, 'utf8'));
    new Script('(function (exports, require, module, __filename, __dirname) {' + (startsWith(text, '#!') ? '//' : '') + text + '\n})'); // eslint-disable-line no-new
    return false;
  } catch (_) {
    return true;
  }
}

// openCache begins to use the code cache, or to keep one. What is wrong with it never stands in the way of the load.
function openCache(open) {
  try {
    cache = open(cacheMode, codeRoot, atLeast, process.execArgv.join(' ') + ' ' + env.NODE_OPTIONS);
  } catch (e) {
    cache = { refused: messageOf(e) };
  }
}

// reportCache says how much of the load came out of the cache.
function reportCache() {
  if (cache === null) return;
  put(LOG, 0, asciiJSON({ codeCache: cache.refused !== undefined ? { refused: cache.refused } : cache.report() }), '');
}

// writeCache answers with what was written, for bootstrap warm.
function writeCache() {
  let written;
  try {
    written = cache.refused !== undefined ? { refused: cache.refused } : cache.write();
  } catch (e) {
    written = { refused: messageOf(e) };
  }
  put(CODECACHE, 0, asciiJSON(written), '');
  flush();
}

function loaded() {
  const found = exported();
  const handler = found && found[target.symbol];
  if (typeof handler !== 'function') {
    throw new FunctionError('FunctionConfigError', 'handler \'' + target.symbol + '\' not found in module ' + file, contents(found, target.symbol, 'RUNTIME_HANDLER (--handler)'));
  }
  if (handler.length !== 2 && handler.length !== 3) {
    throw new FunctionError('FunctionLoadError', 'handler expect to have 2 or 3 parameters, but received ' + handler.length, 'the handler\'s length is ' + handler.length +
      ': parameters with a default, rest parameters and what follows them do not count, and wrappers may have fewer parameters than the handler inside; export (event, context) => wrapped(event, context)');
  }
  reportCache();
  conclude(new Call(0, {}, true), RESULT, '', '');
}

// contents is a hint at what a module exports in place of the function symbol, which a setting names.
function contents(found, symbol, setting) {
  if (typeof found === 'function') return 'the module exports a function itself: write exports.' + symbol + ' = ...';
  if (found === null || typeof found !== 'object') return 'the module exports ' + String(found);
  const names = keysOf(found);
  if (names.length === 0) return 'the module exports nothing: write exports.' + symbol + ' = ..., or let the bundler write a library for CommonJS';
  for (let i = 0; i < names.length; i++) if (names[i] === symbol) return 'the export ' + symbol + ' is ' + (found[symbol] === undefined ? '' : 'of the type ') + typeof found[symbol] + ': it has to be a function';
  let text = 'the module exports: ' + names[0];
  for (let i = 1; i < names.length && i < 10; i++) text += ', ' + names[i];
  if (names.length > 10) text += ' and ' + (names.length - 10) + ' more';
  if (found.default && found.default[symbol]) return text + '; it has to be an export of its own, not a member of the default export';
  const meant = similar(names, symbol, (name) => name !== target.symbol && typeof found[name] === 'function');
  return meant === undefined ? text : text + '; set ' + setting + ' to ' + target.file + '.' + meant;
}

// similar finds the name that was probably meant: the only one that is possible, or one that differs in case alone.
function similar(names, name, possible) {
  let only, several = false;
  for (let i = 0; i < names.length; i++) {
    try {
      if (!possible(names[i])) continue;
    } catch (_) {
      continue; // a getter that throws
    }
    if (lower(names[i]) === lower(name)) return names[i];
    several = only !== undefined;
    only = names[i];
  }
  return several ? undefined : only;
}

// absent is a hint for a module that was not found; undefined for other errors. It reads what lies on the disk.
function absent(e) {
  try {
    if (e.code !== 'MODULE_NOT_FOUND' && e.code !== 'ERR_MODULE_NOT_FOUND') return undefined;
    const found = exec(/'([^']+)'(?: imported from (\/.*))?/, messageOf(e));
    if (found === null) return undefined;
    const wanted = found[1], from = found[2] || e.requireStack && e.requireStack[0] || '';
    if (exec(/^\.{0,2}\//, wanted) !== null) return from === '' ? undefined : misplaced(startsWith(wanted, '/') ? wanted : joined(from, wanted), e.code);
    const name = exec(/^(?:@[^/]+\/)?[^/]+/, wanted)[0];
    if (startsWith(name, '#') || startsWith(name, 'node:')) return undefined;
    let listed;
    try {
      listed = parse(withoutMark(readFileSync(codeRoot + '/package.json', 'utf8')));
    } catch (_) {
      // most code folders have none
    }
    if (listed && listed.dependencies && listed.dependencies[name]) return name + ' is in package.json and not in node_modules: run npm install in the code folder';
    if (listed && listed.devDependencies && listed.devDependencies[name]) return name + ' is a development dependency in package.json, and is not installed: move it to "dependencies", then run npm install in the code folder';
    return name + ' is not in node_modules: run npm install ' + name + ' in the code folder';
  } catch (_) {
    return undefined; // an error of the user's own making, whose members throw
  }
}

// joined is a relative path seen from the folder of a file.
function joined(from, path) {
  const parts = split(from.slice(0, from.lastIndexOf('/')) + '/' + path, '/'), kept = [];
  for (let i = 0; i < parts.length; i++) {
    if (parts[i] === '..') kept.length--;
    else if (parts[i] !== '.') kept[kept.length] = parts[i];
  }
  return kept.join('/');
}

// misplaced is a hint at a file that differs from the missing one in case, or in its extension.
function misplaced(path, code) {
  const slash = path.lastIndexOf('/');
  const wanted = lower(slice(path, slash + 1));
  let names = [];
  try {
    names = readdirSync(slice(path, 0, slash));
  } catch (_) {
    return undefined; // there is not even the folder
  }
  const near = names.find((name) => lower(name) === wanted || lower(name) === wanted + '.js' || lower(name) === wanted + '.json' || lower(name) === wanted + '.mjs' || lower(name) === wanted + '.cjs');
  if (near !== undefined) {
    if (startsWith(lower(near), wanted) && startsWith(near, slice(path, slash + 1))) {
      return code === 'ERR_MODULE_NOT_FOUND' ? 'there is ' + near + ': an import needs the whole name, with its extension' : 'there is ' + near + ': require needs that extension written';
    }
    return 'there is ' + near + ': upper and lower case count here, as in the cloud';
  }
  const source = names.find((name) => startsWith(lower(name), wanted + '.') && exec(/\.([cm]?ts|tsx|jsx)$/, name) !== null);
  return source === undefined ? undefined : 'there is ' + source + ', which has to be compiled to JavaScript first (tsc, esbuild)';
}

// final marks errors of the code itself, which another attempt meets again: its syntax, a module that is missing, an
// export or a signature that is wrong.
function final(meta, e) {
  const missing = e && (e.code === 'MODULE_NOT_FOUND' || e.code === 'ERR_MODULE_NOT_FOUND' || e.code === 'ERR_PACKAGE_PATH_NOT_EXPORTED');
  if (missing || e instanceof FunctionError || isError(e) && nameOf(e) === 'SyntaxError' && ofCode(String(e.stack))) meta.final = true;
  return meta;
}

const compiled = /^(?:file:\/\/)?(\/.*:\d+)/; // where a syntax error of a script is

// ofCode reports whether a syntax error is of code, not of JSON.parse or eval: it begins with its place, or was raised
// by Node.js's loader.
function ofCode(stack) {
  const frame = exec(/^    at .*$/m, stack);
  return exec(compiled, stack) !== null || frame !== null && exec(/[( ](?:node:)?internal\/modules\//, frame[0]) !== null;
}

function notLoaded(e) {
  reportCache();
  let message = messageOf(e);
  const type = isError(e) ? nameOf(e) : 'UserFunctionError';
  if (type === 'SyntaxError') {
    const where = exec(compiled, String(e.stack));
    if (where) message += ' (' + where[1] + ')';
  }
  const meta = final({ code: 4001, type: type }, e);
  failure(new Call(0, {}, true), meta, errorBody(ENTRY, message, type), e);
}

let lateCallback = false; // whether one has been logged: a wrapper may make one in every call

function noteLateCallback(call) {
  if (lateCallback) return;
  lateCallback = true;
  writeLog(call, '{"level":"WARN"}', 'callback was called after the async handler had ended with nothing, which was the answer: return the result, or await what calls callback. Further ones are not logged');
}

function invoke(id, meta, text) {
  const call = begin(id, meta, false);
  let event;
  try {
    event = eventOf(text);
  } catch (e) {
    failure(call, { code: 4002, type: 'SyntaxError', event: true }, messageOf(e));
    return;
  }
  run(call, () => {
    const handler = exported()[target.symbol];
    let returned;
    try {
      returned = exported()[target.symbol](event, new Context(call, meta), (err = {}, data) => {
        if (call.empty) noteLateCallback(call);
        else if (!err) answer(call, data);
        else if (!call.concluded) handed(call, err);
      });
      const settled = (value) => {
        if (value === undefined && !call.concluded) call.empty = true;
        answer(call, value);
      };
      if (whenSettled(returned, settled, (e) => raised(call, 4002, INVOCATION, e))) return;
    } catch (e) {
      raised(call, 4002, INVOCATION, e);
      return;
    }
    if (!call.concluded) explainSilence(call, handler, returned);
  });
}

function eventOf(text) {
  if (text === '') return {};
  try {
    return parse(text);
  } catch (e) {
    if (codeAt(text, 0) !== 0xfeff) throw e;
    return eventOf(slice(text, 1)); // editors on Windows begin files with a byte order mark
  }
}

// whenSettled waits for a native promise as await does; false if it is none.
function whenSettled(promise, good, bad) {
  if (!(promise instanceof Promise)) return false;
  if (prototypeOf(promise) === promisePrototype) then(promise, good, bad);
  else promise.then(good, bad); // a class of the user's, which may start its work only now
  return true;
}

// explainSilence sends the agent the hint for the case that this call times out.
function explainSilence(call, handler, returned) {
  let hint = '';
  if (returned && typeof returned.then === 'function') {
    hint = 'the handler returned a thenable that is no native Promise, and the platform ignores those: make the handler async and await it';
  } else if (handler.length < 3) {
    hint = 'the handler returned without a Promise and takes no callback, so it can never answer: write "async (event, context) => result", or take (event, context, callback) and call callback(null, result)';
  } else if (returned !== undefined) {
    hint = 'the value that a handler returns is ignored unless it is a Promise: call callback(null, result), or make the handler async';
  } else {
    return;
  }
  put(LOG, call.id, asciiJSON({ hint: hint }), '');
  flushSoon();
}

function initialize(id, meta) {
  const call = begin(id, meta, true);
  run(call, () => {
    try {
      const initializer = findHook('initializer', initializerName, 'RUNTIME_INITIALIZER_HANDLER (--initializer)');
      if (initializer.length !== 2) {
        throw new FunctionError('FunctionConfigError', 'initializer expect to have 2 parameters, but received ' + initializer.length);
      }
      const returned = callHook(call, 4009, INITIALIZATION, initializerName, meta);
      if (!(returned instanceof Promise) && !call.concluded && returned !== undefined) explainSilence(call, { length: 3 }, returned);
    } catch (e) {
      if (e instanceof FunctionError) hookFailed(call, 4009, INITIALIZATION, e);
      else raised(call, 4009, INITIALIZATION, e);
    }
  });
}

// preStop runs the hook before the end. The platform has none in Node.js, so it may be as handlers elsewhere are: with
// a callback, or without one and done when it returns.
function preStop(id, meta) {
  const call = begin(id, meta, true);
  run(call, () => {
    try {
      const hook = findHook('prestop handler', preStopName, 'RUNTIME_PRESTOP_HANDLER (--prestop)');
      if (hook.length > 2) {
        throw new FunctionError('FunctionConfigError', 'prestop handler expect to have 1 or 2 parameters, but received ' + hook.length);
      }
      const returned = callHook(call, 4001, PRESTOPPING, preStopName, meta);
      if (returned instanceof Promise || call.concluded) return;
      if (hook.length < 2) answer(call, undefined);
      else if (returned !== undefined) explainSilence(call, { length: 3 }, returned);
    } catch (e) {
      if (e instanceof FunctionError) hookFailed(call, 4001, PRESTOPPING, e);
      else raised(call, 4001, PRESTOPPING, e);
    }
  });
}

// findHook returns a hook by its name; setting is what named it.
function findHook(what, symbol, setting) {
  const hook = exported()[symbol];
  if (typeof hook !== 'function') {
    throw new FunctionError('FunctionConfigError', what + ' \'' + symbol + '\' not found in module ' + file, contents(exported(), symbol, setting));
  }
  return hook;
}

// callHook calls initializer or pre-stop hook; a callback or a promise answers the call.
function callHook(call, code, prefix, symbol, meta) {
  const returned = exported()[symbol](new Context(call, meta), (err = {}) => {
    if (!err) answer(call, undefined);
    else hookFailed(call, code, prefix, err);
  });
  whenSettled(returned, () => answer(call, undefined), (e) => raised(call, code, prefix, e));
  return returned;
}

// hookFailed answers for callback(err), which carries no stack.
function hookFailed(call, code, prefix, e) {
  const type = isError(e) ? String(e.type || nameOf(e)) : 'UserFunctionError';
  const message = isError(e) ? messageOf(e) : typeof e === 'string' ? e : String(e.message);
  const meta = { code: code, type: type };
  failure(call, code === 4009 ? final(meta, e) : meta, errorBody(prefix, message, type), e);
}

// ---------------------------------------------------------------------------------------------------- frames in

let big = null; // a frame that did not come in one piece
let filled = 0;
let stub = null; // less than a length

function feed(n, buf) {
  let at = 0;
  if (stub !== null) {
    buf = concat([stub, part(buf, 0, n)]);
    n = buf.length;
    stub = null;
  }
  if (big !== null) {
    const take = big.length - filled < n ? big.length - filled : n;
    copy(buf, big, filled, 0, take);
    filled += take;
    at = take;
    if (filled < big.length) return;
    const whole = big;
    big = null;
    receive(whole, 0, whole.length);
  }
  while (n - at >= 4) {
    const end = at + 4 + read32(buf, at);
    if (end > n) break;
    receive(buf, at, end);
    at = end;
  }
  if (n - at >= 4) {
    big = allocate(4 + read32(buf, at));
    filled = copy(buf, big, 0, at, n);
  } else if (at < n) {
    stub = bufferFrom(part(buf, at, n));
  }
}

function receive(buf, at, end) {
  const type = buf[at + 4];
  const id = read32(buf, at + 5);
  const payload = at + HEADER + read32(buf, at + 9);
  switch (type) {
    case INVOKE:
      invoke(id, parse(utf8Slice(buf, at + HEADER, payload)), utf8Slice(buf, payload, end));
      break;
    case INIT:
      initialize(id, parse(utf8Slice(buf, at + HEADER, payload)));
      break;
    case PRESTOP:
      preStop(id, parse(utf8Slice(buf, at + HEADER, payload)));
      break;
    case CANCEL: {
      const call = calls.get(id);
      if (call) settle(call);
      break;
    }
    case USERDATA:
      encrypted = parse(utf8Slice(buf, payload, end));
      break;
    case CODECACHE:
      if (cache !== null) writeCache();
      break;
    case BYE:
      leave();
      break;
  }
}

let events = null; // the socket that frames arrive on

function listen() {
  const options = { fd: EVENTS, readable: true, writable: false };
  if (atLeast(12, 10)) options.onread = { buffer: allocate(256 * 1024), callback: feed };
  const Socket = require('net').Socket; // takes some milliseconds: after Hello, before user code
  events = own(new Socket(options), ['unref']);
  if (!atLeast(12, 10)) events.on('data', (chunk) => feed(chunk.length, chunk));
  events.on('end', () => exitOf(process, 0)); // the agent is gone
  events.on('error', () => exitOf(process, 1));
  if (atLeast(12, 10)) events.read(0); // starts reading here and now, while all that Node needs for it is Node's
}

const LINGER = 100; // milliseconds

// leave lets the process end in order: as soon as nothing is left to do, at the latest after LINGER, because open
// connections and timers would keep it for ever. Exit hooks run, and what Node writes at its end is written. A handler
// of the user's for TERM decides itself when the process ends; the agent is asked for the signal, which goes to the
// whole group.
function leave() {
  if (listenerCount(process, 'SIGTERM') > 0) {
    once(process, 'SIGTERM', () => events.unref());
    put(BYE, 0, '', '');
    flush();
    return;
  }
  once(process, 'SIGTERM', () => {}); // it comes when half of the time is over; exit hooks have all of it
  events.unref();
  later(() => exitOf(process), LINGER).unref();
}

// ---------------------------------------------------------------------------------------------------- start

// noteListener reports that user code listens for USR1, which the agent would open the inspector with.
function noteListener(name) {
  if (name !== 'SIGUSR1') return;
  put(LOG, 0, '{"usr1":true}', '');
  flush();
}

// park waits until the agent needs this worker: for Load, the first frame of all. Anything else means that it does not.
function park() {
  require('net'); // what a start needs is there when the load begins
  const frame = allocate(HEADER);
  for (let at = 0; at < HEADER;) {
    let n = 0;
    try {
      n = fs.readSync(EVENTS, frame, at, HEADER - at, null);
    } catch (e) {
      if (e.code === 'EINTR') continue;
      throw e;
    }
    if (n === 0) process.exit(0); // the agent is gone
    at += n;
  }
  if (frame[4] !== LOAD) process.exit(0);
}

// start runs the worker; main is the module that Node.js started, bring its import(), open the function of codecache.js.
function start(main, bring, open) {
  put(HELLO, 0, asciiJSON({ version: 1, runtime: 'nodejs', runtimeVersion: process.versions.node, concurrency: storage !== null, prestop: true, bye: true, userdata: true }), '');
  flush();
  if (!atLeast(10, 0)) process.exit(1);
  fs.closeSync(SOURCE);
  if (indexOf(process.execArgv.join(' '), '--inspect-port=') >= 0) process.on('newListener', noteListener);
  if (cacheMode !== undefined) openCache(open);
  process.execArgv = [];
  process.argv[1] = main.filename = NAME;
  importModule = bring;
  process.on('exit', flush);
  replaceStream('stdout', 1);
  replaceStream('stderr', 2);
  if (parked) park();
  listen();
  load();
}

module.exports = { start, put, flush, feed, load, replaceStream, asciiJSON, messageOf, describe, frames, shorten, errorBody, isModule, Context, Logger, calls };

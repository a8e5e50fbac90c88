'use strict';
// The Node.js worker: loads the function, speaks frames with the agent (docs/PROTOCOL.md), answers as the platform's own
// worker does (docs/COMPATIBILITY.md). One file, embedded into the agent; requires nothing but what Node has loaded
// anyway. ES2015 syntax only, so that an old Node gets as far as saying that it is too old.

const fs = require('fs');
const util = require('util');

const EVENTS = 3; // the agent writes, we read
const ANSWERS = 4; // we write, and may block: the agent always reads
const SOURCE = 5; // this file

const HELLO = 1, INIT = 2, INVOKE = 3, RESULT = 4, FAILURE = 5, LOG = 6, CANCEL = 7, BYE = 8, PRESTOP = 9, USERDATA = 10;
const HEADER = 13;
const LOG_PIECE = 48 * 1024;

const env = process.env;
const codeRoot = env.RUNTIME_CODE_ROOT || '/opt/function/code';
const maxResponse = Number(env.RUNTIME_MAX_RESP_BODY_SIZE) || 6291456;
const nodeVersion = process.versions.node.split('.').map(Number);
const atLeast = (major, minor) => nodeVersion[0] > major || (nodeVersion[0] === major && nodeVersion[1] >= minor);

// ---------------------------------------------------------------------------------------------------- answers

const out = Buffer.allocUnsafe(512 * 1024); // memory that is not touched costs nothing
let used = 0;
let flushing = false;

function writeAll(buf, from, to) {
  while (from < to) {
    try {
      from += fs.writeSync(ANSWERS, buf, from, to - from);
    } catch (e) {
      if (e.code === 'EPIPE' || e.code === 'ECONNRESET') process.exit(1); // the agent is gone
      if (e.code !== 'EAGAIN') throw e;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
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
  setImmediate(flush);
}

function header(buf, at, type, id, metaLength, payloadLength) {
  buf.writeUInt32BE(HEADER - 4 + metaLength + payloadLength, at);
  buf[at + 4] = type;
  buf.writeUInt32BE(id, at + 5);
  buf.writeUInt32BE(metaLength, at + 9);
}

// put appends a frame to what will be written next. meta is ASCII JSON text, payload a string or a Buffer.
function put(type, id, meta, payload) {
  const small = typeof payload === 'string' && payload.length < 160 * 1024;
  const bound = HEADER + meta.length + (small ? payload.length * 3 : 0);
  if (used + bound > out.length) flush();
  const at = used;
  let end = at + HEADER + meta.length;
  if (meta.length > 0) out.write(meta, at + HEADER, 'latin1');
  if (small) {
    if (payload.length > 0) end += out.write(payload, end, 'utf8');
    header(out, at, type, id, meta.length, end - at - HEADER - meta.length);
    used = end;
    return;
  }
  const bytes = typeof payload === 'string' ? Buffer.from(payload, 'utf8') : payload;
  header(out, at, type, id, meta.length, bytes.length);
  used = end;
  if (bytes.length <= LOG_PIECE && used + bytes.length <= out.length) {
    used += bytes.copy(out, used);
    return;
  }
  flush();
  writeAll(bytes, 0, bytes.length);
}

// asciiJSON is JSON.stringify with every other character escaped, so that its length in bytes is its length.
function asciiJSON(value) {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => '\\u' + ('000' + c.charCodeAt(0).toString(16)).slice(-4));
}

// ---------------------------------------------------------------------------------------------------- calls

const calls = new Map(); // id → Call that has no answer yet

class Call {
  constructor(id, meta) {
    this.id = id;
    this.requestID = meta.requestId;
    this.answered = false;
  }
}

// Which call runs here and now: exact with AsyncLocalStorage, else the one call there can be.
let storage = null;
let lone = null;
if (atLeast(12, 17)) storage = new (require('async_hooks').AsyncLocalStorage)();

function current() {
  return storage !== null ? storage.getStore() : lone;
}

function run(call, fn) {
  if (storage !== null) return storage.run(call, fn);
  lone = call;
  return fn();
}

function settle(call) {
  if (call.answered) return false;
  call.answered = true;
  calls.delete(call.id);
  return true;
}

function sent() {
  if (calls.size === 0) flush();
  else flushSoon();
}

const TEXT = '{"text":true}';
const LONGEST_TYPE = 1000; // characters: meta has a limit, errors may have any name

function answer(call, value) {
  if (call.answered) return;
  let body;
  let meta = '';
  try {
    if (value === undefined) body = '';
    else if (typeof value === 'object') body = JSON.stringify(value);
    else {
      body = String(value);
      meta = TEXT;
    }
    if (body === undefined) body = ''; // a toJSON that returns nothing
  } catch (e) {
    failure(call, { code: 4007, type: 'TypeError' }, errorBody('function result is invalid, error: ', messageOf(e), 'TypeError'), e);
    return;
  }
  if (body.length * 3 > maxResponse) {
    const size = Buffer.byteLength(body);
    if (size > maxResponse) {
      failure(call, { code: 4004, type: 'ResponseTooLarge' }, 'response body size ' + size + ' exceeds the limit of ' + maxResponse);
      return;
    }
  }
  if (!settle(call)) return;
  put(RESULT, call.id, meta, body);
  sent();
}

// failure answers with an error body. cause, if there is one, goes to the log with its stack first.
function failure(call, meta, body, cause) {
  if (call.answered) return;
  writeLog(call, '{"level":"ERROR"}', cause !== undefined ? describe(cause) : body);
  if (!settle(call)) return;
  if (Buffer.byteLength(body) > maxResponse) {
    meta.code = 4004;
    body = 'response body size ' + Buffer.byteLength(body) + ' exceeds the limit of ' + maxResponse;
  }
  meta.type = meta.type.slice(0, LONGEST_TYPE);
  put(FAILURE, call.id, asciiJSON(meta), body);
  sent();
}

// ---------------------------------------------------------------------------------------------------- errors

const isError = (e) => e instanceof Error || Object.prototype.toString.call(e) === '[object Error]';

const shorten = (text) => text.split('file://' + codeRoot).join('.').split(codeRoot).join('.');

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

// describe is an error for the log: with its stack, but without the frames that are not the user's.
function describe(e) {
  try {
    if (!isError(e) || !e.stack) return shorten(util.inspect(e));
    const lines = String(e.stack).split('\n');
    const first = lines.findIndex((l) => l.startsWith('    at'));
    const head = first < 0 ? lines : lines.slice(0, first);
    return shorten(head.join('\n')) + frames(e).map((l) => '\n    ' + l).join('');
  } catch (_) {
    return messageOf(e);
  }
}

// frames keeps the user's part of a stack: from the first frame to the last one inside the code folder.
function frames(e) {
  let lines;
  try {
    lines = String(e.stack).split('\n');
  } catch (_) {
    return [];
  }
  const first = lines.findIndex((l) => l.startsWith('    at'));
  if (first < 0) return [];
  let last = -1;
  for (let i = first; i < lines.length; i++) if (lines[i].indexOf(codeRoot) >= 0) last = i;
  return lines.slice(first, last + 1).map((l) => shorten(l.trim()));
}

function errorBody(prefix, message, type, stack) {
  const body = { errorMessage: prefix + shorten(message), errorType: type };
  if (stack !== undefined) body.stackTrace = stack;
  return JSON.stringify(body, null, 4);
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
  } else if (typeof e === 'object' && !Array.isArray(e)) {
    let body;
    try {
      body = JSON.stringify(Object.assign({}, e, { message: ENTRY + e.message }));
    } catch (err) {
      failure(call, { code: 4007, type: 'TypeError' }, errorBody('function result is invalid, error: ', messageOf(err), 'TypeError'), err);
      return;
    }
    failure(call, { code: 4001, type: 'UserFunctionError' }, shorten(body), e);
  } else {
    failure(call, { code: 4001, type: 'UserFunctionError' }, shorten(typeof e === 'string' ? e : String(JSON.stringify(e))), e);
  }
}

class FunctionError extends Error {
  constructor(name, message) {
    super(message);
    Object.defineProperty(this, 'name', { value: name });
  }
}

// ---------------------------------------------------------------------------------------------------- logs

// writeLog writes at once: what was logged before a crash, an endless loop or process.exit() is not lost.
function writeLog(call, meta, text) {
  let id = 0;
  if (call) {
    id = call.id;
    if (call.answered) meta = meta.slice(0, -1) + ',"requestId":' + asciiJSON(call.requestID) + '}';
  }
  if (typeof text === 'string' ? text.length < LOG_PIECE / 3 : text.length < LOG_PIECE) {
    put(LOG, id, meta, text);
  } else {
    const bytes = typeof text === 'string' ? Buffer.from(text, 'utf8') : text;
    for (let at = 0; at < bytes.length; at += LOG_PIECE) {
      const more = at + LOG_PIECE < bytes.length;
      put(LOG, id, more ? meta.slice(0, -1) + ',"more":true}' : meta, bytes.slice(at, at + LOG_PIECE));
    }
  }
  flush();
}

const LEVELS = { DEBUG: 0, INFO: 1, WARN: 2, ERROR: 3 };

class Logger {
  constructor(call) {
    Object.defineProperty(this, 'call', { value: call });
    this.level = LEVELS.INFO;
  }
  setLevel(level) {
    if (Object.prototype.hasOwnProperty.call(LEVELS, level)) this.level = LEVELS[level];
  }
  debug() {
    if (this.level <= 0) writeLog(this.call, '{"level":"DEBUG"}', util.format.apply(util, arguments));
  }
  info() {
    if (this.level <= 1) writeLog(this.call, '{"level":"INFO"}', util.format.apply(util, arguments));
  }
  warn() {
    if (this.level <= 2) writeLog(this.call, '{"level":"WARN"}', util.format.apply(util, arguments));
  }
  error() {
    writeLog(this.call, '{"level":"ERROR"}', util.format.apply(util, arguments));
  }
}

// replaceStream puts a stream of ours in the place of process.stdout or process.stderr, made when it is first used.
function replaceStream(name, fd) {
  const meta = '{"stream":"' + name + '"}';
  const emit = (chunk, encoding) => {
    let data = chunk;
    if (typeof chunk === 'string') {
      if (typeof encoding === 'string' && !/^utf-?8$/i.test(encoding)) data = Buffer.from(chunk, encoding);
    } else if (!Buffer.isBuffer(chunk)) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError('The "chunk" argument must be of type string, Buffer or Uint8Array');
      data = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    }
    if (data.length > 0) writeLog(current(), meta, data);
  };
  let stream = null;
  Object.defineProperty(process, name, {
    configurable: true,
    enumerable: true,
    get() {
      if (stream !== null) return stream;
      const Writable = require('stream').Writable;
      stream = new Writable({
        decodeStrings: false,
        write(chunk, encoding, done) {
          emit(chunk, encoding);
          done();
        },
      });
      stream.fd = fd;
      stream._type = 'pipe';
      stream.write = (chunk, encoding, done) => {
        emit(chunk, encoding);
        const cb = typeof encoding === 'function' ? encoding : done;
        if (typeof cb === 'function') process.nextTick(cb);
        return true;
      };
      stream.destroy = stream.destroySoon = () => stream; // as Node's own stdout, it stays open
      return stream;
    },
  });
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
  const parsed = JSON.parse(env.RUNTIME_USERDATA || '{}');
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
    this.startTime = Date.now();
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
  getRemainingTimeInMilliSeconds() { return Math.floor(this[deadline] - Date.now()); }
  getAccessKey() { return this.accessKey; }
  getSecretKey() { return this.secretKey; }
  getSecurityAccessKey() { return this.securityAccessKey; }
  getSecuritySecretKey() { return this.securitySecretKey; }
  getSecurityToken() { return this.securityToken; }
  getToken() { return this.authToken; }
  getUserData(key) {
    if (Object.prototype.hasOwnProperty.call(encrypted, key)) return encrypted[key];
    return Object.prototype.hasOwnProperty.call(this.userData, key) ? this.userData[key] : undefined;
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
    const shown = Object.assign({}, this);
    for (const key of SECRET) if (shown[key] !== '') shown[key] = '[redacted]';
    delete shown[deadline];
    return shown;
  }
}

// ---------------------------------------------------------------------------------------------------- the function

const target = splitHandler(env.RUNTIME_HANDLER || 'index.handler');
let exported = null; // returns the module's exports as they are now

function splitHandler(text) {
  const dot = text.lastIndexOf('.');
  return { file: text.slice(0, dot), symbol: text.slice(dot + 1) };
}

function findModule() {
  for (const extension of ['.js', '.mjs', '.cjs']) {
    const path = codeRoot + '/' + target.file + extension;
    try {
      if (fs.statSync(path).isFile()) return path;
    } catch (e) {
      if (e.code !== 'ENOENT' && e.code !== 'ENOTDIR') throw e;
    }
  }
  throw new FunctionError('FunctionLoadError', 'not found module \'./' + target.file + '.js\'');
}

// isModule tells an ES module as Node does: by extension, then by the nearest package.json.
function isModule(path) {
  if (path.endsWith('.mjs')) return true;
  if (path.endsWith('.cjs')) return false;
  for (let dir = path; (dir = dir.slice(0, dir.lastIndexOf('/'))) !== '';) {
    let text;
    try {
      text = fs.readFileSync(dir + '/package.json', 'utf8');
    } catch (_) {
      continue;
    }
    try {
      return JSON.parse(text).type === 'module';
    } catch (_) {
      return false;
    }
  }
  return false;
}

function load() {
  try {
    const path = findModule();
    if (isModule(path)) {
      if (!atLeast(12, 17)) throw new FunctionError('FunctionLoadError', 'ES modules need Node.js 12.17 or later, this is ' + process.version);
      import(require('url').pathToFileURL(path).href).then((namespace) => {
        exported = () => namespace;
        loaded();
      }).catch(notLoaded);
      return;
    }
    require(path);
    const entry = require.cache[fs.realpathSync(path)] || require.cache[path];
    const first = require(path);
    exported = entry ? () => entry.exports : () => first;
    loaded();
  } catch (e) {
    notLoaded(e);
  }
}

// final marks errors of the code itself, which another attempt meets again: its syntax, a module that is missing, an export or a
// signature that is wrong.
function final(meta, e) {
  const missing = e && ['MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND', 'ERR_PACKAGE_PATH_NOT_EXPORTED'].indexOf(e.code) >= 0;
  if (missing || e instanceof FunctionError || isError(e) && nameOf(e) === 'SyntaxError' && ofCode(String(e.stack))) meta.final = true;
  return meta;
}

const compiled = /^(?:file:\/\/)?(\/.*:\d+)/; // where a syntax error of a script is

// ofCode tells a syntax error of code from one of JSON.parse or eval: it begins with its place, or was raised by Node.js's loader.
function ofCode(stack) {
  const frame = /^    at .*$/m.exec(stack);
  return compiled.test(stack) || frame !== null && /[( ](?:node:)?internal\/modules\//.test(frame[0]);
}

function loaded() {
  const handler = exported() && exported()[target.symbol];
  const file = '\'./' + target.file + '.js\'';
  if (typeof handler !== 'function') {
    throw new FunctionError('FunctionConfigError', 'handler \'' + target.symbol + '\' not found in module ' + file);
  }
  if (handler.length !== 2 && handler.length !== 3) {
    throw new FunctionError('FunctionLoadError', 'handler expect to have 2 or 3 parameters, but received ' + handler.length);
  }
  put(RESULT, 0, '', '');
  flush();
}

function notLoaded(e) {
  let message = messageOf(e);
  const type = isError(e) ? nameOf(e) : 'UserFunctionError';
  if (type === 'SyntaxError') {
    const where = compiled.exec(String(e.stack));
    if (where) message += ' (' + where[1] + ')';
  }
  failure({ id: 0, answered: false }, final({ code: 4001, type: type }, e), errorBody(ENTRY, message, type), e);
}

function invoke(id, meta, text) {
  const call = new Call(id, meta);
  calls.set(id, call);
  let event;
  try {
    event = text === '' ? {} : JSON.parse(text);
  } catch (e) {
    failure(call, { code: 4002, type: 'SyntaxError', event: true }, messageOf(e));
    return;
  }
  run(call, () => {
    const handler = exported()[target.symbol];
    let returned;
    try {
      returned = exported()[target.symbol](event, new Context(call, meta), (err = {}, data) => {
        if (!err) answer(call, data);
        else if (!call.answered) handed(call, err);
      });
    } catch (e) {
      raised(call, 4002, INVOCATION, e);
      return;
    }
    if (returned instanceof Promise) returned.then((value) => answer(call, value), (e) => raised(call, 4002, INVOCATION, e));
    else if (!call.answered) explainSilence(call, handler, returned);
  });
}

// explainSilence tells the agent what to say if this call should time out.
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
  const call = new Call(id, meta);
  calls.set(id, call);
  run(call, () => {
    try {
      const symbol = env.RUNTIME_INITIALIZER_HANDLER.split('.')[1];
      const initializer = findHook('initializer', symbol);
      if (initializer.length !== 2) {
        throw new FunctionError('FunctionConfigError', 'initializer expect to have 2 parameters, but received ' + initializer.length);
      }
      const returned = callHook(call, 4009, INITIALIZATION, symbol, meta);
      if (!(returned instanceof Promise) && !call.answered && returned !== undefined) explainSilence(call, { length: 3 }, returned);
    } catch (e) {
      if (e instanceof FunctionError) hookFailed(call, 4009, INITIALIZATION, e);
      else raised(call, 4009, INITIALIZATION, e);
    }
  });
}

// preStop runs the hook before the end. The platform has none in Node.js, so it may be as handlers elsewhere are: with a
// callback, or without one and done when it returns.
function preStop(id, meta) {
  const call = new Call(id, meta);
  calls.set(id, call);
  run(call, () => {
    try {
      const symbol = (env.RUNTIME_PRESTOP_HANDLER || '.').split('.')[1];
      const hook = findHook('prestop handler', symbol);
      if (hook.length > 2) {
        throw new FunctionError('FunctionConfigError', 'prestop handler expect to have 1 or 2 parameters, but received ' + hook.length);
      }
      const returned = callHook(call, 4001, PRESTOPPING, symbol, meta);
      if (returned instanceof Promise || call.answered) return;
      if (hook.length < 2) answer(call, undefined);
      else if (returned !== undefined) explainSilence(call, { length: 3 }, returned);
    } catch (e) {
      if (e instanceof FunctionError) hookFailed(call, 4001, PRESTOPPING, e);
      else raised(call, 4001, PRESTOPPING, e);
    }
  });
}

function findHook(what, symbol) {
  const hook = exported()[symbol];
  if (typeof hook !== 'function') {
    throw new FunctionError('FunctionConfigError', what + ' \'' + symbol + '\' not found in module \'./' + target.file + '.js\'');
  }
  return hook;
}

// callHook calls initializer or pre-stop hook; a callback or a promise answers the call.
function callHook(call, code, prefix, symbol, meta) {
  const returned = exported()[symbol](new Context(call, meta), (err = {}) => {
    if (!err) answer(call, undefined);
    else hookFailed(call, code, prefix, err);
  });
  if (returned instanceof Promise) returned.then(() => answer(call, undefined), (e) => raised(call, code, prefix, e));
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
    buf = Buffer.concat([stub, buf.slice(0, n)]);
    n = buf.length;
    stub = null;
  }
  if (big !== null) {
    const take = Math.min(big.length - filled, n);
    buf.copy(big, filled, 0, take);
    filled += take;
    at = take;
    if (filled < big.length) return;
    const whole = big;
    big = null;
    receive(whole, 0, whole.length);
  }
  while (n - at >= 4) {
    const end = at + 4 + buf.readUInt32BE(at);
    if (end > n) break;
    receive(buf, at, end);
    at = end;
  }
  if (n - at >= 4) {
    big = Buffer.allocUnsafe(4 + buf.readUInt32BE(at));
    filled = buf.copy(big, 0, at, n);
  } else if (at < n) {
    stub = Buffer.from(buf.slice(at, n));
  }
}

function receive(buf, at, end) {
  const type = buf[at + 4];
  const id = buf.readUInt32BE(at + 5);
  const payload = at + HEADER + buf.readUInt32BE(at + 9);
  switch (type) {
    case INVOKE:
      invoke(id, JSON.parse(buf.toString('utf8', at + HEADER, payload)), buf.toString('utf8', payload, end));
      break;
    case INIT:
      initialize(id, JSON.parse(buf.toString('utf8', at + HEADER, payload)));
      break;
    case PRESTOP:
      preStop(id, JSON.parse(buf.toString('utf8', at + HEADER, payload)));
      break;
    case CANCEL: {
      const call = calls.get(id);
      if (call) settle(call);
      break;
    }
    case USERDATA:
      encrypted = JSON.parse(buf.toString('utf8', payload, end));
      break;
    case BYE:
      leave();
      break;
  }
}

let events = null; // the socket that frames arrive on

function listen() {
  const net = require('net');
  const options = { fd: EVENTS, readable: true, writable: false };
  if (atLeast(12, 10)) options.onread = { buffer: Buffer.allocUnsafe(256 * 1024), callback: feed };
  events = new net.Socket(options);
  if (!atLeast(12, 10)) events.on('data', (chunk) => feed(chunk.length, chunk));
  events.on('end', () => process.exit(0)); // the agent is gone
  events.on('error', () => process.exit(1));
  if (atLeast(12, 10)) events.resume();
}

const LINGER = 100; // milliseconds

// leave lets the process end in order: as soon as nothing is left to do, at the latest after LINGER, because open connections
// and timers would keep it for ever. Exit hooks run, and what Node writes at its end is written. A handler of the user's for
// TERM decides itself when the process ends; the agent is asked for the signal, which goes to the whole group.
function leave() {
  if (process.listenerCount('SIGTERM') > 0) {
    process.once('SIGTERM', () => events.unref());
    put(BYE, 0, '', '');
    flush();
    return;
  }
  events.unref();
  setTimeout(() => process.exit(), LINGER).unref();
}

// ---------------------------------------------------------------------------------------------------- start

function start() {
  put(HELLO, 0, asciiJSON({ version: 1, runtime: 'nodejs', runtimeVersion: process.versions.node, concurrency: storage !== null, prestop: true, bye: true, userdata: true }), '');
  flush();
  if (!atLeast(10, 0)) process.exit(1);
  fs.closeSync(SOURCE);
  process.execArgv = [];
  process.on('exit', flush);
  replaceStream('stdout', 1);
  replaceStream('stderr', 2);
  load();
  listen(); // last: when the code is loaded the agent may already hand over the first call
}

if (require.main === module) start();
else module.exports = { put, flush, feed, load, replaceStream, asciiJSON, messageOf, describe, frames, errorBody, isModule, Context, Logger, calls }; // worker.test.js

'use strict';
// The V8 code cache of the Node.js worker (docs/RUNTIMES.md, section 11): in mode read it compiles CommonJS files with
// what bootstrap warm has kept of them, in mode write it keeps that. A function of the worker, compiled only where there
// is a cache. ASCII only, for old versions, and nothing is looked up again once user code runs, as in worker.js.

const fs = require('fs');
const path = require('path');
const vm = require('vm');
const Module = require('module');

const FILE = 6; // the cache: open for reading, or empty and open for writing
const MAGIC = 'GANTRYC1';
const HEAD = 16; // bytes: MAGIC, length of the index, reserved
const ALIGNMENT = 8; // V8 copies data that is not aligned
const PIECE = 64 * 1024; // characters that are compared at once: memory that is used again costs no page faults

const parameters = ['exports', 'require', 'module', '__filename', '__dirname'];
// The parameters have a line of their own, number 0: all positions, and the lines that Node.js shows, are the file's.
const before = '(function (' + parameters.join(', ') + ') {\n', after = '\n})';
const plain = '(function (exports, require, module, __filename, __dirname) { \n});';

const uncurry = Function.prototype.bind.bind(Function.prototype.call);
const define = Object.defineProperty, descriptor = Object.getOwnPropertyDescriptor, symbols = Object.getOwnPropertySymbols;
const apply = Reflect.apply, keys = Object.keys, Script = vm.Script, String = global.String;
const slice = uncurry(''.slice), startsWith = uncurry(''.startsWith);
const get = uncurry(Map.prototype.get), has = uncurry(Map.prototype.has), add = uncurry(Set.prototype.add), set = uncurry(Map.prototype.set);
const allocate = Buffer.allocUnsafeSlow, utf8Write = uncurry(Buffer.prototype.utf8Write), compare = uncurry(Buffer.prototype.compare);
const readSync = fs.readSync, dirname = path.dirname;
const runInThisContext = uncurry(Script.prototype.runInThisContext), createCachedData = uncurry(Script.prototype.createCachedData);

// obstacle says why this process cannot use a cache at all; undefined if it can.
function obstacle(atLeast, options) {
  if (!atLeast(14, 0)) return 'it needs Node.js 14 or later, this is ' + process.version;
  const option = /--(?:inspect(?:-brk|-wait)?(?![\w-])|enable-source-maps|experimental-policy|prof(?![\w-])|cpu-prof)/.exec(options);
  if (option !== null) return 'Node.js runs with ' + option[0];
  if (process.env.NODE_V8_COVERAGE) return 'NODE_V8_COVERAGE is set';
  const own = descriptor(Module.prototype, '_compile');
  if (!own || typeof own.value !== 'function' || Function.prototype.toString.call(own.value).indexOf('wrapSafe(') < 0 || Module.wrap('') !== plain) {
    return 'a module that is loaded before the function compiles files itself';
  }
  return undefined;
}

// placeOf is the code folder as names of files have it.
function placeOf(root) {
  let real = root;
  try {
    real = fs.realpathSync(root);
  } catch (_) {
    // the load says what is wrong with it
  }
  return real[real.length - 1] === '/' ? real : real + '/';
}

// ---------------------------------------------------------------------------------------------------- the file

function readAll(buffer, at) {
  for (let n = 0; n < buffer.length;) {
    const got = readSync(FILE, buffer, n, buffer.length - n, at + n);
    if (got === 0) return false;
    n += got;
  }
  return true;
}

// readIndex returns the files of the cache, or why it is of no use for code in this folder.
function readIndex(place, fresh) {
  const head = allocate(HEAD);
  if (!readAll(head, 0) || head.latin1Slice(0, 8) !== MAGIC) return 'it is no code cache of this version; run bootstrap warm again';
  const size = fs.fstatSync(FILE).size;
  const text = head.readUInt32LE(8) <= size ? allocate(head.readUInt32LE(8)) : null;
  if (text === null || !readAll(text, HEAD)) return 'it is not complete; run bootstrap warm again';
  const index = JSON.parse(text.utf8Slice());
  if (index.size !== size) return 'it is not complete; run bootstrap warm again';
  if (index.v8 !== process.versions.v8 || index.arch !== process.arch) return foreign(index);
  if (!fresh && index.place !== place) {
    return 'it was made of the code in ' + index.place + ', and before Node.js 22 stacks of cached code name files by that; run bootstrap warm where the code lies';
  }
  const files = new Map();
  for (const f of index.files) files.set(f[0], { sourceAt: f[1], sourceLength: f[2], dataAt: f[3], dataLength: f[4] });
  files.foreign = () => foreign(index);
  return files;
}

// foreign says whose cache it is. V8 holds the tag, which stands for its version and its options, against each piece of
// data itself; it is asked for only here, because require('v8') takes longer than all else that a cache needs.
function foreign(index) {
  const tag = require('v8').cachedDataVersionTag();
  return 'it was made by Node.js ' + index.node + ' for ' + index.arch + ' (tag ' + index.tag + '), and this is ' + process.versions.node +
    ' for ' + process.arch + ' (tag ' + tag + '); run bootstrap warm with this one, and with the same options';
}

// write writes the cache of all scripts and returns what it has; V8 knows of the functions that have run by now.
function write(scripts, place) {
  const parts = [];
  const files = [];
  let at = 0;
  const add = (bytes) => {
    const begin = at;
    const gap = (ALIGNMENT - bytes.length % ALIGNMENT) % ALIGNMENT;
    parts.push(bytes, Buffer.alloc(gap));
    at += bytes.length + gap;
    return begin;
  };
  scripts.forEach((kept, name) => {
    const source = Buffer.from(kept.content, 'utf8');
    const data = createCachedData(kept.script);
    files.push([name, add(source), source.length, add(data), data.length]);
  });
  const index = { tag: require('v8').cachedDataVersionTag(), v8: process.versions.v8, arch: process.arch, node: process.versions.node, place, size: 0, files: [] };
  let text;
  for (let length = 0; ;) { // offsets are those in the file, and the index has them in it
    const base = Math.ceil((HEAD + length) / ALIGNMENT) * ALIGNMENT;
    index.size = base + at;
    index.files = files.map((f) => [f[0], base + f[1], f[2], base + f[3], f[4]]);
    text = Buffer.from(JSON.stringify(index), 'utf8');
    if (text.length <= length) {
      parts.unshift(Buffer.concat([text, Buffer.alloc(base - HEAD - text.length, ' ')]));
      break;
    }
    length = text.length + 64;
  }
  const head = Buffer.alloc(HEAD);
  head.latin1Write(MAGIC, 0);
  head.writeUInt32LE(parts[0].length, 8);
  parts.unshift(head);
  for (const part of parts) for (let n = 0; n < part.length;) n += fs.writeSync(FILE, part, n, part.length - n);
  return { files: files.length, bytes: index.size };
}

// ---------------------------------------------------------------------------------------------------- compiling

function compiles(content) {
  try {
    vm.compileFunction(content, parameters);
    return true;
  } catch (_) {
    return false;
  }
}

const IMPORT = /(?<![.\w$])import(?=\s*(?:\(|\/[*/]))/g;
const EVALUATION = /(?<![.\w$])(?:eval(?![\w$])|Function(?=\s*(?:\(|\.(?:apply|bind|call)\b)))/g;

// breaks reports whether a file compiles no more with other text in place of what a pattern finds.
function breaks(content, pattern, text) {
  const changed = content.replace(pattern, () => text);
  return changed !== content && !compiles(changed);
}

// mayImport reports whether a file has an import(), or a text with one and what evaluates texts. Two words in a row are
// no code; the end of a line, and the beginning of an expression that does not end, are no part of a text. A comment
// can have all of them.
function mayImport(content) {
  return breaks(content, IMPORT, 'a b') || (breaks(content, IMPORT, '\n//${') && breaks(content, EVALUATION, 'a b'));
}

// open begins to use the cache, or to keep one. The result has refused, which says why not; else report and write.
module.exports = function open(mode, root, atLeast, options) {
  // Older versions leave in code out of a cache what it was compiled with: the name of the file, and no import().
  const fresh = atLeast(22, 0);
  const place = placeOf(root);
  let refused = obstacle(atLeast, options);
  const index = refused === undefined && mode === 'read' ? readIndex(place, fresh) : new Map();
  if (typeof index === 'string') refused = index;
  if (refused !== undefined) return { refused };

  const original = Module.prototype._compile;
  const nameOf = (file) => startsWith(file, place) ? slice(file, place.length) : file; // wherever the code folder lies
  const scripts = new Map(); // in mode write: by name, what was compiled
  const piece = allocate(PIECE * 3), stored = allocate(PIECE * 3);
  const hits = new Set();
  const leftOut = []; // in mode write: files that are not cached because of import()
  let rejected; // why V8 does not take the data: it will take none
  let mapped = false; // the function has switched source maps on
  watchSourceMaps((on) => { mapped = on; });
  const replacement = disguise();

  function watchSourceMaps(note) {
    const set = process.setSourceMapsEnabled;
    if (typeof set !== 'function') return;
    process.setSourceMapsEnabled = function setSourceMapsEnabled(on) {
      const result = apply(set, process, arguments);
      note(on === true);
      return result;
    };
  }

  // silence drops the one warning of Node.js that an import() here is compiled in a way that is experimental.
  function silence() {
    const emit = process.emitWarning;
    const quiet = process.emitWarning = function emitWarning(warning) {
      if (typeof warning !== 'string' || !startsWith(warning, 'vm.USE_MAIN_CONTEXT_DEFAULT_LOADER ')) return apply(emit, process, arguments);
      if (process.emitWarning === quiet) process.emitWarning = emit;
      return undefined;
    };
  }

  // same compares a source with the one that was compiled: nothing but the same text may have its code.
  function same(content, entry) {
    let at = 0;
    for (let i = 0; i < content.length; i += PIECE) {
      const n = utf8Write(piece, slice(content, i, i + PIECE), 0);
      if (at + n > entry.sourceLength || readSync(FILE, stored, 0, n, entry.sourceAt + at) !== n) return false;
      if (compare(piece, stored, 0, n, 0, n) !== 0) return false;
      at += n;
    }
    return at === entry.sourceLength;
  }

  // compile makes the function of a file. Its import() is the one that the file would have.
  function compile(content, filename, cachedData) {
    const text = startsWith(content, '#!') ? '//' + slice(content, 2) : content;
    const scriptOptions = { filename, lineOffset: -1, cachedData };
    if (fresh) scriptOptions.importModuleDynamically = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
    return new Script(before + text + after, scriptOptions);
  }

  function recall(content, filename) {
    const entry = get(index, nameOf(filename));
    if (!same(content, entry)) return undefined;
    const cachedData = allocate(entry.dataLength);
    if (!readAll(cachedData, entry.dataAt)) return undefined;
    const script = compile(content, filename, cachedData);
    if (!script.cachedDataRejected) add(hits, filename);
    else if (rejected === undefined) rejected = index.foreign();
    return script;
  }

  function keep(content, filename) {
    if (!compiles(content)) return undefined; // what is an error, or an ES module, is so in its own words
    if (!fresh && mayImport(content)) {
      leftOut.push(nameOf(filename));
      return undefined;
    }
    const script = compile(content, filename);
    set(scripts, nameOf(filename), { content, script });
    return script;
  }

  // choose returns the function to call in place of the original, and the original's own if there is none.
  function choose(module, args) {
    const content = args[0], filename = args[1], format = args[2];
    if (module._compile === replacement) delete module._compile;
    let script;
    if (Module.prototype._compile === original && typeof content === 'string' && (format === undefined || format === 'commonjs') && !mapped && Module.wrap('') === plain) {
      script = mode === 'read' ? recall(content, filename) : keep(content, filename);
    }
    if (script === undefined) return { fn: Module.prototype._compile, self: module, args };
    const require = apply(original, module, ['return require', '/gantry']); // the one that Node.js makes for this module
    return {
      fn: runInThisContext(script), self: module.exports, args: [module.exports, require, module, filename, dirname(filename)],
      executing: symbols(module).find((s) => String(s) === 'Symbol(kIsExecuting)'),
    };
  }

  // disguise returns the replacement of _compile, which stands in stacks where the original would.
  function disguise() {
    const prepare = descriptor(Error, 'prepareStackTrace'), limit = Error.stackTraceLimit;
    let site;
    try {
      Error.stackTraceLimit = 2;
      Error.prepareStackTrace = (_, sites) => sites[1];
      site = apply(original, new Module('/gantry'), ['return new Error().stack', '/gantry']);
      site = { file: site.getFileName(), line: site.getLineNumber(), column: site.getColumnNumber() };
    } finally {
      Error.stackTraceLimit = limit;
      if (prepare) define(Error, 'prepareStackTrace', prepare);
      else delete Error.prepareStackTrace;
    }
    const text = '(function (choose, apply) { const Module = { prototype: {} }; Module.prototype._compile = function _compile(content, filename) { ' +
      'const c = choose(this, arguments), s = c.executing; if (s) this[s] = true; const result =\n' + ' '.repeat(site.column - 1) +
      'apply(c.fn, c.self, c.args);\nif (s) this[s] = false; return result; }; return Module.prototype._compile; })';
    return new Script(text, { filename: site.file, lineOffset: site.line - 2 }).runInThisContext()(choose, apply);
  }

  // What a stack calls a function depends on where it is found, so the original stays where it is: a module that is to
  // be compiled here has the replacement itself, since its constructor has set its filename to null.
  define(Module.prototype, 'filename', {
    configurable: true,
    get: () => undefined,
    set(value) {
      define(this, 'filename', { value, configurable: true, enumerable: true, writable: true });
      if (value === null && rejected === undefined && typeof this.id === 'string' && (mode === 'write' || has(index, nameOf(this.id)))) {
        define(this, '_compile', { value: replacement, configurable: true, writable: true });
      }
    },
  });
  const earlier = keys(Module._cache);
  if (fresh) silence();
  return {
    report: () => ({
      files: index.size, hits: hits.size, refused: rejected,
      misses: keys(Module._cache).filter((name) => !earlier.includes(name) && !hits.has(name) && !/\.(?:json|mjs|node)$/.test(name)).length,
    }),
    write: () => Object.assign(write(scripts, place), { leftOut: leftOut.length, firstLeftOut: leftOut[0] }),
  };
};

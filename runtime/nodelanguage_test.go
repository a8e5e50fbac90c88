package runtime

import (
	"encoding/base64"
	"encoding/json"
	"gantry/fault"
	"gantry/runtime/language"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNodeWorkerBearsReplacedBuiltins: user code that replaces what the worker could use. Each time the function is
// loaded, initialized, called well and badly, logs, and is stopped.
func TestNodeWorkerBearsReplacedBuiltins(t *testing.T) {
	t.Parallel()
	function := `
exports.init = async (c, cb) => { console.log('initialized'); };
exports.stop = async (c) => { console.log('stopped'); };
exports.handler = async (e, c) => {
  console.log('line', e.n);
  c.getLogger().info('info', e.n);
  stderr.write('plain\n');
  if (e.fail) throw new RangeError('oops');
  return { n: e.n, data: c.getUserData('k'), left: c.getRemainingTimeInMilliSeconds() > 0 };
};
const stderr = process.stderr, bad = (name) => function () { throw new Error('replaced: ' + name); };
`
	replace := func(object string, names ...string) string {
		list, err := json.Marshal(names)
		require.NoError(t, err)
		return "for (const name of " + string(list) + ") " + object + "[name] = bad(name);\n"
	}
	cases := map[string]struct {
		source string
		major  int // the oldest Node.js that bears it itself
	}{
		"Promise":               {replace("global", "Promise"), 10},
		"then":                  {replace("Promise.prototype", "then"), 12},
		"writeSync that logs":   {"const fs = require('fs'), w = fs.writeSync; fs.writeSync = (...a) => { const r = w(...a); console.log('x'); return r; };", 10},
		"writeSync":             {replace("require('fs')", "writeSync", "statSync", "readFileSync", "realpathSync"), 10},
		"globals":               {replace("global", "setImmediate", "setTimeout", "clearTimeout", "Map", "Date", "String", "Error", "TypeError", "Uint8Array", "Symbol", "Object", "Reflect"), 12},
		"global process":        {"global.process = {}; global.Buffer = {}; global.console = console; global.JSON = {};\n", 18},
		"JSON":                  {replace("JSON", "parse", "stringify"), 10},
		"Buffer":                {replace("Buffer", "from", "isBuffer", "byteLength", "alloc", "allocUnsafe", "concat") + replace("Buffer.prototype", "write", "copy", "slice", "utf8Write", "latin1Write", "utf8Slice", "writeUInt32BE", "readUInt32BE", "toString"), 18},
		"Map":                   {replace("Map.prototype", "get", "set", "delete", "has", "forEach"), 18},
		"Object":                {replace("Object", "assign", "keys", "defineProperty") + replace("Object.prototype", "hasOwnProperty", "toString"), 18},
		"Array":                 {replace("Array.prototype", "map", "filter", "join", "slice", "findIndex", "push"), 18},
		"String":                {replace("String.prototype", "split", "slice", "indexOf", "replace", "startsWith", "trim", "charCodeAt"), 18},
		"Function":              {replace("Function.prototype", "call"), 18},
		"util":                  {replace("require('util')", "format", "inspect"), 10},
		"process":               {replace("process", "nextTick", "once", "listenerCount"), 18},
		"RegExp":                {replace("RegExp.prototype", "exec", "test"), 18},
		"AsyncLocalStorage":     {replace("require('async_hooks').AsyncLocalStorage.prototype", "run", "getStore"), 18},
		"Date.now":              {replace("Date", "now"), 18},
		"stream":                {replace("require('stream').Writable.prototype", "write", "end"), 18},
		"everything in modules": {"for (const name of ['fs', 'util', 'stream', 'url', 'vm']) for (const f of Object.keys(require(name))) if (typeof require(name)[f] === 'function' && f !== 'prototype') try { require(name)[f] = bad(f); } catch (_) { /* read only */ }\n", 18},
	}
	for version, node := range nodes(t) {
		v, ok := language.ParseVersion(nodeVersion(t, node))
		require.True(t, ok)
		for name, c := range cases {
			if v.Major < c.major {
				continue
			}
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				f := startWorker(t, map[string]string{"index.js": function + c.source}, withNode(node), withInitializer("index.init"), withPreStop("index.stop")).ready()
				require.NoError(t, f.initialize())
				for _, n := range []string{"1", "2"} {
					r, err := f.invoke(`{"n":` + n + `}`)
					require.NoError(t, err)
					require.JSONEq(t, `{"n":`+n+`,"data":"v","left":true}`, string(r.Body))
				}
				_, err := f.invoke(`{"n":3,"fail":true}`)
				var e *fault.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, 4002, e.Code)
				require.Contains(t, string(e.Body), "\"errorMessage\": \"function invocation exception, error: oops\",\n    \"errorType\": \"RangeError\",\n    \"stackTrace\": [\n        \"at ")
				f.Stop(time.Now().Add(20 * time.Second))
				f.sink.Close(time.Now().Add(5 * time.Second))
				for _, want := range []string{"initialized\n", "line 1\n", "INFO info 2\n", "plain\n", "ERROR RangeError: oops\n    at ", "./index.js:", "stopped\n"} {
					require.Contains(t, f.out.String(), want)
				}
			})
		}
	}
}

// TestNodeAwaitsPromiseSubclassesOfUserCode: a class of promises that starts its work in then is waited for as await
// does.
func TestNodeAwaitsPromiseSubclassesOfUserCode(t *testing.T) {
	t.Parallel()
	source := `class Lazy extends Promise {
  constructor(start) { super((resolve) => resolve()); this.start = start; }
  static get [Symbol.species]() { return Promise; }
  then(good, bad) { return new Promise(this.start).then(good, bad); }
}
exports.handler = (e, c) => new Lazy((resolve, reject) => e ? resolve('lazy') : reject(new Error('lazily')));`
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node)).ready()
			r, err := f.invoke("1")
			require.NoError(t, err)
			require.Equal(t, "lazy", string(r.Body))
			_, err = f.invoke("0")
			var e *fault.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, string(e.Body), "error: lazily")
		})
	}
}

// withCodeRoot has the function below the folder that startWorker writes, under another path.
func withCodeRoot(path func(root string) string) option {
	return func(c *Config) {
		old := c.Function.CodeRoot
		c.Function.CodeRoot = path(old)
		c.Dir = filepath.Dir(c.Function.CodeRoot)
		for i, kv := range c.Env {
			c.Env[i] = strings.Replace(kv, "RUNTIME_CODE_ROOT="+old, "RUNTIME_CODE_ROOT="+c.Function.CodeRoot, 1)
		}
	}
}

// TestNodeStacksAreTheSameInAnyFolder: links, blanks and other characters in the code folder's path change nothing in
// stacks.
func TestNodeStacksAreTheSameInAnyFolder(t *testing.T) {
	t.Parallel()
	const odd = "my code [1] #%20é~"
	variants := map[string]struct {
		folder string
		root   func(string) string
	}{
		"plain": {"code", func(root string) string { return root + "/code" }},
		"odd":   {odd, func(root string) string { return root + "/" + odd }},
		"link": {"code", func(root string) string {
			if err := os.Symlink(root+"/code", root+"/link"); err != nil {
				panic(err)
			}
			return root + "/link"
		}},
		"link to odd": {odd, func(root string) string {
			if err := os.Symlink(root+"/"+odd, root+"/link"); err != nil {
				panic(err)
			}
			return root + "/link"
		}},
	}
	const common = "function deep(e) { if (e === 1) throw new TypeError('in ' + here + '/x and ' + here + '-old/x'); return require('./lib/part.js')(); }\n"
	languages := map[string]string{
		"index.js":  "const here = process.env.RUNTIME_CODE_ROOT;\n" + common + "exports.handler = async (e, c) => deep(e);\n",
		"index.mjs": "import { createRequire } from 'module';\nconst require = createRequire(import.meta.url), here = process.env.RUNTIME_CODE_ROOT;\n" + common + "export const handler = async (e, c) => deep(e);\n",
	}
	for version, node := range nodes(t) {
		for file, source := range languages {
			t.Run(version+" "+file, func(t *testing.T) {
				t.Parallel()
				want := map[string]string{}
				for _, name := range []string{"plain", "odd", "link", "link to odd"} {
					v := variants[name]
					f := startWorker(t, map[string]string{v.folder + "/" + file: source, v.folder + "/lib/part.js": "module.exports = () => { throw new RangeError('part'); };"}, withNode(node), withCodeRoot(v.root))
					if file == "index.mjs" && f.olderThan(12, 17) {
						t.Skip("this version has no ES modules")
					}
					f.ready()
					for _, event := range []string{"1", "2"} {
						_, err := f.invoke(event)
						var e *fault.Error
						require.ErrorAs(t, err, &e)
						body := strings.ReplaceAll(string(e.Body), f.cfg.Function.CodeRoot, "ROOT")
						if want[event] == "" {
							require.Equal(t, "plain", name)
							require.Contains(t, body, "./"+file+":")
							want[event] = body
						}
						require.Equal(t, want[event], body, name)
					}
					f.logHas("TypeError: in ./x and " + f.cfg.Function.CodeRoot + "-old/x\n    at deep (./" + file + ":")
					f.logHas("RangeError: part\n    at ")
					require.NotContains(t, f.out.String(), url.PathEscape(v.folder)+"/")
				}
			})
		}
	}
}

// TestNodeStackOutsideTheCodeFolderIsShown: where no frame is in the code folder, as with source maps, the stack
// shows what there is.
func TestNodeStackOutsideTheCodeFolderIsShown(t *testing.T) {
	t.Parallel()
	// The map says that each line is the same line of ../src/index.ts.
	source := "exports.handler = async (e, c) => {\nthrow new Error('mapped');\n};\n//# sourceMappingURL=data:application/json;base64," +
		base64.StdEncoding.EncodeToString([]byte(`{"version":3,"sources":["../src/index.ts"],"names":[],"mappings":"AAAA;AACA;AACA"}`)) + "\n"
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"code/index.js": source, "src/index.ts": "\nthrow\n"}, withNode(node), withCodeRoot(func(root string) string { return root + "/code" }), withEnv("NODE_OPTIONS=--enable-source-maps"))
			if f.olderThan(18, 0) {
				t.Skip("this version shows maps in another way, or has none")
			}
			f.ready()
			_, err := f.invoke("{}")
			var e *fault.Error
			require.ErrorAs(t, err, &e)
			var body struct{ StackTrace []string }
			require.NoError(t, json.Unmarshal(e.Body, &body))
			require.NotEmpty(t, body.StackTrace)
			require.Contains(t, body.StackTrace[0], "/src/index.ts:2")
			require.NotContains(t, strings.Join(body.StackTrace, "\n"), "node:gantry")
			f.logHas("Error: mapped\n    at ")
			f.logHas("/src/index.ts:2")
		})
	}
	t.Run("none of the user's at all", func(t *testing.T) {
		t.Parallel()
		f := startWorker(t, map[string]string{"index.js": "exports.handler = (e, c) => new Promise((done, fail) => require('net').connect(1, '127.0.0.1').on('error', fail));"}).ready()
		_, err := f.invoke("{}")
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Regexp(t, `"stackTrace": \[\s+"at TCPConnectWrap`, string(e.Body))
	})
}

// TestNodeWorkersNamesInStacksCannotBeOpened: no name of the worker's in a stack can be opened, whatever user code
// has as descriptor 5.
func TestNodeWorkersNamesInStacksCannotBeOpened(t *testing.T) {
	t.Parallel()
	source := `const fs = require('fs');
for (let fd = 0; fd < 100; fd++) fs.openSync(__filename, 'r');
function names() {
  const before = Error.prepareStackTrace, limit = Error.stackTraceLimit;
  Error.prepareStackTrace = (e, sites) => sites.map((s) => s.getFileName());
  Error.stackTraceLimit = 100;
  const found = new Error('x').stack;
  Error.prepareStackTrace = before;
  Error.stackTraceLimit = limit;
  return found;
}
const all = names();
exports.init = async (c, cb) => { all.push(...names()); };
exports.stop = async (c) => { all.push(...names()); console.log(all.filter(opens).join()); };
const opens = (name) => typeof name === 'string' && name !== __filename && fs.existsSync(name);
exports.handler = async (e, c) => {
  process.stdout.write = function () { all.push(...names()); };
  console.log('x');
  delete process.stdout.write;
  all.push(...names());
  setTimeout(() => all.push(...names()), 1);
  await null;
  return { seen: all.includes('node:gantry'), opens: all.concat(process.argv[1], require.main.filename).filter(opens) };
};`
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node), withInitializer("index.init")).ready()
			require.NoError(t, f.initialize())
			r, err := f.invoke("{}")
			require.NoError(t, err)
			require.JSONEq(t, `{"seen":true,"opens":[]}`, string(r.Body))
		})
	}
}

// TestNodeLoadsUntypedFilesAsModulesBySyntax: a file without a type that is an ES module by its syntax loads as with
// "node index.js".
func TestNodeLoadsUntypedFilesAsModulesBySyntax(t *testing.T) {
	t.Parallel()
	loads := map[string]map[string]string{
		"top-level await":         {"index.js": "await 0; export const handler = async (e, c) => 'fine';"},
		"in a function of others": {"index.js": "import { value } from './part.js'; export const handler = async (e, c) => value;", "part.js": "export const value = await 'fine';"},
		"no await":                {"index.js": "export const handler = async (e, c) => 'fine';"},
		"a byte order mark":       {"index.js": "\ufeffawait 0; export const handler = async (e, c) => 'fine';"},
		"package with a mark":     {"index.js": "await 0; export const handler = async (e, c) => 'fine';", "package.json": "\ufeff{\"type\":\"module\"}"},
	}
	for version, node := range nodes(t) {
		v, ok := language.ParseVersion(nodeVersion(t, node))
		require.True(t, ok)
		if v.Before(language.Version{Major: 20, Minor: 19}) {
			continue // these do not run them either
		}
		for name, files := range loads {
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				r, err := startWorker(t, files, withNode(node)).ready().invoke("{}")
				require.NoError(t, err)
				require.Equal(t, "fine", string(r.Body))
			})
		}
		t.Run(version+" a dependency", func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": "console.log('once');\nconst part = require('./part.mjs');\nexports.handler = async (e, c) => part;", "part.mjs": "export default await 0;"}, withNode(node))
			e := f.loadError()
			require.Contains(t, string(e.Body), "top-level await")
			require.NotContains(t, string(e.Body), "/proc/")
			_ = f.ended()
			require.Equal(t, 1, strings.Count(f.out.String(), "once\n"), "the code runs once")
		})
	}
}

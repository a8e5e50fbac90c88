package runtime

import (
	"context"
	"encoding/json"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime/language"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// nodes returns the Node.js programs to test with: the one in PATH, and those that "make test" put into .cache.
func nodes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	lang, err := language.ByName("nodejs")
	require.NoError(t, err)
	path, err := lang.FindProgram(os.Getenv("PATH"), "", "", nil)
	require.NoError(t, err, "the tests need Node.js")
	found["path"] = path
	others, err := filepath.Glob("../.cache/node/*/node_modules/node/bin/node")
	require.NoError(t, err)
	for _, other := range others {
		abs, err := filepath.Abs(other)
		require.NoError(t, err)
		found[strings.Split(strings.SplitAfter(abs, ".cache/node/")[1], "/")[0]] = abs
	}
	return found
}

func withNode(path string) option { return func(c *Config) { c.Program = path } }

// TestNodeResultsOfEveryKindHaveTheRightBytes: what a handler answers, and the bytes of it.
func TestNodeResultsOfEveryKindHaveTheRightBytes(t *testing.T) {
	cases := []struct{ name, handler, event, want string }{
		{"object", "async (e, c) => ({a: 1, b: [true, null]})", "{}", `{"a":1,"b":[true,null]}`},
		{"array", "async (e, c) => [1, 'x']", "{}", `[1,"x"]`},
		{"date", "async (e, c) => new Date(0)", "{}", `"1970-01-01T00:00:00.000Z"`},
		{"buffer", "async (e, c) => Buffer.from('hi')", "{}", `{"type":"Buffer","data":[104,105]}`},
		{"string", "async (e, c) => 'grüße \\u{1F600}'", "{}", "grüße \U0001F600"},
		{"number", "async (e, c) => 1.5", "{}", "1.5"},
		{"boolean", "async (e, c) => false", "{}", "false"},
		{"bigint", "async (e, c) => BigInt('12345678901234567890')", "{}", "12345678901234567890"},
		{"symbol", "async (e, c) => Symbol('s')", "{}", "Symbol(s)"},
		{"function", "async (e, c) => isNaN", "{}", "function isNaN() { [native code] }"},
		{"undefined", "async (e, c) => undefined", "{}", ""},
		{"null", "async (e, c) => null", "{}", "null"},
		{"toJSON of nothing", "async (e, c) => ({toJSON() {}})", "{}", ""},
		{"callback object", "(e, c, cb) => cb(null, {ok: 1})", "{}", `{"ok":1}`},
		{"callback nothing", "(e, c, cb) => cb(null)", "{}", ""},
		{"callback null", "(e, c, cb) => cb(null, null)", "{}", "null"},
		{"callback err false", "(e, c, cb) => cb(false, 1)", "{}", "1"},
		{"callback err 0", "(e, c, cb) => cb(0, 2)", "{}", "2"},
		{"callback err empty", "(e, c, cb) => cb('', 3)", "{}", "3"},
		{"callback later", "(e, c, cb) => { setTimeout(() => cb(null, 'late'), 5) }", "{}", "late"},
		{"promise of a plain function", "(e, c) => Promise.resolve('p')", "{}", "p"},
		{"two parameters get a callback all the same", "function (e, c) { arguments[2](null, 'third') }", "{}", "third"},
		{"first answer wins", "(e, c, cb) => { cb(null, 1); cb(null, 2); cb(new Error('x')) }", "{}", "1"},
		{"first answer wins over a promise", "async (e, c, cb) => { cb(null, 1); return 2 }", "{}", "1"},
		{"async that means to call back later", "async (e, c, cb) => { setTimeout(() => cb(null, 'never'), 1) }", "{}", ""},
		{"event object", "async (e, c) => e.a.b", `{"a":{"b":"deep"}}`, "deep"},
		{"event array", "async (e, c) => e.length", `[1,2,3]`, "3"},
		{"event string", "async (e, c) => typeof e + e", `"s"`, "strings"},
		{"event number", "async (e, c) => typeof e", `5`, "number"},
		{"event null", "async (e, c) => e === null", `null`, "true"},
		{"empty event", "async (e, c) => e", ``, "{}"},
	}
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			source := "exports.handlers = ["
			for _, c := range cases {
				source += c.handler + ",\n"
			}
			source += "];\nexports.handler = (e, c, cb) => { const i = Number(c.getAlias()); return exports.handlers[i](e, c, cb); };"
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node)).ready()
			for i, c := range cases {
				inv := f.invocation()
				inv.Alias = itoa(i)
				r, err := f.call(inv, c.event)
				require.NoError(t, err, c.name)
				require.Equal(t, c.want, string(r.Body), c.name)
			}
		})
	}
}

// TestNodeErrorsHaveTheirCodeTypeAndBody: codes, types and exact bodies.
func TestNodeErrorsHaveTheirCodeTypeAndBody(t *testing.T) {
	cases := []struct {
		name, handler, event string
		code                 int
		body                 string
	}{
		{
			"callback(Error)", "(e, c, cb) => cb(new RangeError('too far'))", "{}", 4001,
			"{\n    \"errorMessage\": \"function entry exception, error: too far\",\n    \"errorType\": \"RangeError\"\n}",
		},
		{
			"callback(Error) with a type", "(e, c, cb) => cb(Object.assign(new Error('x'), {type: 'Mine'}))", "{}", 4001,
			"{\n    \"errorMessage\": \"function entry exception, error: x\",\n    \"errorType\": \"Mine\"\n}",
		},
		{"callback(text)", "(e, c, cb) => cb('plain text')", "{}", 4001, "plain text"},
		{"callback(object)", "(e, c, cb) => cb({a: 1, message: 'm'})", "{}", 4001, `{"a":1,"message":"function entry exception, error: m"}`},
		{"callback(object) without message", "(e, c, cb) => cb({a: 1})", "{}", 4001, `{"a":1,"message":"function entry exception, error: undefined"}`},
		{"callback()", "(e, c, cb) => cb()", "{}", 4001, `{"message":"function entry exception, error: undefined"}`},
		{"callback(undefined, x)", "(e, c, cb) => cb(undefined, 5)", "{}", 4001, `{"message":"function entry exception, error: undefined"}`},
		{
			"throw", "(e, c, cb) => { throw new TypeError('bad thing') }", "{}", 4002,
			"{\n    \"errorMessage\": \"function invocation exception, error: bad thing\",\n    \"errorType\": \"TypeError\",\n    \"stackTrace\": [\n        \"at HERE\"\n    ]\n}",
		},
		{
			"rejection with text", "async (e, c) => { throw 'words' }", "{}", 4002,
			"{\n    \"errorMessage\": \"function invocation exception, error: words\",\n    \"errorType\": \"UserFunctionError\",\n    \"stackTrace\": []\n}",
		},
		{
			"rejection with undefined", "(e, c) => Promise.reject()", "{}", 4002,
			"{\n    \"errorMessage\": \"function invocation exception, error: undefined\",\n    \"errorType\": \"UserFunctionError\",\n    \"stackTrace\": []\n}",
		},
		{
			"paths are shortened", "(e, c, cb) => cb(new Error('in ' + __dirname + '/x'))", "{}", 4001,
			"{\n    \"errorMessage\": \"function entry exception, error: in ./x\",\n    \"errorType\": \"Error\"\n}",
		},
		{
			"bigint inside", "async (e, c) => ({n: BigInt(1)})", "{}", 4007,
			"{\n    \"errorMessage\": \"function result is invalid, error: Do not know how to serialize a BigInt\",\n    \"errorType\": \"TypeError\"\n}",
		},
		{"too large", "async (e, c) => 'x'.repeat(6291457)", "{}", 4004, "response body size 6291457 exceeds the limit of 6291456"},
		{"too large in bytes only", "async (e, c) => 'ü'.repeat(3145729)", "{}", 4004, "response body size 6291458 exceeds the limit of 6291456"},
	}
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			source := "exports.handlers = ["
			for _, c := range cases {
				source += c.handler + ",\n"
			}
			source += "];\nexports.handler = (e, c, cb) => exports.handlers[Number(c.getAlias())](e, c, cb);"
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node)).ready()
			for i, c := range cases {
				inv := f.invocation()
				inv.Alias = itoa(i)
				_, err := f.call(inv, c.event)
				var e *fault.Error
				require.ErrorAs(t, err, &e, c.name)
				require.Equal(t, fault.Function, e.Kind, c.name)
				require.Equal(t, c.code, e.Code, c.name)
				body := string(e.Body)
				if strings.Contains(c.body, "at HERE") {
					var parsed struct{ StackTrace []string }
					require.NoError(t, json.Unmarshal(e.Body, &parsed), c.name)
					require.Regexp(t, `^at .*\(?\./index\.js:\d+:\d+\)?$`, parsed.StackTrace[0], c.name)
					require.NotContains(t, body, "/proc/self", "frames of the worker must not show")
					continue
				}
				require.Equal(t, c.body, body, c.name)
			}
			_, err := f.invoke("not json")
			var e *fault.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, fault.Event, e.Kind)
			require.Equal(t, 4002, e.Code)
			require.Regexp(t, "^Unexpected token", string(e.Body))
			inv := f.invocation()
			inv.Alias = "99"
			_, err = f.call(inv, "{}")
			require.Error(t, err, "the worker is alive and answers")
		})
	}
}

func TestNodeResultOfExactlyTheLimitIsAnswered(t *testing.T) {
	f := startWorker(t, map[string]string{"index.js": "exports.handler = async (n, c) => 'x'.repeat(n)"}).ready()
	r, err := f.invoke("6291456")
	require.NoError(t, err)
	require.Len(t, r.Body, 6291456)
	r, err = f.invoke("200000")
	require.NoError(t, err)
	require.Len(t, r.Body, 200000)
}

func TestNodeCircularResultFailsWith4007(t *testing.T) {
	f := startWorker(t, map[string]string{"index.js": "exports.handler = async (e, c) => { const o = {}; o.o = o; return o }"}).ready()
	_, err := f.invoke("{}")
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 4007, e.Code)
	require.Contains(t, string(e.Body), "function result is invalid, error: Converting circular structure to JSON")
}

// TestNodeLoadFailureNamesItsCause: what stands in the way of a load, and the words for it.
func TestNodeLoadFailureNamesItsCause(t *testing.T) {
	cases := []struct {
		name             string
		files            map[string]string
		handler          string
		errorType, wants string
	}{
		{"file missing", map[string]string{"other.js": ""}, "index.handler", "FunctionLoadError", `function entry exception, error: not found module './index.js'`},
		{"file missing in a folder", map[string]string{"other.js": ""}, "src/index.handler", "FunctionLoadError", `not found module './src/index.js'`},
		{"syntax error", map[string]string{"index.js": "\n\nexports.handler = (;"}, "index.handler", "SyntaxError", `function entry exception, error: Unexpected token ';' (./index.js:3)`},
		{"missing dependency", map[string]string{"index.js": "require('no-such-module')"}, "index.handler", "Error", `function entry exception, error: Cannot find module 'no-such-module'`},
		{"throw at top level", map[string]string{"index.js": "throw new RangeError('boom')"}, "index.handler", "RangeError", `function entry exception, error: boom`},
		{"export missing", map[string]string{"index.js": "exports.other = 1"}, "index.handler", "FunctionConfigError", `function entry exception, error: handler 'handler' not found in module './index.js'`},
		{"export is no function", map[string]string{"index.js": "exports.handler = {}"}, "index.handler", "FunctionConfigError", `handler 'handler' not found in module './index.js'`},
		{"one parameter", map[string]string{"index.js": "exports.handler = async (e) => 1"}, "index.handler", "FunctionLoadError", `handler expect to have 2 or 3 parameters, but received 1`},
		{"default value", map[string]string{"index.js": "exports.handler = async (e, c = 1) => 1"}, "index.handler", "FunctionLoadError", `but received 1`},
		{"rest parameters", map[string]string{"index.js": "exports.handler = async (...all) => 1"}, "index.handler", "FunctionLoadError", `but received 0`},
		{"four parameters", map[string]string{"index.js": "exports.handler = async (a, b, c, d) => 1"}, "index.handler", "FunctionLoadError", `but received 4`},
		{"module throws late", map[string]string{"index.mjs": "await null; throw new TypeError('top')"}, "index.handler", "TypeError", `function entry exception, error: top`},
		{"module with a syntax error", map[string]string{"index.mjs": "\nexport const handler = (;"}, "index.handler", "SyntaxError", `function entry exception, error: Unexpected token`},
		{"module without the export", map[string]string{"index.mjs": "export const other = 1"}, "index.handler", "FunctionConfigError", `handler 'handler' not found`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			startWorker(t, c.files, withHandler(c.handler)).loadFails(c.errorType, c.wants)
		})
	}
}

// TestNodeLoadFailureSaysWhatToDo: the nearest export, the missing package and how to get it, the file that was meant.
func TestNodeLoadFailureSaysWhatToDo(t *testing.T) {
	const handler = "exports.handler = async (e, c) => 1"
	const module = "export const handler = async (e, c) => 1"
	cases := map[string]struct {
		files map[string]string
		hint  string
	}{
		"one other export": {map[string]string{"index.js": "exports.hello = async (e, c) => 1"}, "the module exports: hello; set RUNTIME_HANDLER (--handler) to index.hello"},
		"another case":     {map[string]string{"index.js": "exports.other = () => 1; exports.Handler = async (e, c) => 1"}, "the module exports: other, Handler; set RUNTIME_HANDLER (--handler) to index.Handler"},
		"another file":     {map[string]string{"main.js": handler}, "the code folder has no index.js, but main.js: if that has the handler, set --handler main.handler"},
		"several exports":  {map[string]string{"index.js": "exports.a = () => 1; exports.b = () => 1"}, "the module exports: a, b"},
		"no function":      {map[string]string{"index.js": "exports.a = () => 1; exports.handler = { run() {} }"}, "the export handler is of the type object: it has to be a function"},
		"values only":      {map[string]string{"index.js": "exports.a = 1"}, "the module exports: a"},
		"a throwing getter": {
			map[string]string{"index.js": "Object.defineProperty(exports, 'a', { enumerable: true, get() { throw new Error('early'); } })"},
			"the module exports: a",
		},
		"package":                 {map[string]string{"index.js": "require('left/pad')"}, "left is not in node_modules: run npm install left in the code folder"},
		"scoped package":          {map[string]string{"index.js": "require('@a/b/c')"}, "@a/b is not in node_modules: run npm install @a/b in the code folder"},
		"listed package":          {map[string]string{"index.js": "require('left')", "package.json": `{"dependencies":{"left":"1"}}`}, "left is in package.json and not in node_modules: run npm install in the code folder"},
		"development package":     {map[string]string{"index.js": "require('left')", "package.json": `{"devDependencies":{"left":"1"}}`}, `left is a development dependency in package.json, and is not installed: move it to "dependencies", then run npm install in the code folder`},
		"imported package":        {map[string]string{"index.mjs": "import 'left'"}, "left is not in node_modules: run npm install left in the code folder"},
		"file in another case":    {map[string]string{"index.js": "require('./lib/foo');" + handler, "lib/Foo.js": ""}, "there is Foo.js: upper and lower case count here, as in the cloud"},
		"file above":              {map[string]string{"index.js": "require('./a/b');", "a/b.js": "require('../Lib')", "lib.js": ""}, "there is lib.js: upper and lower case count here, as in the cloud"},
		"import without its end":  {map[string]string{"index.mjs": "import './lib';" + module, "lib.js": ""}, "there is lib.js: an import needs the whole name, with its extension"},
		"require of a module":     {map[string]string{"index.js": "require('./lib')", "lib.mjs": ""}, "there is lib.mjs: require needs that extension written"},
		"TypeScript in its place": {map[string]string{"index.js": "require('./lib')", "lib.ts": ""}, "there is lib.ts, which has to be compiled to JavaScript first (tsc, esbuild)"},
		"nothing near":            {map[string]string{"index.js": "require('./lib')"}, ""},
		"an error of its own":     {map[string]string{"index.js": "throw Object.assign(new Error('x'), { code: 'MODULE_NOT_FOUND', requireStack: 5 })"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.hint, startWorker(t, c.files).loadError().Hint)
		})
	}
}

func TestNodeLoadsModulesOfEveryKind(t *testing.T) {
	cases := map[string]struct {
		files   map[string]string
		handler string
	}{
		"mjs":              {map[string]string{"index.mjs": "import fs from 'fs'; export const handler = async (e, c) => typeof fs.readFileSync"}, "index.handler"},
		"type module":      {map[string]string{"package.json": `{"type":"module"}`, "index.js": "import fs from 'node:fs'; export async function handler(e, c) { return typeof fs.readFileSync }"}, "index.handler"},
		"type in a parent": {map[string]string{"package.json": `{"type":"module"}`, "src/a.js": "import fs from 'fs'; export const handler = async (e, c) => typeof fs.readFileSync"}, "src/a.handler"},
		"cjs in a module":  {map[string]string{"package.json": `{"type":"module"}`, "index.cjs": "exports.handler = async (e, c) => typeof require('fs').readFileSync"}, "index.handler"},
		"top-level await":  {map[string]string{"index.mjs": "const v = await Promise.resolve('function'); export const handler = async (e, c) => v"}, "index.handler"},
		"path and dots":    {map[string]string{"src/my.mod.js": "exports.run = async (e, c) => 'function'"}, "src/my.mod.run"},
		"dependency":       {map[string]string{"index.js": "exports.handler = async (e, c) => require('dep')", "node_modules/dep/index.js": "module.exports = 'function'"}, "index.handler"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := startWorker(t, c.files, withHandler(c.handler)).ready().invoke("{}")
			require.NoError(t, err)
			require.Equal(t, "function", string(r.Body))
		})
	}
}

// TestNodeContextHasThePlatformsMethodsAndKeys: methods, properties, types.
func TestNodeContextHasThePlatformsMethodsAndKeys(t *testing.T) {
	source := `exports.handler = async (e, c) => ({
  methods: [c.getRequestID(), c.getAccessKey(), c.getSecretKey(), c.getSecurityAccessKey(), c.getSecuritySecretKey(), c.getSecurityToken(), c.getToken(),
    c.getUserData('k'), typeof c.getUserData('nope'), typeof c.getUserData('toString'), c.getFunctionName(), c.getRunningTimeInSeconds(), c.getVersion(), c.getMemorySize(), c.getCPUNumber(),
    c.getProjectID(), c.getPackage(), typeof c.getLogger().info, c.getAlias(), c.getWorkflowID(), c.getWorkflowRunID(), c.getWorkflowStateID()],
  remaining: c.getRemainingTimeInMilliSeconds(),
  keys: Object.keys(c), traceID: c.traceID, timeout: c.timeout, startTime: typeof c.startTime,
});`
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node)).ready()
			inv := f.invocation()
			inv.Alias, inv.Workflow = "prod", fncontext.Workflow{ID: "w", RunID: "wr", StateID: "ws"}
			inv.Credentials = fncontext.NewCredentials(fncontext.Secrets{AccessKey: "ak", SecretKey: "sk", SecurityAccessKey: "sak", SecuritySecretKey: "ssk", SecurityToken: "st", AuthToken: "at"})
			r, err := f.call(inv, "{}")
			require.NoError(t, err)
			var got struct {
				Methods   []any
				Remaining float64
				Keys      []string
				TraceID   string
				Timeout   float64
				StartTime string
			}
			require.NoError(t, json.Unmarshal(r.Body, &got))
			require.Equal(t, []any{inv.RequestID, "ak", "sk", "sak", "ssk", "st", "at", "v", "undefined", "undefined", "hello", 20.0, "latest", "128", "300", "p", "default", "function", "prod", "w", "wr", "ws"}, got.Methods)
			require.Greater(t, got.Remaining, 1000.0)
			require.LessOrEqual(t, got.Remaining, 20000.0)
			require.Equal(t, strings.Fields("functionName package projectID functionVersion memory cpu userData timeout startTime requestID accessKey secretKey securityAccessKey securitySecretKey authToken securityToken logger invokeID invokeProperty fromTask instanceID state traceID alias workflowID workflowRunID workflowStateID"), sortedLike(got.Keys))
			require.Equal(t, inv.RequestID, got.TraceID)
			require.Equal(t, 20000.0, got.Timeout)
			require.Equal(t, "number", got.StartTime)
		})
	}
}

// sortedLike returns the keys in the order of the contract's list.
func sortedLike(keys []string) []string {
	order := strings.Fields("functionName package projectID functionVersion memory cpu userData timeout startTime requestID accessKey secretKey securityAccessKey securitySecretKey authToken securityToken logger invokeID invokeProperty fromTask instanceID state traceID alias workflowID workflowRunID workflowStateID")
	have := map[string]bool{}
	for _, k := range keys {
		have[k] = true
	}
	var out []string
	for _, k := range order {
		if have[k] {
			out = append(out, k)
			delete(have, k)
		}
	}
	for k := range have {
		out = append(out, k)
	}
	return out
}

func TestNodeLogsObeyLevelsAndHideSecrets(t *testing.T) {
	source := `exports.handler = async (e, c) => {
  const log = c.getLogger();
  log.info('i %d %s', 1, 'x'); log.debug('hidden'); log.warn('w'); log.error('e', {a: 1});
  log.setLevel('DEBUG'); log.debug('shown'); log.setLevel('nonsense'); log.debug('still'); log.setLevel('ERROR'); log.warn('gone'); log.error('last');
  console.log('plain', 1); console.error('to stderr'); process.stdout.write('part'); process.stdout.write('ial\n'); process.stdout.write(Buffer.from('bytes\n'));
  process.stdout.write('no newline');
  console.log(c);
  await new Promise((r) => process.stdout.write('cb\n', r));
  return 'ok';
}`
	f := startWorker(t, map[string]string{"index.js": source}).ready()
	inv := f.invocation()
	inv.Credentials = fncontext.NewCredentials(fncontext.Secrets{SecurityToken: "s3cr3t"})
	_, err := f.call(inv, "{}")
	require.NoError(t, err)
	f.logHas("cb\n")
	log := f.out.String()
	for _, want := range []string{
		inv.RequestID + " INFO i 1 x\n", inv.RequestID + " WARN w\n", inv.RequestID + " ERROR e { a: 1 }\n", " DEBUG shown\n", " DEBUG still\n", " ERROR last\n",
		"\nplain 1\n", "\nto stderr\n", "\npartial\n", "\nbytes\n", "no newline",
	} {
		require.Contains(t, log, want)
	}
	for _, no := range []string{"hidden", "gone", "s3cr3t"} {
		require.NotContains(t, log, no)
	}
	require.Contains(t, log, "[redacted]")
}

// TestNodeLinesNameTheirCallsWhenManyRun runs many calls at once: each line must name its own request, after awaits
// as well.
func TestNodeLinesNameTheirCallsWhenManyRun(t *testing.T) {
	source := `const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
exports.handler = async (e, c) => {
  for (let i = 0; i < 5; i++) { console.log('step', e.n, c.getRequestID()); await sleep(Math.random() * 5); }
  setImmediate(() => console.log('after', e.n, c.getRequestID()));
  return e.n;
}`
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node), withConcurrency(200)).ready()
			if version == "10" { // no AsyncLocalStorage
				require.Equal(t, 1, f.concurrency())
				return
			}
			f.linesNameTheirCalls(200, 6)
		})
	}
}

func TestNodeInitializerRunsOrFailsWithItsReason(t *testing.T) {
	handler := "exports.handler = async (e, c) => globalThis.ready || 'no';\n"
	good := map[string]string{
		"callback":            "exports.init = (c, cb) => { globalThis.ready = c.getFunctionName(); cb(null, 'x') }",
		"async":               "exports.init = async (c, cb) => { await null; globalThis.ready = c.getFunctionName() }",
		"async by two":        "exports.init = (c, cb) => Promise.resolve().then(() => { globalThis.ready = 'hello' })",
		"callback after time": "exports.init = (c, cb) => { setTimeout(() => { globalThis.ready = 'hello'; cb(null) }, 5) }",
	}
	for name, source := range good {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": handler + source}, withInitializer("index.init")).ready()
			require.NoError(t, f.initialize())
			r, err := f.invoke("{}")
			require.NoError(t, err)
			require.Equal(t, "hello", string(r.Body))
		})
	}
	bad := map[string]struct{ source, message, errorType string }{
		"callback(Error)":  {"exports.init = (c, cb) => cb(new RangeError('no db'))", "no db", "RangeError"},
		"throw":            {"exports.init = (c, cb) => { throw new TypeError('oops') }", "oops", "TypeError"},
		"rejection":        {"exports.init = async (c, cb) => { throw new TypeError('oops') }", "oops", "TypeError"},
		"one parameter":    {"exports.init = async (c) => {}", "initializer expect to have 2 parameters, but received 1", "FunctionConfigError"},
		"three parameters": {"exports.init = async (a, b, c) => {}", "initializer expect to have 2 parameters, but received 3", "FunctionConfigError"},
		"missing":          {"", "initializer 'init' not found in module './index.js'", "FunctionConfigError"},
	}
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": handler + c.source}, withInitializer("index.init")).ready()
			hookFailed(t, f.initialize(), 4009, "function initialization exception, error: "+c.message, c.errorType, name == "throw" || name == "rejection")
		})
	}
}

// TestNodeCallIsAnsweredAtItsDeadlineWithReason: the caller gets its answer at the deadline, with the reason;
// neighbours are not harmed.
func TestNodeCallIsAnsweredAtItsDeadlineWithReason(t *testing.T) {
	cases := map[string]struct{ handler, hint string }{
		"plain return":    {"(e, c) => 5", "can never answer"},
		"thenable":        {"(e, c, cb) => ({then(f) { f(1) }})", "no native Promise"},
		"ignored value":   {"(e, c, cb) => 5", "is ignored unless it is a Promise"},
		"never calls":     {"(e, c, cb) => {}", ""},
		"endless promise": {"(e, c) => new Promise(() => {})", ""},
		"endless loop":    {"(e, c) => { for (;;); }", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": "exports.handler = " + c.handler}).ready()
			f.timesOut(300*time.Millisecond, c.hint)
		})
	}
}

func TestNodeDeathEndsEveryCallWithItsReason(t *testing.T) {
	source := `exports.handler = async (e, c) => {
  console.log('before the end');
  if (e.how === 'exit') process.exit(7);
  if (e.how === 'abort') process.abort();
  if (e.how === 'uncaught') setTimeout(() => { throw new Error('nobody catches this') }, 1);
  if (e.how === 'late') { setTimeout(() => { Promise.reject(new Error('after the answer')) }, 1); return 'fine'; }
  await new Promise(() => {});
}`
	cases := map[string]struct{ message, stderr string }{
		"exit": {"exit code 7", ""}, "abort": {"signal 6", ""}, "uncaught": {"exit code 1", "nobody catches this"},
	}
	for how, c := range cases {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": source}, withConcurrency(64)).ready()
			f.dies(64, how, c.message, c.stderr)
		})
	}
	t.Run("unhandled rejection after the answer", func(t *testing.T) {
		t.Parallel()
		f := startWorker(t, map[string]string{"index.js": source}).ready()
		r, err := f.invoke(`{"how":"late"}`)
		require.NoError(t, err)
		require.Equal(t, "fine", string(r.Body))
		<-f.Gone()
		require.Contains(t, strings.Join(f.Death().Stderr, "\n"), "after the answer")
	})
}

// TestNodeSecretsStayOutOfTheEnvironment: the handler tries to find the credentials of other calls where processes
// leave them.
func TestNodeSecretsStayOutOfTheEnvironment(t *testing.T) {
	source := `const fs = require('fs');
exports.handler = async (e, c) => [JSON.stringify(process.env), JSON.stringify(process.argv), JSON.stringify(process.execArgv),
  fs.readFileSync('/proc/self/environ', 'utf8'), fs.readFileSync('/proc/self/cmdline', 'utf8')].join(' ')`
	f := startWorker(t, map[string]string{"index.js": source}).ready()
	f.secretsStay()
}

func TestNodeStopRunsTheUsersHandler(t *testing.T) {
	source := `process.on('SIGTERM', () => { console.log('cleaning up'); setTimeout(() => { console.log('clean'); process.exit(0) }, 20) });
exports.handler = async (e, c) => 'ok'`
	f := startWorker(t, map[string]string{"index.js": source}).ready()
	_, err := f.invoke("{}")
	require.NoError(t, err)
	f.Stop(time.Now().Add(20 * time.Second))
	f.logHas("cleaning up")
	f.logHas("clean\n")
	require.Contains(t, f.Death().Message, "exit code 0")
}

// TestNodePreStopHookRunsInEveryForm: hooks of every form, after calls and without any, in each Node.js.
func TestNodePreStopHookRunsInEveryForm(t *testing.T) {
	t.Parallel()
	handler := "exports.handler = async (e, c) => { exports.calls = (exports.calls || 0) + 1; return exports.calls };\nconst said = (c) => c.getLogger().info('hook of %s, %d calls, %s, %s', c.getAlias(), exports.calls || 0, c.getToken().length, c.getRemainingTimeInMilliSeconds() > 0);\n"
	good := map[string]string{
		"callback":        "exports.stop = (c, cb) => { said(c); cb(null, 'x') }",
		"late callback":   "exports.stop = (c, cb) => { setTimeout(() => { said(c); cb(null) }, 5) }",
		"async":           "exports.stop = async (c) => { await new Promise((r) => setTimeout(r, 5)); said(c); return 'x' }",
		"async by two":    "exports.stop = async (c, cb) => { await null; said(c) }",
		"plain":           "exports.stop = (c) => { said(c); return 5 }",
		"promise":         "exports.stop = (c) => Promise.resolve().then(() => said(c))",
		"changed by init": "exports.init = (c, cb) => { exports.stop = said; cb(null) }",
	}
	bad := map[string]struct{ source, message, errorType string }{
		"callback(Error)": {"exports.stop = (c, cb) => cb(new RangeError('no db'))", "no db", "RangeError"},
		"throw":           {"exports.stop = (c) => { throw new TypeError('oops') }", "oops", "TypeError"},
		"rejection":       {"exports.stop = async (c) => { throw new TypeError('oops') }", "oops", "TypeError"},
		"parameters":      {"exports.stop = (a, b, c) => {}", "prestop handler expect to have 1 or 2 parameters, but received 3", "FunctionConfigError"},
		"missing":         {"", "prestop handler 'stop' not found in module './index.js'", "FunctionConfigError"},
	}
	for version, node := range nodes(t) {
		for name, source := range good {
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				f := startWorker(t, map[string]string{"index.js": handler + source}, withNode(node), withPreStop("index.stop"), withInitializer("index.init")).ready()
				calls := "0"
				if name == "changed by init" {
					require.NoError(t, f.initialize())
				} else {
					_, err := f.invoke("{}")
					require.NoError(t, err)
					calls = "1"
				}
				id, err := f.preStop()
				require.NoError(t, err)
				f.logHas(id + " INFO hook of prod, " + calls + " calls, 6, true\n")
			})
		}
		for name, c := range bad {
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				f := startWorker(t, map[string]string{"index.js": handler + c.source}, withNode(node), withPreStop("index.stop")).ready()
				id, err := f.preStop()
				hookFailed(t, err, 4001, "function prestop exception, error: "+c.message, c.errorType, name == "throw" || name == "rejection")
				f.logHas(id + " ERROR ")
				_, err = f.preStop()
				hookFailed(t, err, 4001, "function prestop exception, error: "+c.message, c.errorType, name == "throw" || name == "rejection")
			})
		}
	}
}

// TestNodePreStopHookLeftOutGetsNoTime: a worker whose hook is left out does not get the hook's time.
func TestNodePreStopHookLeftOutGetsNoTime(t *testing.T) {
	t.Parallel()
	source := "process.on('SIGTERM', () => {});\nexports.handler = (e, c) => {};\nexports.stop = async (c) => {};"
	f := startWorker(t, map[string]string{"index.js": source}, withPreStop("index.stop"), func(c *Config) { c.Function.PreStopTimeout = 10 * time.Minute }).ready()
	f.timesOut(300*time.Millisecond, "")
	f.Retire()
	select {
	case <-f.Gone():
	case <-time.After(time.Minute):
		t.Fatal("the worker is still there")
	}
}

// TestNodePreStopHookRunsBeforeTheTermHandler: the hook runs first, then the user's own handler of TERM.
func TestNodePreStopHookRunsBeforeTheTermHandler(t *testing.T) {
	t.Parallel()
	source := `exports.handler = async (e, c) => 'ok';
exports.stop = async (c) => { await new Promise((r) => setTimeout(r, 20)); console.log('hook') };
process.on('SIGTERM', () => { console.log('term'); process.exit(0) });`
	f := startWorker(t, map[string]string{"index.js": source}, withPreStop("index.stop")).ready()
	_, err := f.invoke("{}")
	require.NoError(t, err)
	f.Stop(time.Now().Add(30 * time.Second))
	f.logHas("hook\nterm\n")
	require.Contains(t, f.Death().Message, "exit code 0")
}

// TestUnansweredNodeCallGetsAHint: a handler that never calls its callback gets a hint, and so does one that waits
// too long.
func TestUnansweredNodeCallGetsAHint(t *testing.T) {
	for _, source := range []string{"exports.handler = (e, c, cb) => {}", "exports.handler = async (e, c) => new Promise(() => {})"} {
		f := startWorker(t, map[string]string{"index.js": source}).ready()
		inv := f.invocation()
		inv.Deadline = time.Now().Add(50 * time.Millisecond)
		_, err := f.Invoke(context.Background(), inv, []byte("{}"), logger.NewRequest(f.sink, inv.RequestID, false, false))
		var late *fault.Error
		require.ErrorAs(t, err, &late)
		require.Equal(t, fault.Timeout, late.Kind)
		require.Contains(t, late.Hint, "neither settled its Promise nor called its callback")
	}
}

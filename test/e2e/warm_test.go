package e2e

import (
	"bytes"
	"encoding/json"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// traced is a function of several files. It answers with stacks of every kind, and with what a module knows of itself.
var traced = map[string]string{
	"index.js": `#!/usr/bin/env node
'use strict'; const first = new Error('first line'); function fail() { throw new Error('fail'); }
const dep = require('dep'), data = require('./lib/data.json');
const stackOf = (fn) => { try { return fn(); } catch (e) { return e.stack; } };
const load = [stackOf(() => require('./lib/throws')), stackOf(() => require('./lib/syntax')), stackOf(() => require('./lib/early'))];
exports.handler = async (event, context) => ({
  load, data, first: first.stack, fail: stackOf(fail), dep: stackOf(dep.fail), missing: stackOf(() => require('./lib/missing')),
  strict: (function () { return this === undefined; })(), sloppy: dep.sloppy(), lazy: require('./lib/lazy').stack(),
  imported: (await require('./lib/imports')()).default, text: fail.toString(), changed: require('./lib/changed'),
  module: [module.id, module.filename, module.paths, module.children.map((m) => m.id), module.parent.filename, module.loaded,
    Object.getOwnPropertyNames(module), require.main && require.main.filename, Object.keys(require), Object.keys(require.cache).sort(),
    require.resolve('dep'), __filename, __dirname, arguments.length],
});
`,
	"lib/data.json":  `{"a":1}`,
	"lib/throws.js":  "exports.x = 1;\nfunction inner() {\n  throw new TypeError('at load');\n}\ninner();\n",
	"lib/syntax.js":  "exports.x = 1;\nlet y = ;\n",
	"lib/early.js":   "exports.x = 1;\n}); (function () {\n",
	"lib/lazy.js":    "exports.stack = () => new Error('lazy').stack;\n",
	"lib/imports.js": "module.exports = () => import('./esm.mjs');\n",
	"lib/esm.mjs":    "export default 42;\n",
	"lib/changed.js": "module.exports = 1;\n",
	"node_modules/dep/index.js": `exports.fail = function fail() { return [1].map(() => { throw new RangeError('dep'); }); };
exports.sloppy = () => (function () { return this === globalThis; })();
`,
}

// warmed returns the folder of a function with its code cache, which one event has warmed.
func warmed(t *testing.T, files map[string]string, env ...string) string {
	t.Helper()
	dir := writeFiles(t, files)
	got := runCommand(t, dir, []string{"warm", "--event", "{}"}, env...)
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, filepath.Join(dir, ".gantry/code-cache")+"\n")
	return dir
}

// answered is the answer of a function, and the log, with the code cache and without.
func answered(t *testing.T, dir string, env ...string) (with, without ran) {
	t.Helper()
	with = runInvoke(t, dir, nil, env...)
	without = runInvoke(t, dir, []string{"--code-cache", "off"}, env...)
	require.Equal(t, 0, without.code, without.stderr)
	require.NotContains(t, without.stderr, "code cache")
	return with, without
}

// nodes are the folders of all Node.js that there are and that can have a cache; empty for the one in PATH.
func nodes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"path": os.Getenv("PATH")}
	for _, version := range []string{"14", "18", "22", "24"} {
		dir, err := filepath.Abs("../../.cache/node/" + version + "/node_modules/node/bin")
		require.NoError(t, err)
		if _, err := os.Stat(dir); err == nil {
			found[version] = dir + ":" + os.Getenv("PATH")
		}
	}
	return found
}

// TestWarmFunctionAnswersAsBefore: the same results, stacks and errors, out of the cache and without it.
func TestWarmFunctionAnswersAsBefore(t *testing.T) {
	t.Parallel()
	for version, path := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			dir := warmed(t, traced, "PATH="+path)
			with, without := answered(t, dir, "PATH="+path)
			require.JSONEq(t, without.stdout, with.stdout)
			require.Contains(t, without.stdout, "SyntaxError")
			require.Contains(t, with.stderr, `INFO code cache {"hits": 3, "misses": 0`)
			require.NotContains(t, with.stderr, "Warning")
		})
	}
}

// TestWarmFunctionMoves: the cache is one of contents, not of places; where stacks would have the old one it is not used.
func TestWarmFunctionMoves(t *testing.T) {
	t.Parallel()
	for version, path := range nodes(t) {
		dir := warmed(t, traced, "PATH="+path)
		moved := filepath.Join(t.TempDir(), "moved")
		require.NoError(t, os.Rename(dir, moved))
		with, without := answered(t, moved, "PATH="+path)
		require.JSONEq(t, without.stdout, with.stdout, version)
		switch version {
		case "22", "24":
			require.Contains(t, with.stderr, `INFO code cache {"hits": 3, "misses": 0`)
		case "14", "18":
			require.Contains(t, with.stderr, "the code cache is not used: it was made of the code in "+dir)
		}
	}
}

// TestChangedFileIsCompiledAnew: whatever its size and time say.
func TestChangedFileIsCompiledAnew(t *testing.T) {
	t.Parallel()
	dir := warmed(t, traced)
	for name, text := range map[string]string{"same length": "module.exports = 2;\n", "longer": "module.exports = 222;\n", "broken": "module.exports = ;2\n"} {
		file := filepath.Join(dir, "lib/changed.js")
		before, err := os.Stat(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		require.NoError(t, os.Chtimes(file, before.ModTime(), before.ModTime()))
		with := runInvoke(t, dir, nil)
		if name == "broken" {
			require.Equal(t, 1, with.code)
			require.Contains(t, with.stdout, "Unexpected token ';'")
			continue
		}
		require.Equal(t, 0, with.code, with.stderr)
		var result struct{ Changed int }
		require.NoError(t, json.Unmarshal([]byte(with.stdout), &result))
		require.Equal(t, map[string]int{"same length": 2, "longer": 222}[name], result.Changed, name)
	}
}

// TestCodeCacheThatCannotBeTrustedIsIgnored: with one line that says why.
func TestCodeCacheThatCannotBeTrustedIsIgnored(t *testing.T) {
	t.Parallel()
	dir := warmed(t, traced)
	file := filepath.Join(dir, ".gantry/code-cache")
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	write := func(text []byte) { require.NoError(t, os.WriteFile(file, text, 0o644)) }
	cases := map[string]struct {
		spoil func()
		want  string
	}{
		"others may write it":  {func() { require.NoError(t, os.Chmod(file, 0o666)) }, "users other than its owner may write it (mode 0666), want mode 0644"},
		"another V8":           {func() { write(bytes.Replace(good, []byte(`"v8":"1`), []byte(`"v8":"0`), 1)) }, "it was made by Node.js"},
		"another architecture": {func() { write(bytes.Replace(good, []byte(`"arch":"`), []byte(`"arcx":"`), 1)) }, "it was made by Node.js"},
		"cut off":              {func() { write(good[:len(good)-1]) }, "it is not complete; run bootstrap warm again"},
		"empty":                {func() { write(nil) }, "it is no code cache of this version"},
		"another file":         {func() { write(bytes.Repeat([]byte("x"), 1000)) }, "it is no code cache of this version"},
		"a folder": {func() {
			require.NoError(t, os.Remove(file))
			require.NoError(t, os.Mkdir(file, 0o755))
		}, "it is no regular file"},
	}
	if os.Geteuid() == 0 {
		c := cases["empty"]
		c.spoil = func() { require.NoError(t, os.Chown(file, 12345, 12345)) }
		c.want = "user 12345 owns it, want root or user 0, the agent's"
		cases["another owner"] = c
	}
	for name, c := range cases {
		require.NoError(t, os.RemoveAll(file))
		write(good)
		require.NoError(t, os.Chmod(file, 0o644))
		c.spoil()
		with, without := answered(t, dir)
		require.JSONEq(t, without.stdout, with.stdout, name)
		require.Equal(t, 1, strings.Count(with.stderr, "code cache"+" is not used: "), "%s: %s", name, with.stderr)
		require.Contains(t, with.stderr, "the code cache is not used: "+c.want, name)
	}
}

// TestCodeCacheOfOtherOptionsIsRejected: the tag of V8 stands for its options too.
func TestCodeCacheOfOtherOptionsIsRejected(t *testing.T) {
	t.Parallel()
	dir := warmed(t, traced)
	with := runInvoke(t, dir, nil, "NODE_OPTIONS=--stack-trace-limit=10 --disallow-code-generation-from-strings")
	require.Equal(t, 0, with.code, with.stderr)
	with = runInvoke(t, dir, nil, "NODE_OPTIONS=--jitless")
	require.Equal(t, 0, with.code, with.stderr)
	require.Contains(t, with.stderr, "the code cache is not used: it was made by Node.js")
}

// TestPreloadsWorkWithACodeCache: one that compiles files itself goes on doing so, and one that does not keeps the cache.
func TestPreloadsWorkWithACodeCache(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"index.js":   "exports.handler = async (event, context) => [global.preloaded, 'before'];\n",
		"plain.js":   "global.preloaded = true;\n",
		"patches.js": "const M = require('module'), o = M.prototype._compile; M.prototype._compile = function (c, f) { return o.call(this, c.replace('before', 'after'), f); };\n",
		"extends.js": "const M = require('module'), o = M._extensions['.js']; M._extensions['.js'] = function (m, f) { const c = m._compile; m._compile = function (t, f) { m._compile = c; m._compile(t.replace('before', 'after'), f); }; o(m, f); };\n",
	}
	dir := warmed(t, files)
	for name, c := range map[string]struct{ result, line string }{
		"plain":   {`[true,"before"]`, `INFO code cache {"hits": 1, "misses": 0`},
		"patches": {`[null,"after"]`, "the code cache is not used: a module that is loaded before the function compiles files itself"},
		"extends": {`[null,"after"]`, `INFO code cache {"hits": 0, "misses": 1`},
	} {
		with, without := answered(t, dir, "NODE_OPTIONS=--require "+filepath.Join(dir, name+".js"))
		require.Equal(t, c.result, without.stdout, name)
		require.Equal(t, c.result, with.stdout, name)
		require.Contains(t, with.stderr, c.line, name)
	}
	with, _ := answered(t, dir, "NODE_OPTIONS=--enable-source-maps")
	require.Contains(t, with.stderr, "the code cache is not used: Node.js runs with --enable-source-maps")
}

// TestWarmWritesNothingUnlessAllSucceeds: an older cache stays.
func TestWarmWritesNothingUnlessAllSucceeds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		args  []string
		code  int
		want  string
	}{
		"event":         {map[string]string{"index.js": "exports.handler = async (event, context) => { throw new Error('no'); };"}, []string{"--event", "{}"}, 1, "event 1 failed, and no code cache is written"},
		"load":          {map[string]string{"index.js": "throw new Error('no');"}, nil, 4, "the function cannot be started"},
		"exit":          {map[string]string{"index.js": "exports.handler = (event, context, callback) => { callback(null, 1); process.exit(0); };"}, []string{"--event", "{}"}, 1, "ended"},
		"ES module":     {map[string]string{"index.mjs": "export const handler = async (event, context) => 1;"}, nil, 2, "the function has no CommonJS file"},
		"custom":        {map[string]string{"bootstrap": "#!/bin/sh\nexit 1\n"}, nil, 2, "only those in Node.js, Python and Java have a code cache"},
		"off":           {map[string]string{"index.js": okFunction}, []string{"--code-cache", "off"}, 2, "GANTRY_CODE_CACHE is off"},
		"no JSON":       {map[string]string{"index.js": okFunction}, []string{"--event", "{"}, 2, "no JSON"},
		"argument":      {map[string]string{"index.js": okFunction}, []string{"x"}, 2, "x"},
		"a file before": {map[string]string{"index.js": okFunction, ".gantry": ""}, nil, 2, "the folder of the code cache cannot be made"},
	} {
		dir := writeFiles(t, c.files)
		got := runCommand(t, dir, append([]string{"warm"}, c.args...))
		require.Equal(t, c.code, got.code, "%s: %s", name, got.stderr)
		require.Contains(t, got.stderr, c.want, name)
		require.Empty(t, got.stdout, name)
		left, err := filepath.Glob(filepath.Join(dir, ".gantry/*"))
		require.NoError(t, err)
		hidden, err := filepath.Glob(filepath.Join(dir, ".gantry/.*"))
		require.NoError(t, err)
		require.Empty(t, append(left, hidden...), name)
	}
}

// TestCodeCacheIsCounted: in /metrics, for each load; and read from another file where a setting names one.
func TestCodeCacheIsCounted(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, traced)
	file := filepath.Join(t.TempDir(), "cache")
	got := runCommand(t, dir, []string{"warm"}, "GANTRY_CODE_CACHE="+file)
	require.Equal(t, 0, got.code, got.stderr)
	require.NoDirExists(t, filepath.Join(dir, ".gantry"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "node_modules/dep/index.js"), []byte(traced["node_modules/dep/index.js"]+"// more"), 0o644))
	r := start(t, dir, "GANTRY_CODE_CACHE="+file)
	r.waitMetric(`gantry_code_cache_files_total{result="hit"}`, "2")
	r.waitMetric(`gantry_code_cache_files_total{result="miss"}`, "1")
}

// TestSparesUseTheCodeCache: an interpreter that was started in advance loads with it as well.
func TestSparesUseTheCodeCache(t *testing.T) {
	t.Parallel()
	dir := warmed(t, traced)
	r := start(t, dir, "GANTRY_SPARE=1")
	r.waitMetric("gantry_spare_interpreters", "1")
	r.waitMetric(`gantry_code_cache_files_total{result="hit"}`, "3")
	require.NoError(t, exec.Command("kill", "-9", r.worker()).Run())
	r.waitMetric(`gantry_code_cache_files_total{result="hit"}`, "6")
	harness.Eventually(t, func() bool { return r.try("{}").status == 200 }, "an answer")
}

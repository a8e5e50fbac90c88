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

// tracedPython is a function of several modules. It answers with tracebacks of every kind, and with what a module knows
// of itself.
var tracedPython = map[string]string{
	"index.py": `import importlib, inspect, sys, traceback
import changed, dep, space.inner
def stack_of(do, *arguments):
    try:
        return do(*arguments)
    except BaseException as e:
        return traceback.format_exc(), repr(e), repr(e.__context__), repr(e.__cause__)
def fail():
    raise ValueError("fail")
def plain(name):
    exec("import " + name)
broken = [stack_of(how, name) for how in (plain, importlib.import_module) for name in ("throws", "syntax", "null", "coded", "missing")]
def handler(event, context):
    import lazy
    me = sys.modules[__name__]
    return {
        "broken": broken, "fail": stack_of(fail), "dep": stack_of(dep.fail), "lazy": stack_of(lazy.fail), "changed": changed.value,
        "source": inspect.getsource(fail) + inspect.getsource(dep), "file": fail.__code__.co_filename,
        "modules": [[m.__name__, m.__file__, m.__cached__, m.__spec__.cached, m.__spec__.origin, type(m.__loader__).__qualname__, sorted(vars(m.__loader__)),
                     sorted(vars(m))] for m in (me, dep, lazy, changed, space.inner)],
        "loader": [inspect.getsourcefile(dep), dep.__loader__.get_source("dep"), dep.__loader__.get_code("dep").co_filename, dep.__loader__.is_package("dep"),
                   dep.__loader__.get_data(dep.__file__).decode(), stack_of(dep.__loader__.get_data, dep.__cached__)[1]],
        "reloaded": importlib.reload(dep).__file__, "frames": dep.frames, "path": sys.path, "meta": [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path],
        "hook": [f.__qualname__ + f.__module__ for f in (type(dep.__loader__).path_stats, type(dep.__loader__).get_data)], "optimized": not __debug__,
    }
`,
	"changed.py":     "value = 1\n",
	"lazy.py":        "def fail():\n    return [1 / n for n in (1, 0)]\n",
	"throws.py":      "def inner():\n    raise TypeError('at load')\ninner()\n",
	"syntax.py":      "x = 1\ny = = 2\n",
	"null.py":        "x = 1\n\x00\n",
	"coded.py":       "# coding: no-such-coding\nx = 1\n",
	"space/inner.py": "import dep\n",
	"dep/__init__.py": `import traceback
frames = [f.filename + ":" + str(f.lineno) + ":" + f.name for f in traceback.extract_stack()]
def fail():
    def inner():
        raise KeyError("dep")
    inner()
`,
}

// pythons are the folders of all Python that there are, as a PATH; the one in PATH has the name path.
func pythons(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"path": os.Getenv("PATH")}
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	others, err := filepath.Glob(home + "/.pyenv/versions/3.*/bin")
	require.NoError(t, err)
	for _, dir := range others {
		version := filepath.Base(filepath.Dir(dir))
		if !strings.HasPrefix(version, "3.6.") && !strings.HasPrefix(version, "3.7.") { // older than the worker
			found[version] = dir + ":" + os.Getenv("PATH")
		}
	}
	return found
}

// TestWarmPythonFunctionAnswersAsBefore: the same results, tracebacks and errors, out of the cache and without it, where
// the code was warmed and where it lies later.
func TestWarmPythonFunctionAnswersAsBefore(t *testing.T) {
	t.Parallel()
	for version, path := range pythons(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			dir := warmed(t, tracedPython, "PATH="+path)
			moved, link := filepath.Join(t.TempDir(), "moved"), filepath.Join(t.TempDir(), "link")
			for _, place := range []string{dir, moved, link} {
				with, without := answered(t, place, "PATH="+path)
				require.Equal(t, 0, with.code, with.stderr)
				require.Equal(t, without.stdout, with.stdout)
				require.Contains(t, without.stdout, "SyntaxError")
				require.Contains(t, with.stderr, `INFO code cache {"hits": 5, "misses": 3`) // misses: what does not compile
				if place == dir {
					require.NoError(t, os.Rename(dir, moved))
					require.NoError(t, os.Symlink(moved, link))
				}
			}
			stale, err := filepath.Glob(filepath.Join(moved, "__pycache__"))
			require.NoError(t, err)
			require.Empty(t, stale)
		})
	}
}

// TestChangedModuleIsCompiledAnew: whatever its size and time say.
func TestChangedModuleIsCompiledAnew(t *testing.T) {
	t.Parallel()
	dir := warmed(t, tracedPython)
	file := filepath.Join(dir, "changed.py")
	before, err := os.Stat(file)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		text string
		want int
	}{"same length": {"value = 2\n", 2}, "longer": {"value = 222\n", 222}, "broken": {"value = = 2", 0}} {
		require.NoError(t, os.WriteFile(file, []byte(c.text), 0o644))
		require.NoError(t, os.Chtimes(file, before.ModTime(), before.ModTime()))
		with := runInvoke(t, dir, nil)
		if c.want == 0 {
			require.Equal(t, 1, with.code)
			require.Contains(t, with.stdout, "invalid syntax")
			continue
		}
		require.Equal(t, 0, with.code, with.stderr)
		var result struct{ Changed int }
		require.NoError(t, json.Unmarshal([]byte(with.stdout), &result))
		require.Equal(t, c.want, result.Changed, name)
		require.Contains(t, with.stderr, `INFO code cache {"hits": 4, "misses": 4`, name)
	}
}

// TestByteCodeCacheThatCannotBeTrustedIsIgnored: with one line that says why.
func TestByteCodeCacheThatCannotBeTrustedIsIgnored(t *testing.T) {
	t.Parallel()
	dir := warmed(t, tracedPython)
	file := filepath.Join(dir, ".gantry/code-cache")
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	write := func(text []byte) { require.NoError(t, os.WriteFile(file, text, 0o644)) }
	cases := map[string]struct {
		spoil func()
		want  string
	}{
		"others may write it": {func() { require.NoError(t, os.Chmod(file, 0o622)) }, "users other than its owner may write it (mode 0622), want mode 0644"},
		"another Python":      {func() { write(bytes.Replace(good, []byte(" cpython-"), []byte(" cpythom-"), 1)) }, "it was made by Python 3."},
		"cut off":             {func() { write(good[:len(good)-1]) }, "it is not complete; run bootstrap warm again"},
		"cut off early":       {func() { write(good[:40]) }, "it is not complete; run bootstrap warm again"},
		"no index":            {func() { write(append(bytes.Clone(good[:16]), make([]byte, len(good))...)) }, "it is not complete; run bootstrap warm again"},
		"empty":               {func() { write(nil) }, "it is no code cache of this version for Python"},
		"one of Node.js":      {func() { write(bytes.Replace(good, []byte("GANTRYP1"), []byte("GANTRYC1"), 1)) }, "it is no code cache of this version for Python"},
	}
	if os.Geteuid() == 0 {
		c := cases["empty"]
		c.spoil = func() { require.NoError(t, os.Chown(file, 12345, 12345)) }
		c.want = "user 12345 owns it, want root or user 0, the agent's"
		cases["another owner"] = c
	}
	for name, c := range cases {
		require.NoError(t, os.Remove(file))
		write(good)
		require.NoError(t, os.Chmod(file, 0o644))
		c.spoil()
		with, without := answered(t, dir)
		require.Equal(t, without.stdout, with.stdout, name)
		require.Equal(t, 1, strings.Count(with.stderr, "code cache"+" is not used: "), "%s: %s", name, with.stderr)
		require.Contains(t, with.stderr, "the code cache is not used: "+c.want, name)
	}
}

// TestByteCodeOfAnotherPythonIsIgnored: that of another version, and that of other options.
func TestByteCodeOfAnotherPythonIsIgnored(t *testing.T) {
	t.Parallel()
	dir := warmed(t, tracedPython)
	with := runInvoke(t, dir, nil, "PYTHONOPTIMIZE=1")
	require.Contains(t, with.stderr, "the code cache is not used: it was made by Python 3.")
	require.Contains(t, with.stderr, " -O; run bootstrap warm with this one, and with the same options")
	require.Contains(t, with.stdout, `"optimized": true`)
	all := pythons(t)
	for version, path := range all {
		with, without := answered(t, dir, "PATH="+path)
		require.Equal(t, without.stdout, with.stdout, version)
		used := strings.Contains(with.stderr, `INFO code cache {"hits": 5`)
		require.Equal(t, !used, strings.Contains(with.stderr, "the code cache is not used: it was made by Python 3."), with.stderr)
		if version == "path" {
			require.True(t, used, with.stderr)
		}
	}
}

// TestByteCodeInPycacheComesFirst: while it is valid, and warm says so; the cache serves when it is stale.
func TestByteCodeInPycacheComesFirst(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.py": "import dep\ndef handler(event, context):\n    return dep.value\n", "dep.py": "value = 1\n"})
	compiled, err := exec.Command("python3", "-m", "compileall", "-q", dir).CombinedOutput()
	require.NoError(t, err, string(compiled))
	got := runCommand(t, dir, []string{"warm"})
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, "code cache of 2 files")
	require.Contains(t, got.stdout, "in __pycache__ as well: 2 of them")
	with, _ := answered(t, dir)
	require.Contains(t, with.stderr, `INFO code cache {"hits": 0, "misses": 0`)
	info, err := os.Stat(filepath.Join(dir, "dep.py"))
	require.NoError(t, err)
	later := info.ModTime().AddDate(0, 0, 1)
	require.NoError(t, os.Chtimes(filepath.Join(dir, "dep.py"), later, later))
	with, _ = answered(t, dir)
	require.Contains(t, with.stderr, `INFO code cache {"hits": 1, "misses": 0`)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "__pycache__")))
	with, without := answered(t, dir)
	require.Contains(t, with.stderr, `INFO code cache {"hits": 2, "misses": 0`)
	require.Equal(t, without.stdout, with.stdout)
}

// TestImportHooksWorkWithAByteCodeCache: loaders of others that compile in their own way go on doing so.
func TestImportHooksWorkWithAByteCodeCache(t *testing.T) {
	t.Parallel()
	hook := `import sys
from importlib.machinery import FileFinder, SourceFileLoader
if %s:
    class Loader(SourceFileLoader):
        def source_to_code(self, data, path, *rest, **more):
            return SourceFileLoader.source_to_code(self, data.replace(b"before", b"after"), path, *rest, **more)
    sys.path_hooks.insert(0, FileFinder.path_hook((Loader, [".py"])))
    sys.path_importer_cache.clear()
else:
    original = SourceFileLoader.source_to_code
    SourceFileLoader.source_to_code = lambda self, data, path, *rest, **more: original(self, data.replace(b"before", b"after"), path, *rest, **more)
import dep
def handler(event, context):
    return dep.value
`
	for _, kind := range []string{"True", "False"} {
		dir := writeFiles(t, map[string]string{"index.py": "import dep\ndef handler(event, context): return dep.value\n", "dep.py": "value = 'before'\n"})
		got := runCommand(t, dir, []string{"warm"})
		require.Equal(t, 0, got.code, got.stderr)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "index.py"), []byte(strings.Replace(hook, "%s", kind, 1)), 0o644))
		with, without := answered(t, dir)
		require.Equal(t, "after", without.stdout)
		require.Equal(t, "after", with.stdout, kind)
	}
}

// TestHooksThatComeBeforeTheFunctionKeepTheByteCodeCacheOut: in sitecustomize, for example.
func TestHooksThatComeBeforeTheFunctionKeepTheByteCodeCacheOut(t *testing.T) {
	t.Parallel()
	dir := warmed(t, map[string]string{"index.py": "def handler(event, context):\n    return 'before'\n"})
	hook := writeFiles(t, map[string]string{"sitecustomize.py": `from importlib.machinery import SourceFileLoader
original = SourceFileLoader.source_to_code
SourceFileLoader.source_to_code = lambda self, data, path, *rest, **more: original(self, data.replace(b"before", b"after"), path, *rest, **more)
`})
	with, without := answered(t, dir, "PYTHONPATH="+hook)
	require.Equal(t, "after", without.stdout)
	require.Equal(t, "after", with.stdout)
	require.Contains(t, with.stderr, "the code cache is not used: a module that is loaded before the function loads or compiles files itself")
	got := runCommand(t, dir, []string{"warm"}, "PYTHONPATH="+hook)
	require.Equal(t, 1, got.code, got.stderr)
	require.Contains(t, got.stderr, "no code cache can be written: a module that is loaded before the function")
}

// TestFunctionMayCloseTheDescriptorOfTheCache: what it opens in its place is not taken for the cache.
func TestFunctionMayCloseTheDescriptorOfTheCache(t *testing.T) {
	t.Parallel()
	const index = `import os
for fd in (6, 7):
    try:
        os.close(fd)
    except OSError:
        pass
opened = [os.open(__file__, os.O_RDONLY) for _ in range(3)]
import dep
os.close(opened[2])
import other
def handler(event, context):
    return [dep.value, other.value, opened]
`
	files := map[string]string{"index.py": "import dep, other\ndef handler(event, context): return 1\n", "dep.py": "value = 1\n", "other.py": "value = 2\n"}
	dir := warmed(t, files)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.py"), []byte(index), 0o644))
	with, without := answered(t, dir)
	require.Equal(t, "[1, 2, [5, 6, 7]]", with.stdout)
	require.Equal(t, without.stdout, with.stdout)
	require.Contains(t, with.stderr, `INFO code cache {"hits": 0, "misses": 3`)
	got := runCommand(t, dir, []string{"warm"})
	require.Equal(t, 1, got.code, got.stderr)
	require.Contains(t, got.stderr, "no code cache can be written: the function has closed the descriptor of the cache")
	kept, err := os.ReadFile(filepath.Join(dir, "index.py"))
	require.NoError(t, err)
	require.Equal(t, index, string(kept))
}

// TestInterpreterWithoutByteCodeUsesTheCache: what the interpreter's library lacks is in the cache as well.
func TestInterpreterWithoutByteCodeUsesTheCache(t *testing.T) {
	t.Parallel()
	const lacking = "PYTHONPYCACHEPREFIX=/dev/null/none" // no byte code is found, and none can be written
	dir := warmed(t, map[string]string{"index.py": "import json, tarfile\ndef handler(event, context):\n    return 1\n"}, lacking)
	r := start(t, dir, lacking)
	harness.Eventually(t, func() bool { return strings.Contains(r.stderr.String(), "INFO code cache") }, "the line of the code cache")
	_, line, _ := strings.Cut(r.stderr.String(), "INFO code cache ")
	var figures struct{ Hits, Misses int }
	require.NoError(t, json.NewDecoder(strings.NewReader(line)).Decode(&figures))
	require.Greater(t, figures.Hits, 1, "index.py, and tarfile.py of the library")
	require.Zero(t, figures.Misses)
}

// TestByteCodeCacheIsCounted: in /metrics, for each load, those of interpreters that were started in advance as well;
// and read from another file where a setting names one.
func TestByteCodeCacheIsCounted(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, tracedPython)
	file := filepath.Join(t.TempDir(), "cache")
	got := runCommand(t, dir, []string{"warm"}, "GANTRY_CODE_CACHE="+file)
	require.Equal(t, 0, got.code, got.stderr)
	require.NoDirExists(t, filepath.Join(dir, ".gantry"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "changed.py"), []byte("value = 3\n"), 0o644))
	r := start(t, dir, "GANTRY_CODE_CACHE="+file, "GANTRY_SPARE=1")
	r.waitMetric("gantry_spare_interpreters", "1")
	r.waitMetric(`gantry_code_cache_files_total{result="hit"}`, "4")
	r.waitMetric(`gantry_code_cache_files_total{result="miss"}`, "4")
	require.NoError(t, exec.Command("kill", "-9", r.worker()).Run())
	r.waitMetric(`gantry_code_cache_files_total{result="hit"}`, "8")
	harness.Eventually(t, func() bool { return r.try("{}").status == 200 }, "an answer")
}

package runtime

import (
	"context"
	"encoding/json"
	"gantry/fault"
	"gantry/logger"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// pythonInPath is the interpreter behind the python3 in PATH, which may be a script that looks for it at every start.
var pythonInPath = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	return strings.TrimSpace(string(out)), err
})

// pythons returns the interpreters to test with: the one in PATH, and those of pyenv.
func pythons(t *testing.T) map[string]string {
	t.Helper()
	path, err := pythonInPath()
	require.NoError(t, err, "the tests need Python")
	found := map[string]string{"path": path}
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	others, err := filepath.Glob(home + "/.pyenv/versions/3.*/bin/python3")
	require.NoError(t, err)
	for _, other := range others {
		name := filepath.Base(filepath.Dir(filepath.Dir(other)))
		if v, ok := parseVersion(name); ok && !v.before(Version{3, 8}) && other != path {
			found[name] = other
		}
	}
	return found
}

func withPython(program string) option {
	return func(c *Config) {
		lang, err := LanguageByName("python")
		if err != nil {
			panic(err)
		}
		c.Language, c.Program = lang, program
	}
}

func withConcurrency(n int) option { return func(c *Config) { c.Concurrency = n } }

func withEnv(env ...string) option { return func(c *Config) { c.Env = append(c.Env, env...) } }

// startPython is startWorker with the Python in PATH, unless an option says otherwise.
func startPython(t *testing.T, files map[string]string, opts ...option) *fixture {
	t.Helper()
	path, err := pythonInPath()
	require.NoError(t, err, "the tests need Python")
	return startWorker(t, files, append([]option{withPython(path)}, opts...)...)
}

// onEachPython runs test once for each interpreter.
func onEachPython(t *testing.T, test func(t *testing.T, python option)) {
	t.Helper()
	for version, program := range pythons(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, withPython(program))
		})
	}
}

// TestPythonResults: what a handler returns, and the bytes of it.
func TestPythonResults(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, handler, event, want string
		text                       bool
	}{
		{"dict", "lambda e, c: {'a': 1, 'b': [True, None]}", "{}", `{"a": 1, "b": [true, null]}`, false},
		{"list", "lambda e, c: [1, 'x']", "{}", `[1, "x"]`, false},
		{"tuple", "lambda e, c: (1, 2)", "{}", `[1, 2]`, false},
		{"other characters are escaped", "lambda e, c: {'k': 'grüße'}", "{}", `{"k": "gr\u00fc\u00dfe"}`, false},
		{"str", "lambda e, c: 'grüße \\U0001F600'", "{}", "grüße \U0001F600", true},
		{"empty str", "lambda e, c: ''", "{}", "", true},
		{"int", "lambda e, c: 10 ** 30", "{}", "1000000000000000000000000000000", true},
		{"float", "lambda e, c: 1.5", "{}", "1.5", true},
		{"bool", "lambda e, c: False", "{}", "false", true},
		{"None", "lambda e, c: None", "{}", "", false},
		{"async", "later", "{}", `{"later": true}`, false},
		{"callable object", "Callable()", "{}", `{"v": "called"}`, false},
		{"event dict", "lambda e, c: e['a']['b']", `{"a":{"b":"deep"}}`, "deep", true},
		{"event list", "lambda e, c: len(e)", `[1,2,3]`, "3", true},
		{"event str", "lambda e, c: type(e).__name__ + e", `"s"`, "strs", true},
		{"event number", "lambda e, c: type(e).__name__", `5.5`, "float", true},
		{"event null", "lambda e, c: e is None", `null`, "true", true},
		{"empty event", "lambda e, c: e", ``, "{}", false},
		{"event with a byte order mark", "lambda e, c: e['a']", "\xef\xbb\xbf{\"a\":1}", "1", true},
	}
	onEachPython(t, func(t *testing.T, python option) {
		source := "import asyncio\nasync def later(e, c):\n    await asyncio.sleep(0)\n    return {'later': True}\n" +
			"class Callable:\n    def __call__(self, e, c): return {'v': 'called'}\nhandlers = [\n"
		for _, c := range cases {
			source += c.handler + ",\n"
		}
		source += "]\ndef handler(event, context): return handlers[int(context.getAlias())](event, context)\n"
		f := startPython(t, map[string]string{"index.py": source}, python).ready()
		for i, c := range cases {
			inv := f.invocation()
			inv.Alias = itoa(i)
			r, err := f.call(inv, c.event)
			require.NoError(t, err, c.name)
			require.Equal(t, c.want, string(r.Body), c.name)
			require.Equal(t, c.text, r.Text, c.name)
		}
	})
}

func pythonError(kind, message string, stack ...string) string {
	body := "{\n    \"errorMessage\": \"" + message + "\",\n    \"errorType\": \"" + kind + "\""
	if stack != nil {
		body += ",\n    \"stackTrace\": ["
		for i, s := range stack {
			if i > 0 {
				body += ","
			}
			body += "\n        " + strings.ReplaceAll(s, "'", `\"`)
		}
		if len(stack) > 0 {
			body += "\n    "
		}
		body += "]"
	}
	return body + "\n}"
}

// TestPythonErrors: codes, types and exact bodies, and that the next call works.
func TestPythonErrors(t *testing.T) {
	t.Parallel()
	const prefix = "function invocation exception, error: "
	frame := func(line, name string) string { return `"File './index.py', line ` + line + `, in ` + name + `"` }
	cases := []struct {
		name, deed string
		code       int
		body       string // exact, or a part with PART in front
	}{
		{"raise", "raise ValueError('bad thing')", 4002, pythonError("ValueError", prefix+"bad thing", frame("LINE", "deed"))},
		{"own class", "raise Mine('x', 2)", 4002, pythonError("Mine", prefix+"('x', 2)", frame("LINE", "deed"))},
		{"no message", "raise Mine()", 4002, pythonError("Mine", prefix, frame("LINE", "deed"))},
		{"message that cannot be shown", "raise Odd()", 4002, pythonError("Odd", prefix+"an error that cannot be shown", frame("LINE", "deed"))},
		{"key", "{}['missing']", 4002, pythonError("KeyError", prefix+"'missing'", frame("LINE", "deed"))},
		{"paths are shortened", "raise OSError('in ' + __file__)", 4002, pythonError("OSError", prefix+"in ./index.py", frame("LINE", "deed"))},
		{"sys.exit", "sys.exit(3)", 4002, pythonError("SystemExit", prefix+"sys.exit(3) was called", frame("LINE", "deed"))},
		{"exit without a code", "sys.exit()", 4002, pythonError("SystemExit", prefix+"sys.exit() was called", frame("LINE", "deed"))},
		{"KeyboardInterrupt", "raise KeyboardInterrupt", 4002, pythonError("KeyboardInterrupt", prefix, frame("LINE", "deed"))},
		{"async", "return broken()", 4002, pythonError("RuntimeError", prefix+"after a while", frame("9", "broken"))},
		{"library frames stay", "json.loads('[')", 4002, `PARTjson/decoder.py`},
		{"recursion", "return deed(event, context)", 4002, `PARTmaximum recursion depth exceeded`},
		{"bytes", "return b'x'", 4007, pythonError("TypeError", "function result is invalid, error: Object of type bytes is not JSON serializable")},
		{"object", "return {'o': object()}", 4007, pythonError("TypeError", "function result is invalid, error: Object of type object is not JSON serializable")},
		{"circle", "o = []; o.append(o); return o", 4007, pythonError("ValueError", "function result is invalid, error: Circular reference detected")},
		{"half a character", `return '\ud800'`, 4007, "PARTsurrogates not allowed"},
		{"too large", "return 'x' * 6291457", 4004, "response body size 6291457 exceeds the limit of 6291456"},
		{"too large in bytes only", "return 'ü' * 3145729", 4004, "response body size 6291458 exceeds the limit of 6291456"},
		{"too large an error", "raise ValueError('x' * 6291456)", 4004, "PARTexceeds the limit of 6291456"},
		{"out of memory", "return bytearray(1 << 60)", 4002, pythonError("MemoryError", prefix, frame("LINE", "deed"))},
	}
	onEachPython(t, func(t *testing.T, python option) {
		source := `import sys, json, asyncio
class Mine(Exception): pass
class Odd(Exception):
    def __str__(self): raise TypeError
handlers = []
def add(f): handlers.append(f)
async def broken():
    await asyncio.sleep(0)
    raise RuntimeError('after a while')
def handler(event, context): return handlers[int(context.getAlias())](event, context)
`
		line := strings.Count(source, "\n")
		lines := map[string]string{}
		for _, c := range cases {
			source += "@add\ndef deed(event, context):\n    " + c.deed + "\n"
			line += 3
			lines[c.name] = itoa(line)
		}
		source = strings.ReplaceAll(source, "return deed(event, context)", "return recurse(event, context)\n")
		source += "def recurse(event, context): return recurse(event, context)\n"
		f := startPython(t, map[string]string{"index.py": source}, python).ready()
		shift := 0
		for i, c := range cases {
			inv := f.invocation()
			inv.Alias = itoa(i)
			_, err := f.call(inv, "{}")
			var e *fault.Error
			require.ErrorAs(t, err, &e, c.name)
			require.Equal(t, fault.Function, e.Kind, c.name)
			require.Equal(t, c.code, e.Code, c.name)
			if part, ok := strings.CutPrefix(c.body, "PART"); ok {
				require.Contains(t, string(e.Body), part, c.name)
				require.NotContains(t, string(e.Body), "/proc/self", "frames of the worker must not show")
				require.Less(t, len(e.Body), 100000, c.name)
				if c.name == "recursion" {
					shift = 1 // its replacement is a line longer
				}
				continue
			}
			var n int
			_ = json.Unmarshal([]byte(lines[c.name]), &n)
			handler := frame("10", "handler")
			want := strings.ReplaceAll(c.body, "LINE", itoa(n+shift))
			want = strings.Replace(want, "\"stackTrace\": [\n", "\"stackTrace\": [\n        "+strings.ReplaceAll(handler, "'", `\"`)+",\n", 1)
			if c.name == "async" { // the handler itself has returned already
				want = strings.ReplaceAll(c.body, "LINE", "")
			}
			require.Equal(t, want, string(e.Body), c.name)
		}
		for _, event := range []string{"not json", "{", "\xff\xfe\xfd", strings.Repeat("[", 200000), `{"a":1} x`} {
			_, err := f.invoke(event)
			var e *fault.Error
			require.ErrorAs(t, err, &e, "%.20s", event)
			require.Equal(t, fault.Event, e.Kind, "%.20s", event)
			require.Equal(t, 4002, e.Code)
			require.NotEmpty(t, e.Body)
			if event == "not json" {
				require.Equal(t, "Expecting value: line 1 column 1 (char 0)", string(e.Body))
			}
		}
		inv := f.invocation()
		inv.Alias = "999"
		_, err := f.call(inv, "{}")
		var e *fault.Error
		require.ErrorAs(t, err, &e, "the worker is alive and answers")
		require.Equal(t, "IndexError", e.Type)
	})
}

func TestPythonWrongParameters(t *testing.T) {
	t.Parallel()
	f := startPython(t, map[string]string{"index.py": "def handler(event): return 1"}).ready()
	_, err := f.invoke("{}")
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 4002, e.Code)
	require.Contains(t, string(e.Body), "function invocation exception, error: handler() takes 1 positional argument but 2 were given")
	require.Contains(t, string(e.Body), `"stackTrace": []`)
}

func TestPythonResultOfExactlyTheLimit(t *testing.T) {
	t.Parallel()
	f := startPython(t, map[string]string{"index.py": "def handler(n, c): return 'x' * n if isinstance(n, int) else len(n)"}).ready()
	for _, n := range []int{6291456, 200000, 65536, 65535, 1} {
		r, err := f.invoke(itoa(n))
		require.NoError(t, err)
		require.Len(t, r.Body, n)
	}
	r, err := f.invoke(`"` + strings.Repeat("y", 6291454) + `"`)
	require.NoError(t, err)
	require.Equal(t, "6291454", string(r.Body), "an event of the largest size")
}

// TestPythonLoadFailures: what stands in the way of a load, and the words for it.
func TestPythonLoadFailures(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name             string
		files            map[string]string
		handler          string
		errorType, wants string
	}{
		{"file missing", map[string]string{"other.py": ""}, "index.handler", "FunctionLoadError", `function entry exception, error: not found module './index.py'`},
		{"file missing in a folder", map[string]string{"other.py": ""}, "src/index.handler", "FunctionLoadError", `not found module './src/index.py'`},
		{"a package is no file", map[string]string{"index/__init__.py": "def handler(e, c): pass"}, "index.handler", "FunctionLoadError", `not found module './index.py'`},
		{"syntax error", map[string]string{"index.py": "\n\ndef handler(:"}, "index.handler", "SyntaxError", ` (./index.py:3)`},
		{"syntax error in another file", map[string]string{"index.py": "import other", "other.py": "\n(]"}, "index.handler", "SyntaxError", ` (./other.py:2)`},
		{"indentation", map[string]string{"index.py": "def handler(e, c):\nreturn 1"}, "index.handler", "IndentationError", `expected an indented block`},
		{"missing dependency", map[string]string{"index.py": "import no_such_module"}, "index.handler", "ModuleNotFoundError", `function entry exception, error: No module named 'no_such_module'`},
		{"raise at top level", map[string]string{"index.py": "raise RuntimeError('boom')"}, "index.handler", "RuntimeError", `function entry exception, error: boom`},
		{"exit at top level", map[string]string{"index.py": "import sys; sys.exit(4)"}, "index.handler", "SystemExit", `sys.exit(4) was called`},
		{"raise in the package", map[string]string{"src/__init__.py": "raise RuntimeError('package')", "src/index.py": ""}, "src/index.handler", "RuntimeError", `package`},
		{"function missing", map[string]string{"index.py": "other = 1"}, "index.handler", "FunctionConfigError", `function entry exception, error: handler 'handler' not found in module './index.py'`},
		{"no function", map[string]string{"index.py": "handler = {}"}, "index.handler", "FunctionConfigError", `handler 'handler' not found in module './index.py'`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := startPython(t, c.files, withHandler(c.handler)).loadError()
			require.Equal(t, fault.Init, e.Kind)
			require.Equal(t, 4001, e.Code)
			var body struct{ ErrorMessage, ErrorType string }
			require.NoError(t, json.Unmarshal(e.Body, &body), string(e.Body))
			require.Equal(t, c.errorType, body.ErrorType)
			require.Contains(t, body.ErrorMessage, c.wants)
			require.True(t, strings.HasPrefix(string(e.Body), "{\n    \""), "four blanks of indentation")
			require.NotContains(t, string(e.Body), "stackTrace")
		})
	}
}

// TestPythonModules: where modules are found, and that nothing of the worker shows in them.
func TestPythonModules(t *testing.T) {
	t.Parallel()
	fine := "def handler(e, c): return 'fine'"
	cases := map[string]struct {
		files   map[string]string
		handler string
	}{
		"path and dots":                {map[string]string{"src/my.mod.py": "def run(e, c): return 'fine'"}, "src/my.mod.run"},
		"neighbour":                    {map[string]string{"index.py": "import other\ndef handler(e, c): return other.v", "other.py": "v = 'fine'"}, "index.handler"},
		"neighbour in the folder":      {map[string]string{"src/index.py": "import other\ndef handler(e, c): return other.v", "src/other.py": "v = 'fine'"}, "src/index.handler"},
		"from the root":                {map[string]string{"src/index.py": "import lib.other\ndef handler(e, c): return lib.other.v", "lib/other.py": "v = 'fine'"}, "src/index.handler"},
		"relative":                     {map[string]string{"src/sub/index.py": "from . import other\nfrom ..top import w\ndef handler(e, c): return other.v + w", "src/sub/other.py": "v = 'fi'", "src/top.py": "w = 'ne'"}, "src/sub/index.handler"},
		"package first":                {map[string]string{"src/__init__.py": "v = 'fine'", "src/index.py": "from src import v\ndef handler(e, c): return v"}, "src/index.handler"},
		"folder of a library's name":   {map[string]string{"test/index.py": fine, "test/other.py": ""}, "test/index.handler"},
		"file of a library's name":     {map[string]string{"email.py": "def handler(e, c): return 'fine'"}, "email.handler"},
		"file of a loaded library":     {map[string]string{"json.py": "import json\ndef handler(e, c): return json.loads('\"fine\"')"}, "json.handler"},
		"a package of the same name":   {map[string]string{"index.py": fine, "index/__init__.py": ""}, "index.handler"},
		"bad neighbours":               {map[string]string{"index.py": "def handler(e, c):\n  c.getLogger().info('x')\n  return 'fine'", "struct.py": "1/0", "json.py": "1/0", "threading.py": "1/0", "faulthandler.py": "1/0", "select.py": "1/0", "contextvars.py": "1/0"}, "index.handler"},
		"bad neighbours in the folder": {map[string]string{"src/index.py": "def handler(e, c): return 'fine' if set([float('inf')]) else ''", "src/json.py": "1/0", "src/threading.py": "1/0", "src/traceback.py": "1/0"}, "src/index.handler"},
		"a thread imports threading": {map[string]string{"index.py": `import _thread, sys
calls = 0
def work(done):
    import threading
    done.append(threading.current_thread() is not threading.main_thread())
def handler(e, c):
    global calls
    calls += 1
    if calls == 1: return 'fine'
    done = []
    _thread.start_new_thread(work, (done,))
    while not done: pass
    import threading
    return 'fine' if done[0] and threading.current_thread() is threading.main_thread() else 'no'`}, "index.handler"},
		"sys.path begins with code":   {map[string]string{"index.py": "import sys, os\ndef handler(e, c): return 'fine' if sys.path[0] == os.environ['RUNTIME_CODE_ROOT'] and not [p for p in sys.path if p in ('/', '') or p.startswith('/proc')] else repr(sys.path)"}, "index.handler"},
		"sys.argv":                    {map[string]string{"index.py": "import sys\ndef handler(e, c): return 'fine' if sys.argv == [__file__] else repr(sys.argv)"}, "index.handler"},
		"the file is closed":          {map[string]string{"index.py": "import os\ndef handler(e, c): return 'open' if any(os.path.lexists(p) and 'memfd' in os.readlink(p) for p in ['/proc/self/fd/%d' % n for n in range(50)]) else 'fine'"}, "index.handler"},
		"main is empty":               {map[string]string{"index.py": "import __main__\ndef handler(e, c): return 'fine' if not hasattr(__main__, 'Call') and __name__ == 'index' else 'no'"}, "index.handler"},
		"no cache is written":         {map[string]string{"index.py": "import os, other\ndef handler(e, c): return 'fine' if '__pycache__' not in os.listdir(os.path.dirname(__file__)) else 'written'", "other.py": ""}, "index.handler"},
		"children inherit no sockets": {map[string]string{"index.py": "import subprocess\ndef handler(e, c): return 'fine' if 'socket' not in subprocess.run('ls -l /proc/self/fd', shell=True, close_fds=False, stdout=subprocess.PIPE).stdout.decode() else 'open'"}, "index.handler"},
		"multiprocessing": {map[string]string{"index.py": `import multiprocessing, os
def work(q): print('from a child'); q.put('fi' + 'ne')
def handler(e, c):
    for method in 'spawn', 'fork':
        m = multiprocessing.get_context(method)
        q = m.Queue()
        p = m.Process(target=work, args=(q,))
        p.start(); v = q.get(); p.join()
        if p.exitcode != 0: return method + str(p.exitcode)
    return v`}, "index.handler"},
		"a fork that comes back": {map[string]string{"index.py": `import os
def handler(e, c):
    pid = os.fork()
    if pid == 0: return 'from the child'
    return 'fine' if os.waitpid(pid, 0)[1] == 0 else 'no'`}, "index.handler"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, c.files, withHandler(c.handler)).ready()
			for range 2 {
				r, err := f.invoke("{}")
				require.NoError(t, err)
				require.Equal(t, "fine", string(r.Body))
			}
		})
	}
}

// TestPythonStart: ways to the interpreter.
func TestPythonStart(t *testing.T) {
	t.Parallel()
	lang, err := LanguageByName("python")
	require.NoError(t, err)
	path, err := pythonInPath()
	require.NoError(t, err)
	encodings := map[string]string{"index.py": "import sys, json\ndef handler(e, c):\n  print('größe')\n  return json.dumps([open(__file__).encoding.lower().replace('-', ''), sys.stdout.encoding])\n# ü"}
	t.Run("found in PATH", func(t *testing.T) {
		t.Parallel()
		program, err := lang.FindProgram(os.Getenv("PATH"))
		require.NoError(t, err)
		_, err = startPython(t, map[string]string{"index.py": "def handler(e, c): pass"}, withPython(program)).ready().invoke("{}")
		require.NoError(t, err)
	})
	t.Run("by a script", func(t *testing.T) { // as pyenv has them
		t.Parallel()
		script := filepath.Join(t.TempDir(), "python3")
		require.NoError(t, os.WriteFile(script, []byte("#!/bin/bash\nset -e\nread -r x < <(echo y)\nexec bash -c 'exec \"$0\" \"$@\"' '"+path+"' \"$@\"\n"), 0o755))
		_, err = startPython(t, map[string]string{"index.py": "def handler(e, c): pass"}, withPython(script)).ready().invoke("{}")
		require.NoError(t, err)
	})
	t.Run("virtual environment", func(t *testing.T) { // and not the first in PATH
		t.Parallel()
		venv := filepath.Join(t.TempDir(), "venv")
		out, err := exec.Command(path, "-m", "venv", "--without-pip", venv).CombinedOutput()
		require.NoError(t, err, string(out))
		r, err := startPython(t, map[string]string{"index.py": "import sys\ndef handler(e, c): return sys.prefix"}, withPython(venv+"/bin/python3")).ready().invoke("{}")
		require.NoError(t, err)
		require.Equal(t, venv, string(r.Body))
	})
	for name, env := range map[string][]string{"no LANG": nil, "LC_ALL=C": {"LC_ALL=C"}, "C.UTF-8": {"LANG=C.UTF-8"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, encodings, withEnv(env...)).ready()
			r, err := f.invoke("{}")
			require.NoError(t, err)
			require.Equal(t, `["utf8", "utf-8"]`, string(r.Body))
			f.logHas("größe\n")
		})
	}
	t.Run("PYTHONPATH", func(t *testing.T) {
		t.Parallel()
		libraries := t.TempDir()
		require.NoError(t, os.WriteFile(libraries+"/dep.py", []byte("v = 'dep'"), 0o644))
		r, err := startPython(t, map[string]string{"index.py": "import dep\ndef handler(e, c): return dep.v"}, withEnv("PYTHONPATH="+libraries, "PYTHONSAFEPATH=1", "PYTHONFAULTHANDLER=1")).ready().invoke("{}")
		require.NoError(t, err)
		require.Equal(t, "dep", string(r.Body))
	})
	t.Run("PYTHONPYCACHEPREFIX", func(t *testing.T) {
		t.Parallel()
		cache := t.TempDir()
		f := startPython(t, map[string]string{"index.py": "import other\ndef handler(e, c): pass", "other.py": ""}, withEnv("PYTHONPYCACHEPREFIX="+cache)).ready()
		_, err := f.invoke("{}")
		require.NoError(t, err)
		written := 0
		require.NoError(t, filepath.WalkDir(cache, func(p string, _ os.DirEntry, err error) error {
			if strings.HasSuffix(p, ".pyc") {
				written++
			}
			return err
		}))
		require.NotZero(t, written)
	})
	t.Run("too old", func(t *testing.T) {
		t.Parallel()
		for version, how := range map[string]string{
			"3.6.15": "echo Python 3.6.15", // one that cannot read the source
			"2.7.18": "echo Python 2.7.18 >&2",
		} {
			script := filepath.Join(t.TempDir(), "python3")
			require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nif [ \"$1\" = --version ]; then "+how+"; else exit 1; fi\n"), 0o755))
			e := startPython(t, map[string]string{"index.py": ""}, withPython(script)).loadError()
			require.Contains(t, e.Message, script+" is Python "+version+"; Python 3.8 or later is needed")
		}
		home, err := os.UserHomeDir()
		require.NoError(t, err)
		old, err := filepath.Glob(home + "/.pyenv/versions/3.[67].*/bin/python3")
		require.NoError(t, err)
		for _, program := range old { // they say it themselves
			e := startPython(t, map[string]string{"index.py": ""}, withPython(program)).loadError()
			require.Regexp(t, `is Python 3\.[67]\.\d+; Python 3\.8 or later is needed`, e.Message)
		}
	})
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"3.8.18": "3.8", "20.1.0": "20.1", "3": "3", "3.14.0rc1": "3.14", "10.0.0": "10"} {
		v, ok := parseVersion(text)
		require.True(t, ok, text)
		require.Equal(t, want, v.String(), text)
	}
	for _, text := range []string{"", "pyenv: python3: command not found", "v8"} {
		_, ok := parseVersion(text)
		require.False(t, ok, text)
	}
	require.True(t, Version{3, 7}.before(Version{3, 8}))
	require.True(t, Version{2, 7}.before(Version{3, 0}))
	require.False(t, Version{3, 10}.before(Version{3, 8}))
	require.False(t, Version{4, 0}.before(Version{3, 8}))
}

// TestPythonContext: methods, properties, types.
func TestPythonContext(t *testing.T) {
	t.Parallel()
	source := `def handler(e, c):
    c.mine = 1
    names = "getRequestID getAccessKey getSecretKey getSecurityAccessKey getSecuritySecretKey getSecurityToken getToken getFunctionName getRunningTimeInSeconds getVersion getMemorySize getCPUNumber getProjectID getPackage getAlias getWorkflowID getWorkflowRunID getWorkflowStateID get_state get_instance_id get_invoke_id get_trace_id get_invoke_property".split()
    c.set_state({'s': 1}); state = c.get_state(); c.set_state(None)
    c.set_instance_id('i'); instance = c.get_instance_id(); c.set_instance_id('')
    attributes = "request_id access_key secret_key security_access_key security_secret_key security_token auth_token function_name function_version memory cpu project_id package alias workflow_id workflow_run_id workflow_state_id timeout trace_id".split()
    print(c, vars(c))
    return {"methods": [getattr(c, n)() for n in names], "attributes": [getattr(c, n) for n in attributes],
        "data": [c.getUserData('k'), c.getUserData('nope'), c.getUserData('nope', 'd'), state, instance, type(c.start_time).__name__],
        "remaining": c.getRemainingTimeInMilliSeconds(), "type": type(c.getRemainingTimeInMilliSeconds()).__name__,
        "logger": c.getLogger() is c.getLogger() is c.logger}
`
	onEachPython(t, func(t *testing.T, python option) {
		f := startPython(t, map[string]string{"index.py": source}, python).ready()
		inv := f.invocation()
		inv.Alias, inv.Workflow = "prod", fncontext.Workflow{ID: "w", RunID: "wr", StateID: "ws"}
		inv.Credentials = fncontext.NewCredentials(fncontext.Secrets{AccessKey: "s3cr3t-ak", SecretKey: "s3cr3t-sk", SecurityAccessKey: "s3cr3t-sak", SecuritySecretKey: "s3cr3t-ssk", SecurityToken: "s3cr3t-st", AuthToken: "s3cr3t-at"})
		r, err := f.call(inv, "{}")
		require.NoError(t, err)
		var got struct {
			Methods, Attributes, Data []any
			Remaining                 float64
			Type                      string
			Logger                    bool
		}
		require.NoError(t, json.Unmarshal(r.Body, &got))
		id := inv.RequestID
		require.Equal(t, []any{id, "s3cr3t-ak", "s3cr3t-sk", "s3cr3t-sak", "s3cr3t-ssk", "s3cr3t-st", "s3cr3t-at", "hello", 20.0, "latest", "128", "300", "p", "default", "prod", "w", "wr", "ws", nil, "", "", id, ""}, got.Methods)
		require.Equal(t, []any{id, "s3cr3t-ak", "s3cr3t-sk", "s3cr3t-sak", "s3cr3t-ssk", "s3cr3t-st", "s3cr3t-at", "hello", "latest", "128", "300", "p", "default", "prod", "w", "wr", "ws", 20000.0, id}, got.Attributes)
		require.Equal(t, []any{"v", nil, "d", map[string]any{"s": 1.0}, "i", "int"}, got.Data)
		require.Greater(t, got.Remaining, 1000.0)
		require.LessOrEqual(t, got.Remaining, 20000.0)
		require.Equal(t, "int", got.Type)
		require.True(t, got.Logger)
		f.logHas("[redacted]")
		require.NotContains(t, f.out.String(), "s3cr3t")
		_, err = f.invoke("{}") // without credentials
		require.NoError(t, err)
	})
}

func TestPythonLogging(t *testing.T) {
	t.Parallel()
	source := `import sys, logging, os, warnings, threading
print('while loading')
def handler(e, c):
    log = c.getLogger()
    log.info('i %d %s', 1, 'x'); log.debug('hidden'); log.warning('w'); log.error('e %r', {'a': 1}); log.critical('worst')
    log.info('two\nlines')
    log.setLevel(logging.DEBUG); c.getLogger().debug('shown'); log.setLevel('ERROR'); log.warning('gone'); log.error('last'); log.setLevel(logging.INFO)
    try: 1 / 0
    except ZeroDivisionError: log.exception('caught')
    log.info('long ' + 'ü' * 100000 + ' end')
    assert isinstance(log, logging.Logger)
    print('plain', 1); print('to stderr', file=sys.stderr); sys.stdout.write('part'); sys.stdout.write('ial\n'); sys.stdout.buffer.write(b'bytes\n')
    sys.stdout.writelines(['li', 'nes\n']); print('flushed', end='', flush=True); print(' and ended')
    print('surrogate \udc80'); warnings.warn('careful'); logging.warning('root logger'); logging.getLogger('lib').error('library')
    t = threading.Thread(target=print, args=('from a thread',)); t.start(); t.join()
    os.system('echo from the shell'); os.write(1, b'descriptor\n'); sys.__stdout__.write('original\n')
    try: print(1, file=sys.stdout); sys.stdout.write(b'x')
    except TypeError as e: print('TypeError', e)
    assert not sys.stdout.isatty() and sys.stdout.fileno() == 1 and not sys.stdout.closed and sys.stdout.writable()
    print('no newline', end='')
    return 'ok'
`
	onEachPython(t, func(t *testing.T, python option) {
		f := startPython(t, map[string]string{"index.py": source}, python).ready()
		inv := f.invocation()
		r, err := f.call(inv, "{}")
		require.NoError(t, err)
		require.Equal(t, "ok", string(r.Body))
		for _, want := range []string{
			"while loading\n", inv.RequestID + " INFO i 1 x\n", inv.RequestID + " WARN w\n", inv.RequestID + " ERROR e {'a': 1}\n", " ERROR worst\n", " INFO two\nlines\n",
			" DEBUG shown\n", " ERROR last\n", " ERROR caught\nTraceback", "ZeroDivisionError: division by zero\n", " INFO [part 0", "] long ü", "ü end\n",
			"\nplain 1\n", "\nto stderr\n", "\npartial\n", "\nbytes\n", "\nlines\n", "\nflushed and ended\n", "surrogate \\udc80\n", "UserWarning: careful\n", "WARNING:root:root logger\n",
			"ERROR:lib:library\n", "\nfrom a thread\n", "from the shell\n", "descriptor\n", "original\n", "TypeError write() argument must be str", "no newline",
		} {
			require.Eventually(t, func() bool { return strings.Contains(f.out.String(), want) }, 10*time.Second, time.Millisecond, want)
		}
		for _, no := range []string{"hidden", "gone"} {
			require.NotContains(t, f.out.String(), no)
		}
		require.Equal(t, 1, strings.Count(f.out.String(), " INFO i 1 x"), "nothing is written twice")
		inv = f.invocation()
		_, err = f.call(inv, "{}")
		require.NoError(t, err)
		f.logHas(inv.RequestID + " INFO i 1 x\n")
		f.logHas(" INFO two\nlines\n")
		require.Equal(t, 2, strings.Count(f.out.String(), " INFO i 1 x"), "nor by the second call")
	})
}

// TestPythonLogAttribution runs many calls at once, on threads and in the event loop: each line must name its own request.
func TestPythonLogAttribution(t *testing.T) {
	t.Parallel()
	sources := map[string]string{
		"threads": `import random, time, threading, contextvars
def handler(e, c):
    for i in range(5):
        print('step', e['n'], c.getRequestID()); time.sleep(random.random() / 200)
    t = threading.Thread(target=lambda: c.getLogger().info('thread ' + c.getRequestID())); t.start(); t.join()
    t = threading.Thread(target=contextvars.copy_context().run, args=(print, 'inherited', e['n'], c.getRequestID())); t.start(); t.join()
    return e['n']
`,
		"loop": `import random, asyncio
async def after(e, c):
    await asyncio.sleep(random.random() / 100); print('after', e['n'], c.getRequestID())
async def handler(e, c):
    for i in range(5):
        print('step', e['n'], c.getRequestID()); await asyncio.sleep(random.random() / 200)
    c.getLogger().info('thread ' + c.getRequestID())
    asyncio.ensure_future(after(e, c))
    return e['n']
`,
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			onEachPython(t, func(t *testing.T, python option) {
				const calls = 60
				f := startPython(t, map[string]string{"index.py": source}, python, withConcurrency(calls)).ready()
				require.Equal(t, calls, f.concurrency())
				var wg sync.WaitGroup
				for i := range calls {
					wg.Go(func() {
						r, err := f.invoke(`{"n":` + itoa(i) + `}`)
						if err != nil || string(r.Body) != itoa(i) {
							t.Errorf("call %d: %q, %v", i, r.Body, err)
						}
					})
				}
				wg.Wait()
				require.Eventually(t, func() bool { return strings.Count(f.out.String(), "\n") >= 7*calls }, 30*time.Second, time.Millisecond)
				for line := range strings.Lines(f.out.String()) {
					fields := strings.Fields(line)
					require.Len(t, fields, 5, line)
					require.Equal(t, fields[1], fields[4], "the line names another request than the one that wrote it: %s", line)
				}
			})
		})
	}
}

// TestPythonOneByOne: what belongs to a thread or a loop keeps working from call to call, also after slow calls.
func TestPythonOneByOne(t *testing.T) {
	t.Parallel()
	sources := map[string]string{
		"threads": `import sqlite3, signal, threading, time, asyncio
db = sqlite3.connect(':memory:')
seen = []
def init(context): db.execute('create table t (n)')
async def nothing(): return 1
def handler(e, c):
    assert threading.current_thread() is threading.main_thread()
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(1)); signal.raise_signal(signal.SIGUSR1)
    db.execute('insert into t values (1)')
    assert asyncio.run(nothing()) == 1
    if e.get('slow'): time.sleep(0.03)
    return db.execute('select count(*) from t').fetchone()[0]
`,
		"loop": `import asyncio, threading
state = {'n': 0}
async def init(context): state['loop'] = asyncio.get_event_loop(); state['lock'] = asyncio.Lock()
async def handler(e, c):
    assert threading.current_thread() is threading.main_thread() and asyncio.get_event_loop() is state['loop']
    async with state['lock']:
        if e.get('slow'): await asyncio.sleep(0.03)
        state['n'] += 1
        return state['n']
`,
		"plain initializer": `import asyncio, threading
state = {'n': 0}
def init(context): asyncio.run(asyncio.sleep(0))
async def handler(e, c):
    await asyncio.sleep(0.03 if e.get('slow') else 0)
    state['n'] += 1
    return state['n']
`,
		"found out late": `import functools, asyncio, threading
state = {'n': 0}
def init(context): pass
def decorated(f):
    @functools.wraps(f)
    def call(*args): return f(*args)
    return call
@decorated
async def handler(e, c):
    if 'loop' in state: assert state['loop'] is asyncio.get_event_loop()
    state['loop'] = asyncio.get_event_loop()
    await asyncio.sleep(0.03 if e.get('slow') else 0)
    state['n'] += 1
    return state['n']
`,
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			onEachPython(t, func(t *testing.T, python option) {
				f := startPython(t, map[string]string{"index.py": source}, python, withInitializer("index.init")).ready()
				require.NoError(t, f.Init(context.Background(), f.invocation(), logger.NewRequest(f.sink, "i", false, false)))
				for i := range 60 {
					event := "{}"
					if i%7 == 3 {
						event = `{"slow":true}`
					}
					r, err := f.invoke(event)
					require.NoError(t, err)
					require.Equal(t, itoa(i+1), string(r.Body))
				}
			})
		})
	}
}

// TestPythonAtOnce: calls that wait for each other all run, on threads and in the event loop.
func TestPythonAtOnce(t *testing.T) {
	t.Parallel()
	sources := map[string]string{
		"threads": "import threading\nb = threading.Barrier(20)\ndef handler(e, c):\n  b.wait(60)\n  return 'met'\n",
		"loop":    "import asyncio\nn, met = 0, asyncio.Event()\nasync def handler(e, c):\n  global n\n  n += 1\n  if n % 20 == 0: met.set()\n  await met.wait()\n  return 'met'\n",
		"late":    "import threading, functools\nb = threading.Barrier(20)\nasync def h(e, c):\n  b.wait(60)\n  return 'met'\ndef handler(e, c): return h(e, c)\n",
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, map[string]string{"index.py": source}, withConcurrency(20)).ready()
			for range 3 {
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						if r, err := f.invoke("{}"); err != nil || string(r.Body) != "met" {
							t.Errorf("%q, %v", r.Body, err)
						}
					})
				}
				wg.Wait()
			}
		})
	}
}

func TestPythonInitializer(t *testing.T) {
	t.Parallel()
	handler := "ready = 'no'\ndef handler(e, c): return ready\n"
	good := map[string]string{
		"plain":      "def init(c):\n  global ready\n  ready = c.getFunctionName()\n  return object()\n",
		"async":      "import asyncio\nasync def init(c):\n  global ready\n  await asyncio.sleep(0)\n  ready = c.getFunctionName()\n",
		"one of two": "def init(c, unused=1):\n  global ready\n  ready = 'hello'\n",
	}
	for name, source := range good {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, map[string]string{"index.py": handler + source}, withInitializer("index.init")).ready()
			require.NoError(t, f.Init(context.Background(), f.invocation(), logger.NewRequest(f.sink, "i", false, false)))
			r, err := f.invoke("{}")
			require.NoError(t, err)
			require.Equal(t, "hello", string(r.Body))
		})
	}
	bad := map[string]struct{ source, message, errorType string }{
		"raise":      {"def init(c): raise ValueError('no db')", "function initialization exception, error: no db", "ValueError"},
		"async":      {"async def init(c): raise ValueError('no db')", "function initialization exception, error: no db", "ValueError"},
		"exit":       {"import sys\ndef init(c): sys.exit('gone')", "function initialization exception, error: sys.exit('gone') was called", "SystemExit"},
		"parameters": {"def init(): pass", "function initialization exception, error: init() takes 0 positional arguments but 1 was given", "TypeError"},
		"missing":    {"", "function initialization exception, error: initializer 'init' not found in module './index.py'", "FunctionConfigError"},
	}
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, map[string]string{"index.py": handler + c.source}, withInitializer("index.init")).ready()
			err := f.Init(context.Background(), f.invocation(), logger.NewRequest(f.sink, "i", false, false))
			var e *fault.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, fault.Init, e.Kind)
			require.Equal(t, 4009, e.Code)
			var body struct {
				ErrorMessage, ErrorType string
				StackTrace              []string
			}
			require.NoError(t, json.Unmarshal(e.Body, &body))
			require.Equal(t, c.message, body.ErrorMessage)
			require.Equal(t, c.errorType, body.ErrorType)
			require.Equal(t, name != "missing", body.StackTrace != nil, "only what was raised has a stack")
		})
	}
}

// TestPythonTimeout: the caller gets its answer at the deadline, with the place where the handler is stuck.
func TestPythonTimeout(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ source, hint string }{
		"sleep":          {"import time\ndef handler(e, c):\n  inner()\ndef inner():\n  print('begun', end='')\n  time.sleep(60)\n", "shortly before the deadline the handler was at ./index.py:6, in inner: limit that wait"},
		"endless loop":   {"def handler(e, c):\n  print('begun', end='')\n  while True: pass\n", "the handler was at ./index.py:3, in handler"},
		"library":        {"import queue\ndef handler(e, c):\n  print('begun', end='')\n  queue.Queue().get()\n", "the handler was at ./index.py:4, in handler (and below that at /"},
		"endless await":  {"import asyncio\nasync def handler(e, c):\n  print('begun', end='')\n  await inner()\nasync def inner():\n  await asyncio.Event().wait()\n", "the handler was at ./index.py:6, in inner (and below that at /"},
		"blocked loop":   {"import time\nasync def handler(e, c):\n  print('begun', end='')\n  time.sleep(60)\n", "the handler was at ./index.py:4, in handler: "},
		"awaited thread": {"import asyncio, time\nasync def handler(e, c):\n  print('begun', end='')\n  await asyncio.get_event_loop().run_in_executor(None, time.sleep, 60)\n", "the handler was at ./index.py:4, in handler: "},
	}
	for name, c := range cases {
		for _, concurrency := range []int{1, 4} {
			t.Run(name+" "+itoa(concurrency), func(t *testing.T) {
				t.Parallel()
				f := startPython(t, map[string]string{"index.py": c.source}, withConcurrency(concurrency)).ready()
				inv := f.invocation()
				inv.Deadline = time.Now().Add(3 * time.Second)
				_, err := f.call(inv, "{}")
				var e *fault.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, fault.Timeout, e.Kind)
				require.Equal(t, 4010, e.Code)
				require.Contains(t, e.Hint, c.hint)
				f.logHas("begun")
			})
		}
	}
}

func TestPythonDeath(t *testing.T) {
	t.Parallel()
	source := `import os, ctypes, threading
def handler(e, c):
    print('before the end')
    if e['how'] == 'exit': os._exit(7)
    if e['how'] == 'abort': os.abort()
    if e['how'] == 'segfault': ctypes.string_at(0)
    threading.Event().wait()
`
	cases := map[string]struct{ message, stderr string }{
		"exit": {"exit code 7", ""}, "abort": {"signal 6", "index.py"}, "segfault": {"signal 11", "Segmentation fault"},
	}
	for how, c := range cases {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, map[string]string{"index.py": source}, withConcurrency(16)).ready()
			var wg sync.WaitGroup
			errs := make([]error, 16)
			for i := range errs {
				wg.Go(func() {
					event := `{"how":"wait"}`
					if i == 15 {
						require.Eventually(t, func() bool { return strings.Count(f.out.String(), "before the end") >= 15 }, 30*time.Second, time.Millisecond)
						event = `{"how":"` + how + `"}`
					}
					inv := f.invocation()
					inv.Deadline = time.Now().Add(60 * time.Second)
					_, errs[i] = f.call(inv, event)
				})
			}
			wg.Wait()
			for _, err := range errs {
				var e *fault.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, fault.Crash, e.Kind)
				require.Equal(t, 4204, e.Code)
				require.Contains(t, e.Message, c.message)
				require.Contains(t, strings.Join(e.Stderr, "\n"), c.stderr)
				require.NotContains(t, e.Hint, "process.exit")
			}
			<-f.Gone()
			require.Eventually(t, func() bool { return strings.Count(f.out.String(), "before the end") == 16 }, 10*time.Second, time.Millisecond, "what was logged before the end is not lost")
		})
	}
}

// TestPythonSignals: handlers of user code run in the main thread, between calls too, and may print there.
func TestPythonSignals(t *testing.T) {
	t.Parallel()
	t.Run("stop", func(t *testing.T) {
		t.Parallel()
		for name, source := range map[string]string{
			"plain": "import signal, sys, atexit\natexit.register(lambda: print('clean'))\ndef stop(*_):\n  print('cleaning up')\n  sys.exit(0)\nsignal.signal(signal.SIGTERM, stop)\ndef handler(e, c): return 'ok'\n",
			"async": "import signal, sys, atexit\natexit.register(lambda: print('clean'))\ndef stop(*_):\n  print('cleaning up')\n  sys.exit(0)\nsignal.signal(signal.SIGTERM, stop)\nasync def handler(e, c): return 'ok'\n",
		} {
			f := startPython(t, map[string]string{"index.py": source}).ready()
			_, err := f.invoke("{}")
			require.NoError(t, err, name)
			f.Stop(time.Now().Add(30 * time.Second))
			f.logHas("cleaning up")
			f.logHas("clean\n")
			require.Contains(t, f.Death().Message, "exit code 0", name)
		}
	})
	t.Run("many", func(t *testing.T) { // in the middle of prints and answers
		t.Parallel()
		source := `import signal
def tick(*_): print('tick ' + 't' * 3000)
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
def handler(e, c):
    for i in range(200): print('line', i, 'l' * 3000)
    return 'x' * 300000
`
		f := startPython(t, map[string]string{"index.py": source}).ready()
		for range 10 {
			r, err := f.invoke("{}")
			require.NoError(t, err)
			require.Len(t, r.Body, 300000)
		}
	})
}

func TestPythonSecretsStayOutOfTheEnvironment(t *testing.T) {
	t.Parallel()
	source := `import os
def handler(e, c): return repr(os.environ) + open('/proc/self/environ').read() + open('/proc/self/cmdline').read()
`
	f := startPython(t, map[string]string{"index.py": source}).ready()
	inv := f.invocation()
	inv.Credentials = fncontext.NewCredentials(fncontext.Secrets{SecurityToken: "s3cr3t-token"})
	r, err := f.call(inv, "{}")
	require.NoError(t, err)
	require.NotContains(t, string(r.Body), "s3cr3t-token")
}

// TestPythonFlood: many small calls and many lines, one by one and at once, lose nothing.
func TestPythonFlood(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{"threads": "def handler(e, c):\n  print(e)\n  return e", "loop": "async def handler(e, c):\n  print(e)\n  return e"} {
		for _, concurrency := range []int{1, 8} {
			t.Run(name+" "+itoa(concurrency), func(t *testing.T) {
				t.Parallel()
				f := startPython(t, map[string]string{"index.py": source}, withConcurrency(concurrency)).ready()
				var wg sync.WaitGroup
				for k := range concurrency {
					wg.Go(func() {
						for i := range 1600 / concurrency {
							n := itoa(k*10000 + i)
							if r, err := f.invoke(n); err != nil || string(r.Body) != n {
								t.Errorf("%s: %q, %v", n, r.Body, err)
								return
							}
						}
					})
				}
				wg.Wait()
				require.Eventually(t, func() bool { return strings.Count(f.out.String(), "\n") == 1600 }, 30*time.Second, time.Millisecond)
			})
		}
	}
}

// TestPythonPreStop: hooks of every form, after calls and without any, on threads and in the event loop.
func TestPythonPreStop(t *testing.T) {
	t.Parallel()
	said := "import asyncio, time\ncalls = 0\ndef said(c): c.getLogger().info('hook of %s, %d calls, %d, %s', c.getAlias(), calls, len(c.getToken()), c.getRemainingTimeInMilliSeconds() > 0)\n"
	handlers := map[string]string{
		"threads": "def handler(e, c):\n  global calls\n  calls += 1\n  time.sleep(e)\n",
		"loop":    "async def handler(e, c):\n  global calls\n  calls += 1\n  await asyncio.sleep(e)\n",
	}
	hooks := map[string]string{
		"plain": "def stop(c):\n  said(c)\n  return object()\n",
		"async": "async def stop(c):\n  await asyncio.sleep(0.02)\n  said(c)\n  return object()\n",
	}
	bad := map[string]struct{ source, message, errorType string }{
		"raise":      {"def stop(c): raise ValueError('no db')", "no db", "ValueError"},
		"async":      {"async def stop(c): raise ValueError('no db')", "no db", "ValueError"},
		"exit":       {"import sys\ndef stop(c): sys.exit('gone')", "sys.exit('gone') was called", "SystemExit"},
		"parameters": {"def stop(): pass", "stop() takes 0 positional arguments but 1 was given", "TypeError"},
		"missing":    {"", "prestop handler 'stop' not found in module './index.py'", "FunctionConfigError"},
	}
	for way, handler := range handlers {
		for name, hook := range hooks {
			for calls, events := range [][]string{{}, {"0"}, {"0.02"}, {"0.02", "0.02", "0.02"}} { // after which another thread reads
				t.Run(way+" "+name+" "+itoa(calls), func(t *testing.T) {
					t.Parallel()
					onEachPython(t, func(t *testing.T, python option) {
						f := startPython(t, map[string]string{"index.py": said + handler + hook}, python, withPreStop("index.stop"), withConcurrency(3)).ready()
						var wg sync.WaitGroup
						for _, event := range events {
							wg.Go(func() {
								if _, err := f.invoke(event); err != nil {
									t.Error(err)
								}
							})
						}
						wg.Wait()
						id, err := f.preStop()
						require.NoError(t, err)
						f.logHas(id + " INFO hook of prod, " + itoa(len(events)) + " calls, 6, True\n")
					})
				})
			}
		}
		for name, c := range bad {
			t.Run(way+" bad "+name, func(t *testing.T) {
				t.Parallel()
				f := startPython(t, map[string]string{"index.py": said + handler + c.source}, withPreStop("index.stop")).ready()
				for range 2 {
					id, err := f.preStop()
					preStopFailed(t, err, c.message, c.errorType, name != "missing")
					f.logHas(id + " ERROR ")
					_, err = f.invoke("0")
					require.NoError(t, err)
				}
			})
		}
	}
}

// TestPythonPreStopTimeout: what the log says of a hook that was cut off.
func TestPythonPreStopTimeout(t *testing.T) {
	t.Parallel()
	f := startPython(t, map[string]string{"index.py": "import time\ndef handler(e, c): pass\ndef stop(c):\n  time.sleep(60)\n"}, withPreStop("index.stop")).ready()
	inv := f.invocation()
	inv.Deadline = time.Now().Add(3 * time.Second)
	err := f.transport.PreStop(context.Background(), inv, logger.NewRequest(f.sink, inv.RequestID, false, false))
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, fault.Timeout, e.Kind)
	require.Contains(t, e.Hint, "shortly before the deadline the pre-stop hook was at ./index.py:4, in stop: ")
}

// TestPythonEnd: the hook, then the user's own handler of TERM, then the interpreter's end, with a thread that goes on writing.
func TestPythonEnd(t *testing.T) {
	t.Parallel()
	start := `import asyncio, atexit, signal, sys, threading
atexit.register(lambda: sys.stdout.write('clean\n')) # in one piece, which nobody else's can come into
def stop(*_):
    sys.stdout.write('term\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
def talk():
    while True: print('talk ' * 1000)
`
	for name, source := range map[string]string{
		"threads": start + "def handler(e, c): return 'ok'\ndef end(c):\n  print('hook')\n  threading.Thread(target=talk, daemon=True).start()\n",
		"loop":    start + "async def handler(e, c): return 'ok'\nasync def end(c):\n  print('hook')\n  threading.Thread(target=talk, daemon=True).start()\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, map[string]string{"index.py": source}, withPreStop("index.end")).ready()
			_, err := f.invoke("{}")
			require.NoError(t, err)
			f.Stop(time.Now().Add(30 * time.Second))
			require.Contains(t, f.Death().Message, "exit code 0")
			f.logHas("clean\n")
			log := f.out.String()
			require.Less(t, strings.Index(log, "hook\n"), strings.Index(log, "term\n"))
			require.Less(t, strings.Index(log, "term\n"), strings.Index(log, "clean\n"))
		})
	}
}

// TestPythonSlowInitializer: an asynchronous function keeps to one loop when its initializer was slow.
func TestPythonSlowInitializer(t *testing.T) {
	t.Parallel()
	source := `import asyncio, threading
state = {}
async def init(c):
    state['loop'] = asyncio.get_event_loop()
    await asyncio.sleep(0.1)
    state['lock'] = asyncio.Lock()
async def handler(e, c):
    async with state['lock']: await asyncio.sleep(0.01)
    assert asyncio.get_event_loop() is state['loop'] and threading.current_thread() is threading.main_thread()
    return 'one loop'
`
	onEachPython(t, func(t *testing.T, python option) {
		f := startPython(t, map[string]string{"index.py": source}, python, withInitializer("index.init"), withConcurrency(4)).ready()
		require.NoError(t, f.Init(context.Background(), f.invocation(), logger.NewRequest(f.sink, "i", false, false)))
		for range 2 {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if r, err := f.invoke("{}"); err != nil || string(r.Body) != "one loop" {
						t.Errorf("%q, %v", r.Body, err)
					}
				})
			}
			wg.Wait()
		}
	})
}

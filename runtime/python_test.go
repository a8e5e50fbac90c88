package runtime

import (
	"encoding/json"
	"fmt"
	"gantry/fault"
	"gantry/runtime/language"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// pythons returns the interpreters to test with: the one in PATH, Debian's, and those of pyenv.
func pythons(t *testing.T) map[string]string {
	t.Helper()
	path, err := pythonInPath()
	require.NoError(t, err, "the tests need Python")
	found := map[string]string{"path": path}
	home, err := os.UserHomeDir()
	require.NoError(t, err)
	if debian := "/usr/bin/python3"; debian != path {
		if _, err := os.Stat(debian); err == nil {
			found["debian"] = debian
		}
	}
	others, err := filepath.Glob(home + "/.pyenv/versions/3.*/bin/python3")
	require.NoError(t, err)
	for _, other := range others {
		name := filepath.Base(filepath.Dir(filepath.Dir(other)))
		if v, ok := language.ParseVersion(name); ok && !v.Before(language.Version{Major: 3, Minor: 8}) && other != path {
			found[name] = other
		}
	}
	return found
}

func withPython(program string) option {
	return func(c *Config) {
		lang, err := language.ByName("python")
		if err != nil {
			panic(err)
		}
		c.Language, c.Program = lang, program
	}
}

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

// onOldAndNewPython is onEachPython for tests of many processes: once for the oldest, the newest and the interpreter in
// PATH.
func onOldAndNewPython(t *testing.T, test func(t *testing.T, python option)) {
	t.Helper()
	chosen := pythons(t)
	var versions []string
	for name := range chosen {
		if _, ok := language.ParseVersion(name); ok {
			versions = append(versions, name)
		}
	}
	slices.SortFunc(versions, func(a, b string) int {
		v, _ := language.ParseVersion(a)
		w, _ := language.ParseVersion(b)
		return (v.Major-w.Major)*1000 + v.Minor - w.Minor
	})
	for i, name := range versions {
		if i > 0 && i < len(versions)-1 {
			delete(chosen, name)
		}
	}
	delete(chosen, "debian")
	for version, program := range chosen {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, withPython(program))
		})
	}
}

// TestPythonResultsOfEveryKindHaveTheRightBytes: what a handler returns, and the bytes of it.
func TestPythonResultsOfEveryKindHaveTheRightBytes(t *testing.T) {
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

// TestPythonErrorsHaveTheirCodeTypeAndBody: codes, types and exact bodies, and that the next call works.
func TestPythonErrorsHaveTheirCodeTypeAndBody(t *testing.T) {
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

// TestPythonWorkerAnswersInASpoiledProcess: what user code has done to its process does not keep the worker from
// answering.
func TestPythonWorkerAnswersInASpoiledProcess(t *testing.T) {
	t.Parallel()
	source := `import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
kept = []
def leak():
    while True: kept.append(os.open('/dev/null', 0))
class Exits(Exception):
    def __str__(self): sys.exit('from str')
def handler(e, c):
    if e == 'leak': leak()
    if e == 'leak and go on':
        try: leak()
        except OSError: return 'fine'
    if e == 'path': sys.path[:] = ['/nowhere']; return 'fine'
    if e == 'raise': raise ValueError('v')
    if e == 'exits': raise Exits()
    if e == 'set': return {1}
    if e == 'circle':
        sys.setrecursionlimit(10 ** 6)
        o = []; o.append(o); return o
    return 'fine'
`
	vendored := "import sys, os\nsys.path.insert(0, os.path.dirname(__file__) + '/lib')\n" + source
	cases := map[string]struct {
		source string
		events []string
		wants  string
	}{
		"descriptors":            {source, []string{"leak"}, "4002 OSError"},
		"descriptors, then":      {source, []string{"leak and go on", "raise"}, "4002 ValueError"},
		"descriptors, at last":   {source, []string{"fine", "leak and go on", "raise"}, "4002 ValueError"},
		"descriptors, no result": {source, []string{"leak and go on", "fine"}, "fine"},
		"path":                   {source, []string{"path", "raise"}, "4002 ValueError"},
		"path, no result":        {source, []string{"path", "fine"}, "fine"},
		"path, bad result":       {source, []string{"path", "set"}, "4007 TypeError"},
		"path while loading":     {vendored, []string{"raise"}, "4002 ValueError"},
		"and a bad result":       {vendored, []string{"set"}, "4007 TypeError"},
		"recursion":              {source, []string{"circle"}, "4007 ValueError"},
		"message":                {source, []string{"exits"}, "4002 Exits"},
	}
	onEachPython(t, func(t *testing.T, python option) {
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := startPython(t, map[string]string{"index.py": c.source, "lib/enum.py": "1/0", "lib/threading.py": "1/0"}, python).ready()
				for i, event := range c.events {
					r, err := f.invoke(`"` + event + `"`)
					if i < len(c.events)-1 {
						require.NoError(t, err)
						continue
					}
					got := string(r.Body)
					if err != nil {
						e := fault.From(err)
						got = itoa(e.Code) + " " + e.Type
					}
					require.Equal(t, c.wants, got)
				}
			})
		}
	})
}

// TestPythonStacksOpenNoDescriptorOfTheUser: showing a stack opens no descriptor of the user's, neither a pipe, which
// would block, nor a file, whose lines would be taken for the worker's.
func TestPythonStacksOpenNoDescriptorOfTheUser(t *testing.T) {
	t.Parallel()
	source := `import logging, os, traceback, warnings
fds = [%s for _ in range(4)]
def handler(e, c):
    assert 5 in fds, fds
    traceback.print_stack()
    logging.warning('x', stack_info=True)
    warnings.warn('y', stacklevel=2)
    return ''.join(traceback.format_stack())
`
	onEachPython(t, func(t *testing.T, python option) {
		for name, fds := range map[string]string{"pipe": "os.pipe()[0]", "file": "os.open(os.path.dirname(__file__) + '/secret', 0)"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := startPython(t, map[string]string{"index.py": strings.Replace(source, "%s", fds, 1), "secret": strings.Repeat("secret\n", 3000)}, python).ready()
				inv := f.invocation()
				inv.Deadline = time.Now().Add(10 * time.Second)
				r, err := f.call(inv, "{}")
				require.NoError(t, err)
				require.Contains(t, string(r.Body), `/index.py", line 8, in handler`)
				require.NotContains(t, string(r.Body), "/proc/")
				require.NotContains(t, f.out.String()+string(r.Body), "secret")
			})
		}
	})
}

// TestPythonShortensPathsThatBeginWithTheCodeFolder: the code folder's path is shortened where a path begins with it,
// under each of its names, and nowhere else.
func TestPythonShortensPathsThatBeginWithTheCodeFolder(t *testing.T) {
	t.Parallel()
	source := `import os, sys
def handler(e, c):
    if e == 'real': sys.path.insert(0, os.path.realpath(os.path.dirname(__file__))); import other; other.fail()
    raise OSError(e.replace('CODE', os.path.dirname(__file__)))
`
	f := startPython(t, map[string]string{"index.py": source, "other.py": "def fail(): raise OSError(__file__)\n"}, withLink).ready()
	for text, want := range map[string]string{
		"CODE/a.json": "./a.json", "in CODE": "in .", "'CODE/x'": "'./x'", "CODE: no": ".: no", "(CODE)": "(.)", "file://CODE/x": "file://./x", "PATH=/bin:CODE/bin": "PATH=/bin:./bin", "in CODE.": "in ..",
		"CODE-config/x.json": "", "CODE2/x": "", "CODE.old/x": "", "CODE_/x": "", "CODE~": "", "/srvCODE/x": "/srv", "é CODEé": "", ".CODE/x": "",
	} {
		_, err := f.invoke(`"` + text + `"`)
		e := fault.From(err)
		if want == "" || want == "/srv" {
			want = strings.ReplaceAll(text, "CODE", f.cfg.Function.CodeRoot)
		}
		require.Contains(t, string(e.Body), `"function invocation exception, error: `+strings.Trim(strings.ReplaceAll(quoted(want), "'", "'"), `"`)+`"`, text)
		require.Contains(t, string(e.Body), `File \"./index.py\", line 4, in handler`, text)
	}
	_, err := f.invoke(`"real"`)
	e := fault.From(err)
	require.Contains(t, string(e.Body), `error: ./other.py"`)
	require.Contains(t, string(e.Body), `File \"./other.py\", line 1, in fail`)
}

// withLink gives the code folder to the worker by a link.
func withLink(c *Config) {
	link := c.Function.CodeRoot + "-link"
	if err := os.Symlink(c.Function.CodeRoot, link); err != nil {
		panic(err)
	}
	for i, kv := range c.Env {
		if strings.HasPrefix(kv, "RUNTIME_CODE_ROOT=") {
			c.Env[i] = "RUNTIME_CODE_ROOT=" + link
		}
	}
	c.Function.CodeRoot = link
}

// quoted is text as json.dumps() writes it.
func quoted(text string) string {
	b := []byte{'"'}
	for _, r := range text {
		if r < 0x7f {
			b = append(b, string(r)...)
		} else {
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return string(append(b, '"'))
}

// TestPythonWorkerBearsReplacedFunctions: the worker does not depend on functions that user code has replaced.
func TestPythonWorkerBearsReplacedFunctions(t *testing.T) {
	t.Parallel()
	source := `import builtins, os, sys, threading
met = threading.Barrier(3)
def broken(*_, **__): raise AssertionError('replaced')
def init(c): pass
def handler(e, c):
    met.wait(20)
    print('line')
    return e
os.read = os.readv = os.write = os.close = os._exit = broken
threading.Thread = sys.exit = sys.getdefaultencoding = broken
builtins.callable = builtins.sum = broken
`
	onEachPython(t, func(t *testing.T, python option) {
		f := startPython(t, map[string]string{"index.py": source}, python, withConcurrency(3), withInitializer("index.init")).ready()
		require.NoError(t, f.initialize())
		for _, event := range []string{"1", strings.Repeat("2", 300000)} { // one that comes in pieces, too
			event = `"` + event + `"`
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if r, err := f.invoke(event); err != nil || `"`+string(r.Body)+`"` != event {
						t.Errorf("%.100q, %v", r.Body, err)
					}
				})
			}
			wg.Wait()
		}
		require.Contains(t, f.ended(), "exit code 0")
	})
}

// TestPythonUnfinishedLineSurvivesTheProcessEnd: what print() wrote without the end of a line is there, however the
// process ends.
func TestPythonUnfinishedLineSurvivesTheProcessEnd(t *testing.T) {
	t.Parallel()
	f := startPython(t, map[string]string{"index.py": "import os\ndef handler(e, c):\n  print('last', 'words', end='')\n  os._exit(1)\n"}).ready()
	_, err := f.invoke("{}")
	require.Error(t, err)
	f.logHas("last words")
}

func TestPythonHandlerOfWrongParametersFailsWith4002(t *testing.T) {
	t.Parallel()
	f := startPython(t, map[string]string{"index.py": "def handler(event): return 1"}).ready()
	_, err := f.invoke("{}")
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 4002, e.Code)
	require.Contains(t, string(e.Body), "function invocation exception, error: handler() takes 1 positional argument but 2 were given")
	require.Equal(t, "the handler gets the event and the context: write def handler(event, context)", e.Hint)
	require.Contains(t, string(e.Body), `"stackTrace": []`)
}

func TestPythonResultOfExactlyTheLimitIsAnswered(t *testing.T) {
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

// TestPythonLoadFailureNamesItsCause: what stands in the way of a load, and the words for it.
func TestPythonLoadFailureNamesItsCause(t *testing.T) {
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
			e := startPython(t, c.files, withHandler(c.handler)).loadFails(c.errorType, c.wants)
			require.NotContains(t, string(e.Body), "stackTrace")
		})
	}
}

// TestPythonLoadFailureSaysWhatToDo: the nearest function, and the missing package and how to get it.
func TestPythonLoadFailureSaysWhatToDo(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		files map[string]string
		hint  string
	}{
		"one other function": {map[string]string{"index.py": "import os\nfrom os import getcwd\ndef hello(e, c): return 1"}, "the module defines: hello; set RUNTIME_HANDLER (--handler) to index.hello"},
		"another case":       {map[string]string{"index.py": "def a(): pass\ndef Handler(e, c): return 1"}, "the module defines: a, Handler; set RUNTIME_HANDLER (--handler) to index.Handler"},
		"another file":       {map[string]string{"main.py": "def handler(e, c): return 1"}, "the code folder has no index.py, but main.py: if that has the handler, set --handler main.handler"},
		"several functions":  {map[string]string{"index.py": "def a(): pass\ndef b(): pass"}, "the module defines: a, b"},
		"no function":        {map[string]string{"index.py": "a = 1"}, "the module defines no function: write def handler(...)"},
		"a value":            {map[string]string{"index.py": "def a(): pass\nhandler = {}"}, "handler is of the type dict: it has to be a function"},
		"package":            {map[string]string{"index.py": "import no_such.module"}, "run pip install -t . no_such in the code folder"},
		"listed package":     {map[string]string{"index.py": "import no_such", "requirements.txt": "no_such"}, "run pip install -r requirements.txt -t . in the code folder, with no_such in that file"},
		"part of a package":  {map[string]string{"index.py": "import os.nothing"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hint := startPython(t, c.files).loadError().Hint
			require.Equal(t, c.hint == "", hint == "")
			require.Contains(t, hint, c.hint)
		})
	}
}

// TestPythonFindsModulesAndHidesTheWorker: where modules are found, and that nothing of the worker shows in them.
func TestPythonFindsModulesAndHidesTheWorker(t *testing.T) {
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
		"as an import finds it": {map[string]string{"src/index.py": "def handler(e, c):\n  import src.index\n  return 'fine' if src.index.handler is handler else 'no'"}, "src/index.handler"},
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

// TestPythonContextHasThePlatformsMethodsAndAttributes: methods, properties, types.
func TestPythonContextHasThePlatformsMethodsAndAttributes(t *testing.T) {
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

func TestPythonOutputOfEveryKindIsLoggedOnce(t *testing.T) {
	t.Parallel()
	source := `import sys, logging, os, warnings, threading
print('while loading')
def handler(e, c):
    log = c.getLogger()
    log.info('i %d %s', 1, 'x'); log.debug('hidden'); log.warning('w'); log.error('e %r', {'a': 1}); log.critical('worst')
    log.info('two\nlines'); log.getChild('part').getChild('deeper').info('child')
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
			"while loading\n", inv.RequestID + " INFO i 1 x\n", inv.RequestID + " WARN w\n", inv.RequestID + " ERROR e {'a': 1}\n", " ERROR worst\n", " INFO two\nlines\n", inv.RequestID + " INFO child\n",
			" DEBUG shown\n", " ERROR last\n", " ERROR caught\nTraceback", "ZeroDivisionError: division by zero\n", " INFO [part 0", "] long ü", "ü end\n",
			"\nplain 1\n", "\nto stderr\n", "\npartial\n", "\nbytes\n", "\nlines\n", "\nflushed and ended\n", "surrogate \\udc80\n", "UserWarning: careful\n", inv.RequestID + " WARN root logger\n",
			inv.RequestID + " ERROR library\n", "\nfrom a thread\n", "from the shell\n", "descriptor\n", "original\n", "TypeError write() argument must be str", "no newline",
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

// TestPythonChildLoggersFollowTheContextLogger: children follow the context's logger, and their own settings apply to
// them alone.
func TestPythonChildLoggersFollowTheContextLogger(t *testing.T) {
	t.Parallel()
	source := `import logging
def handler(e, c):
    log = c.getLogger()
    child = log.getChild('x')
    child.debug('hidden'); child.info('first')
    log.setLevel(logging.DEBUG); child.debug('second')
    log.setLevel(logging.INFO); child.debug('hidden')
    child.setLevel(logging.ERROR); child.warning('hidden'); child.error('third'); log.info('fourth')
    logging.disable(logging.INFO); log.info('hidden'); logging.disable(logging.NOTSET)
`
	onEachPython(t, func(t *testing.T, python option) {
		f := startPython(t, map[string]string{"index.py": source}, python).ready()
		for range 2 {
			inv := f.invocation()
			_, err := f.call(inv, "{}")
			require.NoError(t, err)
			for _, want := range []string{" INFO first", " DEBUG second", " ERROR third", " INFO fourth"} {
				f.logHas(inv.RequestID + want + "\n")
			}
		}
		require.NotContains(t, f.out.String(), "hidden")
	})
}

// TestPythonForkedChildKeepsItsLinesWhole: what a forked child prints stays in its lines.
func TestPythonForkedChildKeepsItsLinesWhole(t *testing.T) {
	t.Parallel()
	source := "import os\ndef handler(e, c):\n  pid = os.fork()\n  if pid == 0:\n    print('a', end=''); print('b', end=''); print('c')\n    os._exit(0)\n  os.waitpid(pid, 0)\n"
	f := startPython(t, map[string]string{"index.py": source}).ready()
	_, err := f.invoke("{}")
	require.NoError(t, err)
	f.logHas("abc\n")
}

// TestPythonLinesNameTheirCallsWhenManyRun runs many calls at once, on threads and in the event loop: each line must
// name its own request.
func TestPythonLinesNameTheirCallsWhenManyRun(t *testing.T) {
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
				f.linesNameTheirCalls(calls, 7)
			})
		})
	}
}

func TestPythonInitializerRunsOrFailsWithItsReason(t *testing.T) {
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
			require.NoError(t, f.initialize())
			r, err := f.invoke("{}")
			require.NoError(t, err)
			require.Equal(t, "hello", string(r.Body))
		})
	}
	bad := map[string]struct{ source, message, errorType string }{
		"raise":      {"def init(c): raise ValueError('no db')", "no db", "ValueError"},
		"async":      {"async def init(c): raise ValueError('no db')", "no db", "ValueError"},
		"exit":       {"import sys\ndef init(c): sys.exit('gone')", "sys.exit('gone') was called", "SystemExit"},
		"parameters": {"def init(): pass", "init() takes 0 positional arguments but 1 was given", "TypeError"},
		"missing":    {"", "initializer 'init' not found in module './index.py'", "FunctionConfigError"},
	}
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, map[string]string{"index.py": handler + c.source}, withInitializer("index.init")).ready()
			hookFailed(t, f.initialize(), 4009, "function initialization exception, error: "+c.message, c.errorType, name != "missing")
		})
	}
}

func TestPythonSecretsStayOutOfTheEnvironment(t *testing.T) {
	t.Parallel()
	source := `import os
def handler(e, c): return repr(os.environ) + open('/proc/self/environ').read() + open('/proc/self/cmdline').read()
`
	f := startPython(t, map[string]string{"index.py": source}).ready()
	f.secretsStay()
}

package runtime

import (
	"context"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime/language"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPythonStartsByEveryWayToTheInterpreter: ways to the interpreter.
func TestPythonStartsByEveryWayToTheInterpreter(t *testing.T) {
	t.Parallel()
	lang, err := language.ByName("python")
	require.NoError(t, err)
	path, err := pythonInPath()
	require.NoError(t, err)
	encodings := map[string]string{"index.py": "import sys, json\ndef handler(e, c):\n  print('größe')\n  return json.dumps([open(__file__).encoding.lower().replace('-', ''), sys.stdout.encoding])\n# ü"}
	t.Run("found in PATH", func(t *testing.T) {
		t.Parallel()
		program, err := lang.FindProgram(os.Getenv("PATH"), "", "", nil)
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

// TestPythonThreadAndLoopStateLastsBetweenCalls: what belongs to a thread or a loop keeps working from call to call,
// also after slow calls.
func TestPythonThreadAndLoopStateLastsBetweenCalls(t *testing.T) {
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
				require.NoError(t, f.initialize())
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

// TestPythonCallsThatWaitForEachOtherRun: calls that wait for each other all run, on threads and in the event loop.
func TestPythonCallsThatWaitForEachOtherRun(t *testing.T) {
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

// TestPythonTimeoutSaysWhereTheHandlerWas: the caller gets its answer at the deadline, with the place where the
// handler is stuck.
func TestPythonTimeoutSaysWhereTheHandlerWas(t *testing.T) {
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
				f.timesOut(3*time.Second, c.hint)
				f.logHas("begun")
			})
		}
	}
}

func TestPythonDeathEndsEveryCallWithItsReason(t *testing.T) {
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
			f.dies(16, how, c.message, c.stderr)
			require.NotContains(t, f.Death().Hint, "process.exit")
		})
	}
}

// TestPythonSignalHandlersRunAndMayPrint: handlers of user code run in the main thread, between calls too, and may
// print there.
func TestPythonSignalHandlersRunAndMayPrint(t *testing.T) {
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

// TestPythonFloodLosesNoCallsOrLines: many small calls and many lines, one by one and at once, lose nothing.
func TestPythonFloodLosesNoCallsOrLines(t *testing.T) {
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

// TestPythonPreStopHookRunsInEveryForm: hooks of every form, after calls and without any, on threads and in the event
// loop.
func TestPythonPreStopHookRunsInEveryForm(t *testing.T) {
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
			for calls, events := range [][]string{{}, {"0"}, {"0.02"}, {"0.02", "0.02", "0.02"}} { // then another thread reads
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
					hookFailed(t, err, 4001, "function prestop exception, error: "+c.message, c.errorType, name != "missing")
					f.logHas(id + " ERROR ")
					_, err = f.invoke("0")
					require.NoError(t, err)
				}
			})
		}
	}
}

// TestPythonPreStopTimeoutSaysWhereTheHookWas: what the log says of a hook that was cut off.
func TestPythonPreStopTimeoutSaysWhereTheHookWas(t *testing.T) {
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

// TestRetiredPythonWorkerStillRunsItsPreStopHook: the hook also has its time when no caller waits for the worker's end.
func TestRetiredPythonWorkerStillRunsItsPreStopHook(t *testing.T) {
	t.Parallel()
	f := startPython(t, map[string]string{"index.py": "import time\ndef handler(e, c): pass\ndef stop(c):\n  time.sleep(3)\n  print('hook ended')\n"}, withPreStop("index.stop")).ready()
	_, err := f.invoke("{}")
	require.NoError(t, err)
	f.Retire()
	f.logHas("hook ended")
	<-f.Gone()
}

// TestPythonStopWaitsForARunningHook: a stop waits for a hook that runs already.
func TestPythonStopWaitsForARunningHook(t *testing.T) {
	t.Parallel()
	f := startPython(t, map[string]string{"index.py": "import time\ndef handler(e, c): pass\ndef stop(c):\n  print('hook begins')\n  time.sleep(1)\n  print('hook ended')\n"}, withPreStop("index.stop")).ready()
	_, err := f.invoke("{}")
	require.NoError(t, err)
	f.Retire()
	f.logHas("hook begins")
	f.Stop(time.Now().Add(30 * time.Second))
	f.logHas("hook ended")
}

// TestPythonCallsBehindALongOneAllRun: calls that come together in the moment when a long one ends all run.
func TestPythonCallsBehindALongOneAllRun(t *testing.T) {
	t.Parallel()
	source := `import time
class Slow(dict):
    def __del__(self): time.sleep(0.002)
def handler(e, c):
    if e: time.sleep(0.008)
    return Slow()
`
	f := startPython(t, map[string]string{"index.py": source}, withConcurrency(8)).ready()
	for range 60 {
		_, err := f.invoke("1")
		require.NoError(t, err)
		var calls sync.WaitGroup
		for range 6 {
			calls.Go(func() {
				if _, err := f.invoke("0"); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		require.False(t, t.Failed())
	}
}

// TestLatePythonOutputNamesTheRightCall: what comes behind the answer of its call belongs to the call that runs, if
// calls run one by one; with several it names its own.
func TestLatePythonOutputNamesTheRightCall(t *testing.T) {
	t.Parallel()
	source := `import contextvars, threading
go, done = threading.Event(), threading.Event()
def late(log):
    go.wait(20)
    print('late'); log.info('logged')
    done.set()
def handler(e, c):
    if e == 'go':
        go.set(); done.wait(20)
    else:
        threading.Thread(target=contextvars.copy_context().run, args=(late, c.getLogger())).start()
`
	for _, concurrency := range []int{1, 2} {
		f := startPython(t, map[string]string{"index.py": source}, withConcurrency(concurrency), withIDs).ready()
		first, second := f.invocation(), f.invocation()
		_, err := f.call(first, "{}")
		require.NoError(t, err)
		_, err = f.call(second, `"go"`)
		require.NoError(t, err)
		owner := second.RequestID
		if concurrency > 1 {
			owner = first.RequestID
		}
		f.logHas(owner + " late\n")
		f.logHas(owner + " INFO logged\n")
	}
}

// TestEachPythonThreadOfCallsKeepsItsLoop: asyncio.get_event_loop() finds a loop on each thread that runs calls, and
// the same one again.
func TestEachPythonThreadOfCallsKeepsItsLoop(t *testing.T) {
	t.Parallel()
	handler := `def handler(e, c):
    %s
    loop = asyncio.get_event_loop()
    loop.run_until_complete(asyncio.sleep(0.05))
    met.wait(20)
    assert asyncio.get_event_loop() is loop is loops.setdefault(threading.get_ident(), loop)
    return len(set(map(id, loops.values()))) == len(loops)
`
	for name, source := range map[string]string{
		"imported with the module": "import asyncio, threading\n" + strings.Replace(handler, "%s", "pass", 1),
		"imported by the handler":  "import threading\n" + strings.Replace(handler, "%s", "import asyncio", 1),
	} {
		t.Run(name, func(t *testing.T) {
			onEachPython(t, func(t *testing.T, python option) {
				f := startPython(t, map[string]string{"index.py": source + "loops, met = {}, threading.Barrier(6)\n"}, python, withConcurrency(6)).ready()
				for range 3 {
					var wg sync.WaitGroup
					for range 6 {
						wg.Go(func() {
							if r, err := f.invoke("{}"); err != nil || string(r.Body) != "true" {
								t.Errorf("%q, %v", r.Body, err)
							}
						})
					}
					wg.Wait()
				}
			})
		})
	}
}

// TestPythonThreadsOfTheUserHaveNoLoop: those of the user's own have none, as everywhere.
func TestPythonThreadsOfTheUserHaveNoLoop(t *testing.T) {
	t.Parallel()
	source := `import asyncio, concurrent.futures
def own():
    try: return 'a loop' if asyncio.get_event_loop() else ''
    except RuntimeError: return 'none'
def handler(e, c):
    with concurrent.futures.ThreadPoolExecutor() as pool: return pool.submit(own).result()
`
	f := startPython(t, map[string]string{"index.py": source}, withConcurrency(2)).ready()
	r, err := f.invoke("{}")
	require.NoError(t, err)
	require.Equal(t, "none", string(r.Body))
}

// TestPythonEndRunsHookThenTermThenExit: the hook, then the user's own handler of TERM, then the interpreter's end,
// with a thread that goes on writing. The order is in a file: lines beside such a thread's may be dropped.
func TestPythonEndRunsHookThenTermThenExit(t *testing.T) {
	t.Parallel()
	start := `import asyncio, atexit, os, signal, sys, threading
order = open(os.environ['ORDER'], 'w')
def note(step):
    print(step)
    print(step, file=order, flush=True)
atexit.register(note, 'clean')
def stop(*_):
    note('term')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
def talk():
    while True: print('talk ' * 1000)
`
	for name, source := range map[string]string{
		"threads": start + "def handler(e, c): return 'ok'\ndef end(c):\n  note('hook')\n  threading.Thread(target=talk, daemon=True).start()\n",
		"loop":    start + "async def handler(e, c): return 'ok'\nasync def end(c):\n  note('hook')\n  threading.Thread(target=talk, daemon=True).start()\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			order := filepath.Join(t.TempDir(), "order")
			f := startPython(t, map[string]string{"index.py": source}, withPreStop("index.end"), withEnv("ORDER="+order)).ready()
			_, err := f.invoke("{}")
			require.NoError(t, err)
			f.Stop(time.Now().Add(30 * time.Second))
			require.Contains(t, f.Death().Message, "exit code 0")
			steps, err := os.ReadFile(order)
			require.NoError(t, err)
			require.Equal(t, "hook\nterm\nclean\n", string(steps))
		})
	}
}

// TestPythonKeepsOneLoopAfterASlowInitializer: an asynchronous function keeps to one loop when its initializer was
// slow.
func TestPythonKeepsOneLoopAfterASlowInitializer(t *testing.T) {
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
		require.NoError(t, f.initialize())
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

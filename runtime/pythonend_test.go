package runtime

import (
	"gantry/fault"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestPythonStopEndsTheProcessAsAnyProgram: an orderly stop ends the process as any program in Python: threads, exit
// hooks, streams.
func TestPythonStopEndsTheProcessAsAnyProgram(t *testing.T) {
	t.Parallel()
	const plain = "def handler(e, c): return 'ok'\n"
	const hook = "import asyncio, atexit, io, signal, sys, threading, time\natexit.register(print, 'exit hook')\n"
	cases := map[string]struct{ source, lines string }{
		"exit hook":         {plain, "exit hook\n"},
		"replaced stream":   {"sys.stdout = io.TextIOWrapper(sys.stdout.buffer)\natexit.register(print, 'held', end='')\n" + plain, "heldexit hook\n"},
		"stream of its own": {"out = io.TextIOWrapper(sys.stdout.buffer)\nout.write('written before\\n')\n" + plain, "exit hook\nwritten before\n"},
		"thread": {`go = threading.Event()
def work(): go.wait(20); print('thread')
threading.Thread(target=work).start()
atexit.register(print, 'then')
def handler(e, c): go.set()
`, "thread\nthen\nexit hook\n"},
		"after a long call": {"def handler(e, c): time.sleep(0.05)\n", "exit hook\n"},
		"handler of TERM":   {"signal.signal(signal.SIGTERM, lambda *_: print('term'))\n" + plain, "term\nexit hook\n"},
		"handler that exits": {`def stop(*_): print('term'); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
` + plain, "term\nexit hook\n"},
		"handler after a long call": {"signal.signal(signal.SIGTERM, lambda *_: print('term'))\ndef handler(e, c): time.sleep(0.05)\n", "term\nexit hook\n"},
		"handler that lets a thread end": {`stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
def work(): stop.wait(20); print('thread')
threading.Thread(target=work).start()
` + plain, "thread\nexit hook\n"},
		"TERM ignored": {"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + plain, "exit hook\n"},
		"loop":         {"async def handler(e, c): return 'ok'\n", "exit hook\n"},
		"loop with a task": {`async def background():
    try: await asyncio.sleep(1000)
    finally: print('task')
async def handler(e, c):
    global task
    task = asyncio.ensure_future(background())
    await asyncio.sleep(0)
`, "task\nexit hook\n"},
		"handler of a loop": {`async def shut():
    await asyncio.sleep(0.05); print('shut')
def stop():
    print('term'); stop.task = asyncio.ensure_future(shut())
async def handler(e, c): asyncio.get_event_loop().add_signal_handler(signal.SIGTERM, stop)
`, "term\nshut\nexit hook\n"},
		"handler that cancels all and stops": {`async def shut():
    others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for t in others: t.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    print('shut'); asyncio.get_event_loop().stop()
async def handler(e, c):
    handler.task = asyncio.ensure_future(asyncio.sleep(1000))
    asyncio.get_event_loop().add_signal_handler(signal.SIGTERM, lambda: setattr(handler, 'end', asyncio.ensure_future(shut())))
`, "shut\nexit hook\n"},
		"hook that wants the loop": {`async def close(): print('closed')
async def handler(e, c): atexit.register(lambda: loop.run_until_complete(close()))
loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop)
`, "closed\nexit hook\n"},
	}
	onEachPython(t, func(t *testing.T, python option) {
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := startPython(t, map[string]string{"index.py": hook + c.source}, python).ready()
				_, err := f.invoke("{}")
				require.NoError(t, err)
				require.Contains(t, f.ended(), "exit code 0")
				require.Equal(t, c.lines, f.out.String())
			})
		}
	})
}

// TestPythonStopRunsExitHooksWithoutACall: the same without a call.
func TestPythonStopRunsExitHooksWithoutACall(t *testing.T) {
	t.Parallel()
	for want, handler := range map[string]string{
		"exit hook\n":       "def handler(e, c): pass\ndef init(c): pass\n",
		"task\nexit hook\n": "async def handler(e, c): pass\nasync def init(c):\n  global task\n  task = asyncio.ensure_future(work())\n  await asyncio.sleep(0)\nasync def work():\n  try: await asyncio.sleep(100)\n  finally: print('task')\n",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, map[string]string{"index.py": "import asyncio, atexit\natexit.register(print, 'exit hook')\n" + handler}, withInitializer("index.init")).ready()
			require.NoError(t, f.initialize())
			require.Contains(t, f.ended(), "exit code 0")
			require.Equal(t, want, f.out.String())
		})
	}
}

// TestPythonExitCodeCountsWhenChildHoldsSocket: how the process ended counts, also if a child of its own keeps
// descriptor 4 open.
func TestPythonExitCodeCountsWhenChildHoldsSocket(t *testing.T) {
	t.Parallel()
	source := "import os, subprocess\ndef handler(e, c):\n  subprocess.Popen(['sleep', '5'], start_new_session=True, pass_fds=[4])\n  os._exit(7)\n"
	for range 8 { // which of two reasons was taken had been chance
		t.Run("", func(t *testing.T) {
			t.Parallel()
			f := startPython(t, map[string]string{"index.py": source}).ready()
			_, err := f.invoke("{}")
			var e *fault.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, e.Message, "exit code 7")
		})
	}
}

// TestLastLinesOfEndedPythonWorkerAreNotLost: lines that an ended process has left in its socket are not lost to an
// agent that is busy meanwhile.
func TestLastLinesOfEndedPythonWorkerAreNotLost(t *testing.T) {
	t.Parallel()
	source := `import os, time
def handler(e, c):
    while not os.path.exists(e): time.sleep(0.001)
    for i in range(300): print('line', i, 'x' * 300)
    os._exit(7)
`
	f := startPython(t, map[string]string{"index.py": source}).ready()
	file := filepath.Join(t.TempDir(), "go")
	done := make(chan error, 1)
	go func() {
		_, err := f.invoke(quoted(file))
		done <- err
	}()
	calls := &f.transport.(*frames).calls
	require.Eventually(t, func() bool { return calls.only() != nil }, 10*time.Second, time.Millisecond)
	calls.mu.Lock() // the reader waits for it at the first line
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	<-f.proc.Exited()
	<-time.After(2 * drainDelay) // the time that the agent does nothing in
	calls.mu.Unlock()
	require.ErrorContains(t, <-done, "exit code 7")
	for i := range 300 {
		f.logHas("line " + itoa(i) + " x")
	}
}

// TestBusyPythonWorkerGetsTermLongBeforeKill: one whose main thread does not come back gets TERM, long before KILL.
func TestBusyPythonWorkerGetsTermLongBeforeKill(t *testing.T) {
	t.Parallel()
	f := startPython(t, map[string]string{"index.py": "def handler(e, c):\n  while True: pass\n"}).ready()
	f.timesOut(300*time.Millisecond, "")
	f.Stop(time.Now().Add(10 * time.Second))
	require.Contains(t, f.Death().Message, unix.SignalName(unix.SIGTERM))
}

// TestPythonStopAnswersRunningCallsFirst: calls on other threads are answered first.
func TestPythonStopAnswersRunningCallsFirst(t *testing.T) {
	t.Parallel()
	source := "import atexit, threading, time\natexit.register(print, 'exit hook')\nmet = threading.Barrier(3)\ndef handler(e, c):\n  met.wait(20); print('met'); time.sleep(0.2)\n  return 'done'\n"
	f := startPython(t, map[string]string{"index.py": source}, withConcurrency(3)).ready()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if r, err := f.invoke("{}"); err != nil || string(r.Body) != "done" {
				t.Errorf("%q, %v", r.Body, err)
			}
		})
	}
	require.Eventually(t, func() bool { return strings.Count(f.out.String(), "met\n") == 3 }, 20*time.Second, time.Millisecond)
	require.Contains(t, f.ended(), "exit code 0")
	wg.Wait()
	require.True(t, strings.HasSuffix(f.out.String(), "exit hook\n"), f.out)
}

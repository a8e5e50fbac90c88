package runtime

import (
	"bufio"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/runtime/hang"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func withExamination() option { return func(c *Config) { c.Examine = true } }

// hangs makes a call that does not end within a short time, and returns what is found.
func (f *fixture) hangs(event string) *hang.Evidence {
	f.t.Helper()
	inv := f.invocation()
	inv.Deadline = time.Now().Add(400 * time.Millisecond)
	_, err := f.call(inv, event)
	var e *fault.Error
	require.ErrorAs(f.t, err, &e)
	require.Equal(f.t, fault.Timeout, e.Kind)
	found := f.Hang()
	require.NotNil(f.t, found)
	require.Same(f.t, found, f.Hang(), "it is looked at once")
	return found
}

// seen has workers hang until enough is found: on a busy machine the time may not do for all of it.
func seen(start func() *fixture, event string, enough func(*hang.Evidence) bool) (*fixture, *hang.Evidence) {
	for until := time.Now().Add(2 * time.Minute); ; {
		f := start()
		e := f.hangs(event)
		if enough(e) || time.Now().After(until) {
			return f, e
		}
		f.Stop(time.Now().Add(time.Second))
	}
}

// complete looks for a kind, with all that can be found.
func complete(kind hang.Kind) func(*hang.Evidence) bool {
	return func(e *hang.Evidence) bool { return e.Kind == kind && len(e.Missing) == 0 }
}

func ofKind(kind hang.Kind) func(*hang.Evidence) bool {
	return func(e *hang.Evidence) bool { return e.Kind == kind }
}

// users are the user's frames.
func users(e *hang.Evidence) (all []hang.Frame) {
	for _, f := range e.Frames {
		if f.User {
			all = append(all, f)
		}
	}
	return all
}

// places are the user's frames, as function and line.
func places(e *hang.Evidence) (all []string) {
	for _, f := range users(e) {
		all = append(all, fmt.Sprintf("%s %s:%d", f.Function, filepath.Base(f.File), f.Line))
	}
	return all
}

// peer is another program that takes connections and never answers, and a socket that takes no more of them.
func peer(t *testing.T) (silent, full string) {
	t.Helper()
	path, err := pythonInPath()
	require.NoError(t, err)
	cmd := exec.Command(path, "-c", `
import socket, time
silent, full, others = socket.create_server(("127.0.0.1", 0)), socket.socket(), []
full.bind(("127.0.0.1", 0))
full.listen(0)
for _ in range(4):
    others.append(socket.socket())
    others[-1].setblocking(False)
    others[-1].connect_ex(full.getsockname())
print(silent.getsockname()[1], full.getsockname()[1], flush=True)
while True:
    others.append(silent.accept())
`)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	ports := strings.Fields(line)
	require.Len(t, ports, 2)
	return "127.0.0.1:" + ports[0], "127.0.0.1:" + ports[1]
}

const hangingJS = `'use strict';
function spin() {
  for (;;) Math.random();
}
const [host, port] = ['127.0.0.1', (e) => Number(e.addr.split(':')[1])];
const ways = {
  busy: () => spin(),
  sleep: () => new Promise(() => {}),
  never: () => new Promise(() => {}),
  timer: () => new Promise((resolve) => setTimeout(resolve, 1e6)),
  exec: () => require('child_process').execSync('exec sleep 1000'),
  connect: (e) => new Promise(() => require('net').connect(port(e), host)),
  handler: () => { process.on('SIGUSR1', () => console.log('the handler ran')); process.kill(process.pid, 'SIGUSR1'); return new Promise(() => {}); },
  busyHandler: () => { process.once('SIGUSR1', () => console.log('the handler ran')); spin(); },
};
exports.handler = async (event, context) => {
  await ways[event.way](event);
};
`

func onEachNode(t *testing.T, test func(t *testing.T, node option)) {
	t.Helper()
	for version, program := range nodes(t) {
		t.Run(version, func(t *testing.T) { test(t, withNode(program)) })
	}
}

// TestNodeLoopsHaveTheirStack: where a loop is, in every Node.js, and none of it in the function's log.
func TestNodeLoopsHaveTheirStack(t *testing.T) {
	onEachNode(t, func(t *testing.T, node option) {
		start := func() *fixture {
			return startWorker(t, map[string]string{"index.js": hangingJS}, node, withExamination()).ready()
		}
		f, e := seen(start, `{"way":"busy"}`, func(e *hang.Evidence) bool { return complete(hang.Busy)(e) && e.CPU > 0 })
		require.Equal(t, hang.Busy, e.Kind)
		require.Positive(t, e.CPU)
		require.Empty(t, e.Missing)
		require.Equal(t, "spin index.js:3", places(e)[0])
		require.Contains(t, e.Frames[len(e.Frames)-1].Function, "handler")
		require.Equal(t, f.cfg.Function.CodeRoot+"/index.js", users(e)[0].File)
		require.Empty(t, e.Sockets, "the inspector's are not there yet")
		require.Empty(t, e.Children)
		require.False(t, e.ResourcesKnown)
		f.Stop(time.Now().Add(time.Second))
		require.Empty(t, f.out.String())
	})
}

// TestNodeModulesHaveTheirStack: files of ES modules have URLs in Node.js, and paths here; what is in node_modules is
// not the user's own.
func TestNodeModulesHaveTheirStack(t *testing.T) {
	files := map[string]string{
		"index.mjs":                     "import {each} from 'lib';\nexport const handler = async (event, context) => {\n  each(() => { for (;;) Math.random(); });\n};\n",
		"node_modules/lib/index.mjs":    "export function each(f) { f(); }\n",
		"node_modules/lib/package.json": `{"exports":"./index.mjs"}`,
	}
	f, e := seen(func() *fixture { return startWorker(t, files, withExamination()).ready() }, "{}", complete(hang.Busy))
	frames := slices.DeleteFunc(e.Frames, func(frame hang.Frame) bool { return !strings.HasPrefix(frame.File, f.cfg.Function.CodeRoot) })
	require.Len(t, frames, 3, e.Missing)
	require.Equal(t, hang.Frame{File: f.cfg.Function.CodeRoot + "/index.mjs", Line: 3, User: true}, frames[0])
	require.Equal(t, hang.Frame{Function: "each", File: f.cfg.Function.CodeRoot + "/node_modules/lib/index.mjs", Line: 1}, frames[1])
	require.True(t, frames[2].User)
}

// TestNodeWaitsAreSeen: what a call waits for that passes its deadline, in the oldest and the newest Node.js.
func TestNodeWaitsAreSeen(t *testing.T) {
	silent, full := peer(t)
	all := nodes(t)
	for _, version := range []string{slices.Min(slices.Collect(maps.Keys(all))), slices.Max(slices.DeleteFunc(slices.Collect(maps.Keys(all)), func(v string) bool { return v == "path" && len(all) > 1 }))} {
		start := func() *fixture {
			return startWorker(t, map[string]string{"index.js": hangingJS}, withNode(all[version]), withExamination()).ready()
		}
		t.Run(version+": a promise that nothing can settle", func(t *testing.T) {
			f, e := seen(start, `{"way":"never"}`, complete(hang.Waiting))
			require.Equal(t, hang.Waiting, e.Kind)
			require.Empty(t, e.Frames)
			require.Empty(t, e.Resources)
			require.Equal(t, hasResources(t, f), e.ResourcesKnown)
			f.Stop(time.Now().Add(time.Second))
			require.Empty(t, f.out.String())
		})
		t.Run(version+": a timer", func(t *testing.T) {
			f, e := seen(start, `{"way":"timer"}`, complete(hang.Waiting))
			if hasResources(t, f) {
				require.Equal(t, []string{"Timeout"}, e.Resources)
			}
		})
		t.Run(version+": a connection that gets no answer", func(t *testing.T) {
			for addr, state := range map[string]string{silent: "ESTABLISHED", full: "SYN-SENT"} {
				_, e := seen(start, `{"way":"connect","addr":"`+addr+`"}`, complete(hang.Waiting))
				require.Equal(t, hang.Waiting, e.Kind)
				require.Len(t, e.Sockets, 1)
				require.Equal(t, state, e.Sockets[0].State)
				require.Equal(t, netip.MustParseAddrPort(addr), e.Sockets[0].Remote)
			}
		})
		t.Run(version+": a child", func(t *testing.T) {
			_, e := seen(start, `{"way":"exec"}`, ofKind(hang.Waiting))
			require.Equal(t, hang.Waiting, e.Kind)
			require.NotEmpty(t, e.Children)
			require.Equal(t, "sleep", e.Children[len(e.Children)-1].Name)
			require.False(t, e.ResourcesKnown, "the loop is not free")
		})
		t.Run(version+": the user's handler for USR1 is left alone", func(t *testing.T) {
			f := start()
			e := f.hangs(`{"way":"handler"}`)
			require.Contains(t, strings.Join(e.Missing, "\n"), "has a handler for USR1")
			f.Stop(time.Now().Add(time.Second))
			require.Equal(t, 1, strings.Count(f.out.String(), "the handler ran"), "by the user's signal only: %s", f.out)
			f = start()
			e = f.hangs(`{"way":"busyHandler"}`)
			require.Contains(t, strings.Join(e.Missing, "\n"), "has a handler for USR1")
			f.Stop(time.Now().Add(time.Second))
			require.Empty(t, f.out.String())
		})
	}
}

// hasResources reports whether a Node.js can list what keeps its loop alive.
func hasResources(t *testing.T, f *fixture) bool {
	t.Helper()
	var major, minor int
	_, err := fmt.Sscanf(nodeVersion(t, f.cfg.Program), "%d.%d", &major, &minor)
	require.NoError(t, err)
	return major > 17 || major == 17 && minor >= 3
}

// TestNodeThatIsDebuggedIsLeftAlone: with the inspector in NODE_OPTIONS its port is the user's.
func TestNodeThatIsDebuggedIsLeftAlone(t *testing.T) {
	f := startWorker(t, map[string]string{"index.js": hangingJS}, withExamination(), withEnv("NODE_OPTIONS=--inspect-port=0")).ready()
	e := f.hangs(`{"way":"busy"}`)
	require.Contains(t, strings.Join(e.Missing, "\n"), "NODE_OPTIONS has --inspect")
}

const hangingPython = `import asyncio, select, signal, socket, subprocess, time

def spin():
    while True:
        pass

def connect(e):
    s = socket.create_connection(("127.0.0.1", int(e["addr"].split(":")[1])))
    return s.recv(1)

def handler(event, context):
    if event["way"] == "busy":
        spin()
    elif event["way"] == "sleep":
        time.sleep(1000)
    elif event["way"] == "child":
        subprocess.run(["sleep", "1000"])
    elif event["way"] == "usr1":
        signal.signal(signal.SIGUSR1, lambda *_: print("the handler ran"))
        time.sleep(1000)
    connect(event)

async def rest():
    await asyncio.sleep(1000)

async def later(event, context):
    await rest()
`

// TestPythonHangsAreSeen: the stack of what is busy and of what waits, also in an asynchronous handler.
func TestPythonHangsAreSeen(t *testing.T) {
	silent, full := peer(t)
	onEachPython(t, func(t *testing.T, python option) {
		for event, want := range map[string][]string{
			`{"way":"busy"}`:  {"spin index.py:", "handler index.py:13"},
			`{"way":"sleep"}`: {"handler index.py:15"},
			`{"way":"child"}`: {"handler index.py:17"},
			`{"way":"usr1"}`:  {"handler index.py:20"},
			`{"way":"connect","addr":"` + silent + `"}`: {"connect index.py:9", "handler index.py:21"},
			`{"way":"connect","addr":"` + full + `"}`:   {"connect index.py:8", "handler index.py:21"},
			`later`: {"rest index.py:24", "later index.py:27"},
		} {
			handler := option(func(*Config) {})
			if event == "later" {
				handler, event = withHandler("index.later"), "{}"
			}
			start := func() *fixture {
				return startWorker(t, map[string]string{"index.py": hangingPython}, python, withExamination(), handler).ready()
			}
			kind := hang.Waiting
			if strings.Contains(event, "busy") {
				kind = hang.Busy
			}
			f, e := seen(start, event, complete(kind))
			require.Equal(t, kind, e.Kind)
			got := places(e)
			require.Len(t, got, len(want), "%s: %v %v", event, e.Frames, e.Missing)
			for i := range want {
				require.True(t, strings.HasPrefix(got[i], want[i]), "%s: %v", event, got)
			}
			if strings.Contains(event, "child") {
				require.Len(t, e.Children, 1)
				require.Equal(t, "sleep", e.Children[0].Name)
			}
			if strings.Contains(event, "connect") {
				require.Len(t, e.Sockets, 1)
				require.Equal(t, strings.Contains(event, full), e.Sockets[0].State == "SYN-SENT")
			}
			f.Stop(time.Now().Add(time.Second))
			require.NotContains(t, f.out.String(), "index.py:1", "no stack in the log: %s", f.out)
			require.NotContains(t, f.out.String(), "the handler ran")
		}
	})
}

// TestGoHangsAreSeen: the goroutine of the handler, of a function of ours; the dump is not in the log.
func TestGoHangsAreSeen(t *testing.T) {
	silent, full := peer(t)
	for event, want := range map[string][]string{
		`{"way":"busy"}`:  {"main.spin main.go:", "main.handle main.go:"},
		`{"way":"sleep"}`: {"main.rest main.go:", "main.handle main.go:"},
		`{"way":"connect","addr":"` + silent + `"}`: {"main.connect main.go:", "main.handle main.go:"},
		`{"way":"connect","addr":"` + full + `"}`:   {"main.connect main.go:", "main.handle main.go:"},
	} {
		start := func() *fixture { return startGo(t, goProgram(t, "./testdata/hang"), withExamination()).ready() }
		kind := hang.Waiting
		if strings.Contains(event, "busy") {
			kind = hang.Busy
		}
		f, e := seen(start, event, complete(kind))
		require.Equal(t, kind, e.Kind)
		got := places(e)
		require.Len(t, got, len(want), "%s: %v %v", event, e.Frames, e.Missing)
		for i := range want {
			require.True(t, strings.HasPrefix(got[i], want[i]), "%s: %v", event, got)
		}
		if strings.Contains(event, "connect") {
			require.Len(t, e.Sockets, 1, "the agent's are left out")
			require.Equal(t, strings.Contains(event, full), e.Sockets[0].State == "SYN-SENT")
		}
		require.NotEqual(t, Gone, f.State(), "it goes on")
		f.Stop(time.Now().Add(time.Second))
		require.Empty(t, f.out.String(), "%s", event)
	}
}

// TestExaminationOfWhatDoesNotReactEndsInTime: a worker that is stopped is left alone, and one that stops meanwhile is
// not waited for.
func TestExaminationOfWhatDoesNotReactEndsInTime(t *testing.T) {
	js, py := map[string]string{"index.js": hangingJS}, map[string]string{"index.py": hangingPython}
	for name, f := range map[string]*fixture{
		"Node.js": startWorker(t, js, withExamination()).ready(),
		"Python":  startPython(t, py, withExamination()).ready(),
		"Go":      startGo(t, goProgram(t, "./testdata/hang"), withExamination()).ready(),
	} {
		require.NoError(t, f.Signal(unix.SIGSTOP))
		e := f.hangs(`{"way":"busy"}`)
		require.Equal(t, hang.Unknown, e.Kind, name)
		require.Contains(t, strings.Join(e.Missing, "\n"), "stopped by a signal", name)
		require.Less(t, e.Took, hang.Limit+500*time.Millisecond, name)
		f.Stop(time.Now().Add(time.Second))
		<-f.Gone()
	}
}

// TestNothingIsExaminedUnasked: without the option there is no evidence, no descriptor and no argument more.
func TestNothingIsExaminedUnasked(t *testing.T) {
	for name, f := range map[string]*fixture{
		"Node.js": startWorker(t, map[string]string{"index.js": hangingJS}).ready(),
		"Python":  startPython(t, map[string]string{"index.py": hangingPython}).ready(),
	} {
		words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", f.PID()))
		require.NoError(t, err)
		require.NotContains(t, string(words), "inspect", name)
		require.NotContains(t, string(words), "faulthandler", name)
		require.False(t, f.proc.Catches(unix.Signal(64)), name)
		inv := f.invocation()
		inv.Deadline = time.Now().Add(300 * time.Millisecond)
		_, err = f.call(inv, `{"way":"sleep"}`)
		var e *fault.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, fault.Timeout, e.Kind, name)
		require.Nil(t, f.Hang(), name)
	}
}

// TestSDKHangsAreSeen: likewise for a program of the platform's Go SDK, whose port is the agent's.
func TestSDKHangsAreSeen(t *testing.T) {
	for event, kind := range map[string]hang.Kind{`{"do":"sleep","ms":100000}`: hang.Waiting, `{"do":"loop"}`: hang.Busy} {
		f, e := seen(func() *fixture { return startSDK(t, withExamination()).ready() }, event, complete(kind))
		require.Equal(t, kind, e.Kind, event)
		require.NotEmpty(t, places(e), "%v", e.Missing)
		require.Contains(t, places(e)[0], " main.go:")
		require.Empty(t, e.Sockets)
		f.Stop(time.Now().Add(time.Second))
		require.NotContains(t, f.out.String(), "goroutine")
	}
}

// TestExaminationComesBeforeTheEnd: the call is asked to end after it was looked at, and nothing is left behind.
func TestExaminationComesBeforeTheEnd(t *testing.T) {
	f, e := seen(func() *fixture {
		f := startPython(t, map[string]string{"index.py": hangingPython}, withExamination(), withHandler("index.later")).ready()
		require.True(t, f.Acquire())
		return f
	}, "{}", func(e *hang.Evidence) bool { return len(e.Frames) > 0 })
	require.NotEmpty(t, e.Frames, e.Missing)
	require.Equal(t, "rest index.py:24", places(e)[0])
	f.Retire()
	f.Release()
	require.Eventually(t, func() bool { return strings.Contains(f.out.String(), "CancelledError") }, 10*time.Second, time.Millisecond, "then it is canceled")
	<-f.Gone()
	require.Eventually(t, func() bool { return errors.Is(unix.Kill(f.PID(), 0), unix.ESRCH) }, 10*time.Second, time.Millisecond)
	_, err := f.exam.dump.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrClosed)
}

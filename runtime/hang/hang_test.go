package hang

import (
	"context"
	"gantry/process"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestTracebackLinesAreRead: what faulthandler writes, and the marks that end it.
func TestTracebackLinesAreRead(t *testing.T) {
	cases := []struct {
		line string
		want *Frame
		last bool
	}{
		{`  File "/code/index.py", line 6 in handler`, &Frame{Function: "handler", File: "/code/index.py", Line: 6}, false},
		{`  File "/code/\xfc\u2603\U0001f600\x00.py", line ??? in <lambda>`, &Frame{Function: "<lambda>", File: "/code/ü☃😀\x00.py"}, false},
		{`  File "<gantry>", line 9 in serve`, &Frame{Function: "serve", File: "<gantry>", Line: 9}, false},
		{`  File "<string>", line 1 in <module>`, &Frame{Function: "<module>", File: "<string>", Line: 1}, true},
		{`  File "<string>", line 1 in f`, &Frame{Function: "f", File: "<string>", Line: 1}, false},
		{"  ...", nil, true},
		{"Stack (most recent call first):", nil, false},
		{"", nil, false},
	}
	for _, c := range cases {
		got, last := parseTraceback(c.line)
		require.Equal(t, c.want, got, c.line)
		require.Equal(t, c.last, last, c.line)
	}
}

// TestStacksAreCutAtTheUsersFrames: the worker's frames go, and so does what is older than the code folder's oldest.
func TestStacksAreCutAtTheUsersFrames(t *testing.T) {
	root := t.TempDir()
	link := filepath.Join(t.TempDir(), "code")
	require.NoError(t, os.Symlink(root, link))
	code := NewCode(link+"/", []string{"node_modules"}, []string{"node:gantry"})
	file := func(name string) Frame { return Frame{File: name, Line: 1} }
	cut := code.Cut([]Frame{
		file("node:net"), file(root + "/node_modules/x/i.js"), file("node:gantry"), file(link + "/a.js"), file(link + "-b/a.js"), file("/lib/x"),
	})
	require.Equal(t, []Frame{
		file("node:net"), file(root + "/node_modules/x/i.js"), {File: link + "/a.js", Line: 1, User: true},
	}, cut)
	require.Empty(t, code.Cut([]Frame{file("node:net"), file("node:gantry"), file("/lib/x")}))
	require.Empty(t, code.Cut(nil))
}

const dump = `PC=0x47e8a1 m=0 sigcode=0

goroutine 0 gp=0x5c1 m=0 mp=0x5c2 [idle]:
runtime.futex(0x5c, 0x80)
	/usr/local/go/src/runtime/sys_linux_amd64.s:557 +0x21 fp=0x7ff sp=0x7fe pc=0x47e

goroutine 1 gp=0xc0000061c0 m=nil [IO wait]:
runtime.gopark(0x0?, 0x0?, 0x0?, 0x0?, 0x0?)
	/usr/local/go/src/runtime/proc.go:462 +0xce
internal/poll.(*FD).Read(0xc00, {0xc0, 0x10000, 0x10000})
	/usr/local/go/src/internal/poll/fd_unix.go:165 +0x279
gantry/function/frame.(*Reader).fill(0xc0)
	/m/function/frame/frame.go:153 +0x1
gantry/function.(*worker).serve(0xc00)
	/m/function/worker.go:60 +0x1
main.main()
	/code/main.go:10 +0x18

goroutine 7 gp=0xc m=nil [select, 2 minutes]:
net/http.(*persistConn).readLoop(0xc00)
	/usr/local/go/src/net/http/transport.go:2238 +0x1
created by net/http.(*Transport).dialConn in goroutine 9
	/usr/local/go/src/net/http/transport.go:1800 +0x1

goroutine 8 gp=0xc m=nil [chan receive]:
example.com/app/pool.(*Pool).run(...)
	/code/pool/pool.go:30
created by example.com/app/pool.New in goroutine 1
	/code/pool/pool.go:20 +0x1

goroutine 9 gp=0xc m=nil [sync.WaitGroup.Wait]:
runtime.gopark(0x0?, 0x0?, 0x0?, 0x0?, 0x0?)
	/usr/local/go/src/runtime/proc.go:462 +0xce
sync.(*WaitGroup).Wait(0xc0)
	/usr/local/go/src/sync/waitgroup.go:118 +0x1
golang.org/x/sync/errgroup.(*Group).Wait(0xc00)
	/root/go/pkg/mod/golang.org/x/sync@v0.10.0/errgroup/errgroup.go:56 +0x1
main.handle.func1({0x1, 0x2})
	/code/main.go:20 +0x1
main.handle({0x6c, 0xc}, {{0xc, 0x4}, {0x0, 0x0}})
	/code/main.go:18 +0x1
gantry/function.(*function).handle(0xc)
	/m/function/call.go:70 +0x1
created by gantry/function.(*worker).begin in goroutine 1
	/m/function/worker.go:120 +0x1

rax    0xca
`

// TestTheHandlersGoroutineIsPicked: it is the one that the worker called, unless another one with code of the user runs.
func TestTheHandlersGoroutineIsPicked(t *testing.T) {
	g := &Goroutines{Worker: []string{"gantry/function.", "gantry/function/"}}
	require.Equal(t, []Frame{
		{Function: "sync.(*WaitGroup).Wait", File: "/usr/local/go/src/sync/waitgroup.go", Line: 118},
		{Function: "golang.org/x/sync/errgroup.(*Group).Wait", File: "/root/go/pkg/mod/golang.org/x/sync@v0.10.0/errgroup/errgroup.go", Line: 56},
		{Function: "main.handle.func1", File: "/code/main.go", Line: 20, User: true},
		{Function: "main.handle", File: "/code/main.go", Line: 18, User: true},
	}, g.pick(parseDump(dump)))
	loop := strings.Replace(dump, "[chan receive]", "[runnable]", 1)
	require.Equal(t, "example.com/app/pool.(*Pool).run", g.pick(parseDump(loop))[0].Function)
	require.Empty(t, g.pick(parseDump("")))
	require.Empty(t, g.pick(parseDump("goroutine 1 [running]:\nmain.f(\n")))
}

// FuzzParseDump: what a program prints may be anything.
func FuzzParseDump(f *testing.F) {
	f.Add(dump)
	f.Add("goroutine 99999999999999999999 [x]:\nf(\n\ta:99999999999999999999\n")
	f.Fuzz(func(_ *testing.T, text string) {
		(&Goroutines{}).pick(parseDump(text))
		for line := range strings.Lines(text) {
			parseTraceback(line)
		}
	})
}

// TestDiversionTakesOnlyWhatItIsFor: nothing before the examination, then the lines of the inspector, or a dump to its
// end; the beginning of a line stays the function's.
func TestDiversionTakesOnlyWhatItIsFor(t *testing.T) {
	d := NewDiversion()
	const url = "ws://127.0.0.1:40937/68be96d0-3c3f-44ec-9205-c0c29489972f"
	check := func(text, rest string) {
		t.Helper()
		got, ok := d.Take([]byte(text))
		require.Equal(t, rest, string(got))
		require.Equal(t, rest != "" || text == "" && ok, ok)
	}
	check("Debugger listening on "+url, "Debugger listening on "+url)
	d.begin(inspecting)
	check("mine", "mine")
	check("", "")
	check("mine: Debugger listening on "+url, "mine: ")
	check("For help, see: https://nodejs.org/en/docs/inspector", "")
	check("Debugger attached.", "")
	check("Debugger attached. mine", "Debugger attached. mine")
	check("Waiting for the debugger to disconnect...", "")
	require.Equal(t, url, <-d.url)
	d.begin(quitting)
	check("mine", "mine")
	check("half a lineSIGQUIT: quit", "half a line")
	check("PC=0x1", "")
	_, ok := d.Take(nil)
	require.False(t, ok)
	check("goroutine 1", "")
	require.Equal(t, "PC=0x1\n\ngoroutine 1\n", d.dumped())
}

func start(t *testing.T, script string) *process.Process {
	t.Helper()
	s := process.NewSupervisor(false)
	p, err := s.Start(&process.Command{
		Name: "child", Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}, UID: -1, GID: -1,
		Output: func(_ string, r *os.File) { _, _ = r.Read(make([]byte, 1)) },
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, p.End())
		s.Close()
	})
	return p
}

// TestAnyProgramShowsWhatItAndItsChildrenDo: without a way to its stack.
func TestAnyProgramShowsWhatItAndItsChildrenDo(t *testing.T) {
	for script, want := range map[string][2]Kind{
		"sleep 1000 & wait":                      {Waiting, Waiting},
		"sh -c 'while :; do :; done' & wait":     {Waiting, Busy},
		"sleep 1000 & while :; do :; done":       {Busy, Waiting},
		"sleep 1000 & kill -STOP $!; wait; true": {Waiting, Unknown},
	} {
		p := start(t, script)
		var e *Evidence
		require.Eventually(t, func() bool {
			e = Examine(p, nil)
			return len(e.Children) == 1 && e.Kind == want[0] && e.Children[0].Kind == want[1]
		}, 30*time.Second, time.Millisecond, script)
		if e.Kind == Waiting && e.Children[0].Kind == Waiting {
			require.Less(t, e.CPU, e.Over/2, script)
		}
		require.Contains(t, e.Missing[0], "no way to ask")
	}
}

// TestExaminationsEndInTime: whatever the stack does, whatever the process does.
func TestExaminationsEndInTime(t *testing.T) {
	patient := func(ctx context.Context, _ *Evidence) error { <-ctx.Done(); return ctx.Err() }
	p := start(t, "sleep 1000 & wait")
	e := Examine(p, patient)
	require.GreaterOrEqual(t, e.Took, Limit)
	require.Less(t, e.Took, Limit+time.Second, "but for a busy machine it would be a moment")
	require.Contains(t, e.Missing, "stack: context deadline exceeded")
	require.NoError(t, p.SignalThread(0, unix.SIGSTOP))
	require.Eventually(t, func() bool { return p.Tree()[0].Stopped }, 10*time.Second, time.Millisecond)
	e = Examine(p, patient)
	require.Equal(t, Unknown, e.Kind)
	require.NotContains(t, strings.Join(e.Missing, " "), "deadline", "its stack is not waited for")
	require.NoError(t, p.Kill())
	<-p.Done()
	e = Examine(p, func(context.Context, *Evidence) error { return nil })
	require.Equal(t, Unknown, e.Kind)
	require.Equal(t, "unknown", e.Kind.String())
}

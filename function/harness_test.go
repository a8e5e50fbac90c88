package function_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"gantry/function/frame"
	"gantry/function/internal/require"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of the tests.
const patience = time.Minute

// process is a function in a process of its own, and the agent's end of its frames.
type process struct {
	*exec.Cmd
	t              *testing.T
	events         net.Conn
	answers        net.Conn
	reader         *frame.Reader
	stdin          io.WriteCloser
	stdout, stderr buffer
	ended          chan struct{}
	nextID         uint32
}

// buffer is what a process has printed.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// launch starts the test binary as a function.
func launch(t *testing.T, function string, files []*os.File, env ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0]), t: t, ended: make(chan struct{})}
	p.Env = append([]string{"PATH=" + os.Getenv("PATH"), functionVariable + "=" + function}, env...)
	p.ExtraFiles, p.Stdout, p.Stderr = files, &p.stdout, &p.stderr
	var err error
	p.stdin, err = p.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	go func() {
		_ = p.Wait() // the exit code is in ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("stdout of %s:\n%s\nstderr:\n%s", function, &p.stdout, &p.stderr)
		}
	})
	return p
}

// start starts a function as the agent does, and reads its Hello.
func start(t *testing.T, function string, env ...string) *process {
	t.Helper()
	events, in := socketPair(t)
	answers, out := socketPair(t)
	p := launch(t, function, []*os.File{in, out}, append(env, "GANTRY_FRAMES=1", "RUNTIME_API_ADDR=127.0.0.1:1")...)
	require.NoError(t, in.Close())
	require.NoError(t, out.Close())
	p.events, p.answers = fileConn(t, events), fileConn(t, answers)
	require.NoError(t, p.answers.SetReadDeadline(time.Now().Add(patience)))
	p.reader = frame.NewReader(p.answers, 6<<20)
	h := p.next()
	require.Equal(t, frame.Hello, h.Type)
	require.Zero(t, h.ID)
	require.Regexp(t, `^\{"version":1,"runtime":"go","runtimeVersion":"\d+\.\d+[^" ]*","concurrency":true,"userdata":true,"stacks":true\}$`, string(h.Meta))
	return p
}

// ready starts a function and waits for its load.
func ready(t *testing.T, function string, env ...string) *process {
	t.Helper()
	p := start(t, function, env...)
	f := p.next()
	require.Equal(t, frame.Result, f.Type, string(f.Payload))
	require.Zero(t, f.ID)
	require.Empty(t, f.Meta)
	require.Empty(t, f.Payload)
	return p
}

func socketPair(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	return os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
}

func fileConn(t *testing.T, f *os.File) net.Conn {
	t.Helper()
	conn, err := net.FileConn(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	t.Cleanup(func() { conn.Close() })
	return conn
}

// next reads a frame, which may be kept.
func (p *process) next() frame.Frame {
	p.t.Helper()
	f, err := p.reader.Next()
	require.NoError(p.t, err)
	f.Meta, f.Payload = slices.Clone(f.Meta), slices.Clone(f.Payload)
	return f
}

// send sends a call and returns its id.
func (p *process) send(kind frame.Type, meta, event string) uint32 {
	p.t.Helper()
	p.nextID++
	_, err := p.events.Write(frame.Append(nil, kind, p.nextID, []byte(meta), []byte(event)))
	require.NoError(p.t, err)
	return p.nextID
}

// soon is the meta of a call that has time.
func soon(members string) string {
	return fmt.Sprintf(`{"requestId":"request-1","deadline":%d.125%s}`, time.Now().Add(patience).UnixMilli(), members)
}

// answer is what a call brought.
type answer struct {
	frame.Type
	meta, body string
	logs       []string // level and text
}

// call sends an event and reads until its answer.
func (p *process) call(event string) answer {
	p.t.Helper()
	return p.answer(p.send(frame.Invoke, soon(""), event))
}

func (p *process) answer(id uint32) (a answer) {
	p.t.Helper()
	for {
		f := p.next()
		require.Equal(p.t, id, f.ID)
		if f.Type != frame.Log {
			a.Type, a.meta, a.body = f.Type, string(f.Meta), string(f.Payload)
			return a
		}
		a.logs = append(a.logs, logLine(p.t, f))
	}
}

func logLine(t *testing.T, f frame.Frame) string {
	t.Helper()
	require.Equal(t, frame.Log, f.Type)
	var meta struct {
		Level, RequestID string
		More             bool
	}
	require.NoError(t, json.Unmarshal(f.Meta, &meta))
	line := meta.Level + " " + string(f.Payload)
	if meta.More {
		line = "more " + line
	}
	if meta.RequestID != "" {
		line = meta.RequestID + " " + line
	}
	return line
}

// exit waits for the end of the process.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("the process goes on")
	}
	return p.ProcessState.ExitCode()
}

// within waits until something is so.
func within(t *testing.T, what string, so func() bool) {
	t.Helper()
	require.Eventually(t, so, patience, 5*time.Millisecond, what)
}

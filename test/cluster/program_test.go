package cluster

import (
	"bytes"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait, also for a response: a longer one counts as a hang. A request that was lost on its way to
// an agent is redelivered after 30 s, and this machine may be busy.
const patience = 2 * time.Minute

// program is one process under test. Its end is always waited for, and it never outlives the test's own process.
type program struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	output *recorder
	ended  chan struct{}
}

// recorder collects what a program prints.
type recorder struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// start runs a program in a network namespace, or in the test's own network if ns is nil.
func start(t *testing.T, ns *namespace, name string, env []string, path string, args ...string) *program {
	t.Helper()
	p := &program{t: t, name: name, cmd: exec.Command(path, args...), output: &recorder{}, ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr = env, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // when go test is killed there is no Cleanup
	require.NoError(t, ns.do(p.cmd.Start))
	go func() {
		_ = p.cmd.Wait() // a test that expects the end checks the state
		close(p.ended)
	}()
	return p
}

// kill ends the program as a crash would.
func (p *program) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	<-p.ended
}

// stop ends the program in order and reports whether it ended in time.
func (p *program) stop() {
	if p.over() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may end by itself just now
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.t.Errorf("%s did not stop", p.name)
	}
}

func (p *program) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// tail is the end of the program's output, without the lines of each call; for failed tests.
func (p *program) tail() string {
	var kept []string
	for line := range strings.Lines(strings.ToValidUTF8(p.output.String(), "?")) {
		if !strings.Contains(line, "instance state changed") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-100):], "")
}

// eventually waits for a condition. It asks at once, and on the test's own goroutine, so that condition may end the
// test.
func eventually(t *testing.T, condition func() bool, format string, args ...any) {
	t.Helper()
	for limit := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			for i := range args { // pointers, to what was seen last
				args[i] = reflect.Indirect(reflect.ValueOf(args[i]))
			}
			require.FailNowf(t, "in vain", "waited for: "+format, args...)
		}
	}
}

// environ is the minimal environment of the programs.
func environ(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
}

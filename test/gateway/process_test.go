// Package gateway tests the agent's destination OBS against a real S3 gateway, versitygw. Both run as programs of their
// own.
package gateway

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// patience bounds every wait; this machine may be busy.
	patience = 60 * time.Second
	often    = 10 * time.Millisecond
)

func eventually(t *testing.T, condition func(c *assert.CollectT)) {
	t.Helper()
	require.EventuallyWithT(t, condition, patience, often)
}

// program returns a file that make test-gateway builds.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../..", name))
	require.NoError(t, err)
	require.FileExists(t, path, "run make test-gateway, which builds it")
	return path
}

// process is a child of the tests with its output.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

// run starts a program. It ends with its test, and also when the tests are killed.
func run(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	go func() {
		_ = cmd.Wait() // the tests look at what it printed
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(cmd.Path), last(p.String()))
		}
	})
	return p
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// end sends the signal, unless the process has ended, and waits for the end.
func (p *process) end(sig syscall.Signal) {
	p.t.Helper()
	if p.hasEnded() {
		return
	}
	_ = p.cmd.Process.Signal(sig) // it may end right now
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.t.Errorf("%s did not end by signal %s", p.cmd.Path, sig)
	}
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func last(s string) string {
	if len(s) > 6000 {
		s = "…" + s[len(s)-6000:]
	}
	return strings.ToValidUTF8(s, "?")
}

package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Program is one process under test. Its end is always waited for, and it never outlives the test program.
type Program struct {
	// Cmd is the process; its ProcessState may be read after Ended is closed.
	Cmd *exec.Cmd
	// Stdout and Stderr are what it printed so far.
	Stdout, Stderr *Output
	// Ended is closed when the process has ended and its output was read.
	Ended chan struct{}
	// Patience is how long Stop waits.
	Patience time.Duration
	t        testing.TB
}

// Start starts cmd. The end of the test stops it; of a failed test the last output is logged.
func Start(t testing.TB, cmd *exec.Cmd) *Program {
	t.Helper()
	p := Launch(t, cmd, func(start func() error) error { return start() })
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s\nstdout:\n%s\nstderr:\n%s", p.name(), p.Stdout.Tail(), p.Stderr.Tail())
		}
	})
	return p
}

// Launch is Start for a caller that stops the program itself, in a Cleanup of its own. It calls via with the function
// that starts the process: via decides where, such as in a network namespace.
func Launch(t testing.TB, cmd *exec.Cmd, via func(start func() error) error) *Program {
	t.Helper()
	p := &Program{t: t, Cmd: cmd, Stdout: &Output{}, Stderr: &Output{}, Ended: make(chan struct{}), Patience: Patience}
	cmd.Stdout, cmd.Stderr = p.Stdout, p.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // there is no Cleanup when go test is killed
	if err := via(cmd.Start); err != nil {
		t.Fatalf("%s cannot be started: %v", cmd.Path, err)
	}
	go func() {
		_ = cmd.Wait() // a test that expects the end checks the state
		close(p.Ended)
	}()
	return p
}

func (p *Program) name() string { return filepath.Base(p.Cmd.Path) }

// Over reports whether the process has ended.
func (p *Program) Over() bool {
	select {
	case <-p.Ended:
		return true
	default:
		return false
	}
}

// Stop sends TERM and waits for the end. A process that does not end within Patience is killed, and the test fails. It
// does nothing after the end.
func (p *Program) Stop() {
	p.t.Helper()
	if p.Over() {
		return
	}
	_ = p.Cmd.Process.Signal(syscall.SIGTERM) // it may end at this moment
	select {
	case <-p.Ended:
	case <-time.After(p.Patience):
		p.Kill()
		p.t.Errorf("%s did not end within %s of TERM", p.name(), p.Patience)
	}
}

// Kill ends the process as a crash would, and waits for the end.
func (p *Program) Kill() {
	_ = p.Cmd.Process.Kill() // it may have ended
	<-p.Ended
}

// Listening waits for the agent's start line and returns the addresses in it: function, ops, extension, and platform
// if it has a platform API. The test fails if the agent ends before.
func (p *Program) Listening() map[string]string {
	p.t.Helper()
	var lines []map[string]any
	Eventually(p.t, func() bool {
		lines = p.Stderr.Logged("listening")
		return len(lines) > 0 || p.Over()
	}, "%s to listen", p.name())
	if len(lines) == 0 {
		p.t.Fatalf("%s ended before it listened: %s", p.name(), p.Cmd.ProcessState)
	}
	addresses := map[string]string{}
	for name, value := range lines[0] {
		if text, ok := value.(string); ok {
			addresses[name] = text
		}
	}
	return addresses
}

// Environ is the environment of an agent with ports of its own: nothing of the test's environment but PATH. What
// follows in more wins.
func Environ(home string, more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GANTRY_ADDR=127.0.0.1:0", "GANTRY_OPS_ADDR=127.0.0.1:0",
		"EXTENSION_API_ADDR=127.0.0.1:0", "GANTRY_LOG_FORMAT=text", "RUNTIME_MEMORY=512",
	}, more...)
}

// Built is the absolute path of a file that a make target builds, two folders above the test's package.
func Built(t testing.TB, file, target string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("run make %s, which builds it: %v", target, err)
	}
	return path
}

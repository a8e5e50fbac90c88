package harness

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestListeningReadsTheStartLine: lines of other things with braces and half a line do not matter.
func TestListeningReadsTheStartLine(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", `echo 'listening to {no json' >&2
printf 'INFO listening {"function": ' >&2
printf '"127.0.0.1:1", "platform": "127.0.0.1:2", "n": 3}\n' >&2
exec sleep 600`)
	p := Start(t, cmd)
	at := p.Listening()
	if len(at) != 2 || at["function"] != "127.0.0.1:1" || at["platform"] != "127.0.0.1:2" {
		t.Fatalf("addresses: %v", at)
	}
	p.Stderr.WaitFor(t, "no json")
	if p.Over() {
		t.Fatal("it ended")
	}
	p.Stop()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Fatalf("ended by %v, want TERM", status.Signal())
	}
	p.Stop() // does nothing
}

// stubborn is a testing.TB whose failures are the expected ones.
type stubborn struct {
	testing.TB
	failures []string
}

func (s *stubborn) Helper()                        {}
func (s *stubborn) Errorf(format string, _ ...any) { s.failures = append(s.failures, format) }

// TestStopKillsWhatIgnoresTerm: the test then fails, and nothing is left behind.
func TestStopKillsWhatIgnoresTerm(t *testing.T) {
	s := &stubborn{TB: t}
	p := Launch(s, exec.Command("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"), func(start func() error) error { return start() })
	p.Stdout.WaitFor(t, "ready")
	p.Patience = 50 * time.Millisecond
	p.Stop()
	if len(s.failures) != 1 || !strings.Contains(s.failures[0], "did not end") {
		t.Fatalf("failures: %v", s.failures)
	}
	if !p.Over() {
		t.Fatal("it is still there")
	}
}

// TestTailIsShortAndValid: a cut may fall into a character.
func TestTailIsShortAndValid(t *testing.T) {
	var o Output
	for range 3000 {
		_, _ = o.Write([]byte("é"))
	}
	_, _ = o.Write([]byte("x\n")) // now the cut is in the middle of one
	_, _ = o.Write([]byte("y"))
	tail := o.Tail()
	if len(tail) > 4010 || !strings.HasSuffix(tail, "éx\ny") || strings.ToValidUTF8(tail, "") != tail {
		t.Fatalf("%d bytes: %q", len(tail), tail[max(0, len(tail)-20):])
	}
}

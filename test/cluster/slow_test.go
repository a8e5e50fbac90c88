package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSlowServer: a server that is not the leader gets a fifth of the time only, as on a machine with too much to do: it
// is stopped and continued in turns.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	accepted := slowed(t, false, (*server).turns)
	require.Greater(t, accepted, 100)
}

// TestSlowDisk: each sync of a server takes 100 ms more: of the leader of the events, or of another one. The tracer stops
// the server at each system call, which takes a processor: make test-slow-disk runs it, alone.
func TestSlowDisk(t *testing.T) {
	if os.Getenv("GANTRY_TEST_SLOW_DISK") == "" {
		t.Skip("left to make test-slow-disk")
	}
	t.Parallel()
	for name, least := range map[string]int{"leader": 20, "follower": 100} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accepted := slowed(t, name == "leader", func(s *server, ctx context.Context) {
				s.delaySyncs(ctx, 100*time.Millisecond)
			})
			require.Greater(t, accepted, least)
		})
	}
}

// slowed runs a load on three servers, one of which is slow for 20 seconds, and returns how many requests were accepted
// meanwhile.
func slowed(t *testing.T, leads bool, slow func(*server, context.Context)) (accepted int) {
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil), f.newAgent("b", nil)
	l := newLoad(f, a, b)
	l.waitCount(500)
	leader := c.leader("_events_0")
	chosen := leader
	for _, s := range c.servers {
		if !leads && s != leader {
			chosen = s
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	before := l.count()
	slow(chosen, ctx)
	accepted = l.count() - before
	l.waitCount(l.count() + 200)
	l.stop()
	drained := l.drained(a)
	l.check(fmt.Sprintf("%d accepted in 20 s with a slow server", accepted), "drained after "+round(drained).String())
	return accepted
}

// turns stops and continues the server's process in turns, until ctx ends.
func (s *server) turns(ctx context.Context) {
	s.t.Helper()
	for ctx.Err() == nil {
		require.NoError(s.t, s.Cmd.Process.Signal(syscall.SIGSTOP))
		time.Sleep(400 * time.Millisecond)
		require.NoError(s.t, s.Cmd.Process.Signal(syscall.SIGCONT))
		time.Sleep(100 * time.Millisecond)
	}
}

// delaySyncs has a tracer hold up each sync of a file of the server, until ctx ends.
func (s *server) delaySyncs(ctx context.Context, delay time.Duration) {
	s.t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		s.t.Skipf("LOUD SKIP: %v: apt-get install strace", err)
	}
	trace := filepath.Join(s.t.TempDir(), "syncs")
	cmd := exec.CommandContext(ctx, path, "-f", "-q", "-o", trace, "-e", "trace=fsync,fdatasync", "-e",
		"inject=fsync,fdatasync:delay_enter="+strconv.FormatInt(delay.Microseconds(), 10), "-p", strconv.Itoa(s.Cmd.Process.Pid))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it lets go of the server, then ends
	out, _ := cmd.CombinedOutput()                                           // ended by the signal
	require.Error(s.t, ctx.Err(), "strace ended by itself: %s", out)
	syncs, err := os.ReadFile(trace)
	require.NoError(s.t, err)
	require.Greater(s.t, strings.Count(string(syncs), "sync("), 20, "%s", out)
}

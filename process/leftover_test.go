package process

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestLeftNamesProcessesThatOutliveTheChild: a child of the child that goes on after TERM is left; one that TERM ends
// is not, however late it notices.
func TestLeftNamesProcessesThatOutliveTheChild(t *testing.T) {
	s := NewSupervisor(false)
	defer s.Close()
	cases := []struct {
		script string
		stop   bool // with TERM; else it ends by itself
		want   int
	}{
		{"(trap '' TERM; exec sleep 600) & echo ready; wait", true, 1},
		{"sleep 600 & echo ready; wait", true, 0},
		{"sleep 600 & sleep 600 & echo ready; exit 0", false, 2},
		{"echo ready; exit 0", false, 0},
	}
	for _, c := range cases {
		var out output
		p, err := s.Start(&Command{
			Name: "sh", Path: "/bin/sh", Args: []string{"sh", "-c", c.script}, Env: []string{"PATH=" + os.Getenv("PATH")},
			UID: -1, GID: -1, ListLeft: true, Output: out.read,
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = p.Kill() })
		if c.stop {
			require.Eventually(t, func() bool {
				all := members(p.PID)
				return len(all) == 1 && all[0].Name == "sleep" && strings.Contains(out.String(), "ready")
			}, 30*time.Second, time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			require.NoError(t, p.Stop(ctx), c.script)
			cancel()
		}
		<-p.Done()
		require.Len(t, p.Left(), c.want, c.script)
		for _, l := range p.Left() {
			require.Eventually(t, func() bool { // it was killed
				_, group, alive := look(l.PID)
				return !alive || group != p.PID
			}, 30*time.Second, time.Millisecond)
		}
	}
}

// TestOrphansAreListedAndEndedAsStrangers plays in a process of its own: adopting orphans is for good.
func TestOrphansAreListedAndEndedAsStrangers(t *testing.T) {
	if os.Getenv("PROCESS_TEST_STRANGERS") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOrphansAreListedAndEndedAsStrangers$", "-test.v")
		cmd.Env = append(os.Environ(), "PROCESS_TEST_STRANGERS=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, Adopt())
	s := NewSupervisor(true)
	defer s.Close()
	require.Empty(t, s.Strangers(ctx))
	var out output
	p, err := s.Start(&Command{
		Name: "sh", Path: "/bin/sh", Args: []string{"sh", "-c", "setsid sh -c 'sleep 600 & echo ready; wait' & wait"},
		Env: []string{"PATH=" + os.Getenv("PATH")}, UID: -1, GID: -1, Output: out.read,
	})
	require.NoError(t, err)
	defer s.EndStrangers(ctx)
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "ready") }, 30*time.Second, time.Millisecond)
	require.Empty(t, s.Strangers(ctx), "its parent still is there")
	require.NoError(t, p.Signal(unix.SIGTERM))
	<-p.Done()
	left := s.Strangers(ctx)
	require.Len(t, left, 1, "the session of its own")
	children, err := os.ReadFile("/proc/" + strconv.Itoa(left[0].PID) + "/task/" + strconv.Itoa(left[0].PID) + "/children")
	require.NoError(t, err)
	require.NotZero(t, number(children[:len(children)-1]))
	s.EndStrangers(ctx)
	require.NoError(t, ctx.Err())
	require.Empty(t, s.Strangers(ctx), "nor the sleep that was left behind in turn")
	_, _, alive := look(int(number(children[:len(children)-1])))
	require.False(t, alive)
}

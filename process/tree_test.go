package process

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestTreeShowsWhatEachProcessDoes: the child comes first; a loop runs, what sleeps does not, what is stopped is
// stopped, and what has ended is not there.
func TestTreeShowsWhatEachProcessDoes(t *testing.T) {
	s := newSupervisor(t)
	p, err := s.Start(shell(&output{}, "sleep 1000 & sh -c 'while :; do :; done' & wait"))
	require.NoError(t, err)
	defer p.Kill()
	until(t, "a loop runs beside two that wait", func() bool {
		all := p.Tree()
		if len(all) != 3 {
			return false
		}
		require.Equal(t, p.PID, all[0].PID)
		loop := all[1]
		if loop.Name == "sleep" {
			loop = all[2]
		}
		return !all[0].Running && all[1].Running != all[2].Running && loop.Running && loop.Used > 10*time.Millisecond &&
			loop.Thread == loop.PID
	})
	require.NoError(t, p.SignalThread(0, unix.SIGSTOP))
	until(t, "it is stopped, and its children are not", func() bool { all := p.Tree(); return all[0].Stopped && !all[1].Stopped && !all[2].Stopped })
	require.NoError(t, p.Kill())
	wait(t, p.Done())
	require.Empty(t, p.Tree())
	require.NoError(t, p.SignalThread(0, unix.SIGTERM), "it is gone already")
}

// TestCatchesSeesHandlers: a signal with a handler is caught, one that ends the process or is ignored is not.
func TestCatchesSeesHandlers(t *testing.T) {
	s := newSupervisor(t)
	var o output
	p, err := s.Start(shell(&o, "trap 'echo caught' USR1; trap '' USR2; echo ready; while :; do sleep 0.01; done"))
	require.NoError(t, err)
	defer p.Kill()
	until(t, "the handlers are there", func() bool { return o.String() == "ready\n" })
	require.True(t, p.Catches(unix.SIGUSR1))
	require.False(t, p.Catches(unix.SIGUSR2))
	require.False(t, p.Catches(unix.SIGQUIT))
	require.False(t, p.Catches(unix.Signal(64)))
	require.NoError(t, p.SignalThread(0, unix.SIGUSR1))
	until(t, "the signal arrives", func() bool { return o.String() == "ready\ncaught\n" })
}

package process

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestActivityShowsLoopsBusyAndSleepersIdle: a loop, also one of a descendant, is busy and uses time; what sleeps
// does neither, and what has ended is nothing.
func TestActivityShowsLoopsBusyAndSleepersIdle(t *testing.T) {
	s := NewSupervisor(false)
	defer s.Close()
	run := func(script string) *Process {
		p, err := s.Start(&Command{
			Name: "x", Path: "/bin/sh", Args: []string{"/bin/sh", "-c", script}, UID: -1, GID: -1, Env: []string{"PATH=" + os.Getenv("PATH")},
			Output: func(_ string, r *os.File) { _, _ = r.Read(make([]byte, 1)) },
		})
		require.NoError(t, err)
		return p
	}
	for _, script := range []string{"while :; do :; done", "sh -c 'while :; do :; done' & wait"} {
		p := run(script)
		require.Eventually(t, func() bool { a := p.Activity(); return a.Busy && a.Used > 20*time.Millisecond }, time.Minute, time.Millisecond, script)
		require.NoError(t, p.Kill())
		<-p.Done()
		require.Zero(t, p.Activity())
	}
	p := run("exec sleep 1000")
	var last Activity
	require.Eventually(t, func() bool {
		before := last
		last = p.Activity()
		return !last.Busy && last.Used == before.Used
	}, time.Minute, 50*time.Millisecond)
	require.NoError(t, p.Kill())
	<-p.Done()
}

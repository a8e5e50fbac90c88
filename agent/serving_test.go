package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestOnlyALaterSecondStopSignalForces(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var w wish
	require.False(t, w.forced(unix.SIGHUP, now))
	require.False(t, w.made())
	require.False(t, w.forced(unix.SIGTERM, now), "the first")
	require.True(t, w.made())
	require.False(t, w.forced(unix.SIGTERM, now.Add(sameSignal)), "the same one")
	require.False(t, w.forced(unix.SIGHUP, now.Add(time.Minute)))
	require.True(t, w.forced(unix.SIGINT, now.Add(sameSignal+1)))
}

package child

import (
	"context"
	"errors"
	"gantry/test/harness"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestChildIsStartedAgainWhenItHangs(t *testing.T) {
	c := newTestChild(t)
	c.greeting = 2 * time.Second
	c.dial().Close()
	pid := c.processID()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, func() bool { return harness.Stopped(t, pid) }, "all its threads stop")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 10*time.Millisecond, errors.New("the caller's reason"))
	defer cancel()
	_, err := c.Dial(ctx)
	require.ErrorContains(t, err, "the caller's reason") // no reason to end anything
	require.False(t, ended(pid))
	c.dial().Close()
	require.True(t, ended(pid))

	pid = c.processID()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, func() bool { return harness.Stopped(t, pid) }, "all its threads stop")
	eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), c.greeting/4)
		defer cancel()
		_, err := c.Dial(ctx)
		return err == nil
	}, "dials that are all shorter find it out together")
	require.True(t, ended(pid))
}

// TestChildThatHungIsReachedWhenItGoesOn: one that has used up its time for the greeting is reached when it goes on.
func TestChildThatHungIsReachedWhenItGoesOn(t *testing.T) {
	c := newTestChild(t)
	c.greeting = time.Second
	c.dial().Close()
	pid := c.processID()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, func() bool { return harness.Stopped(t, pid) }, "all its threads stop")
	ctx, cancel := context.WithTimeout(context.Background(), c.greeting)
	defer cancel()
	_, err := c.Dial(ctx)
	require.Error(t, err)
	require.NoError(t, unix.Kill(pid, unix.SIGCONT))
	c.dial().Close()
}

package async

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

func TestChildIsStartedAgainWhenItHangs(t *testing.T) {
	c := newTestChild(t)
	c.greeting = 2 * time.Second
	c.dial().Close()
	pid := c.processID()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, func() bool { return allStopped(t, pid) }, "all its threads stop")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 10*time.Millisecond, errors.New("the caller's reason"))
	defer cancel()
	_, err := c.Dial(ctx)
	require.ErrorContains(t, err, "the caller's reason") // no reason to end anything
	require.False(t, ended(pid))
	c.dial().Close()
	require.True(t, ended(pid))

	pid = c.processID()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, func() bool { return allStopped(t, pid) }, "all its threads stop")
	eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), c.greeting/4)
		defer cancel()
		_, err := c.Dial(ctx)
		return err == nil
	}, "dials that are all shorter find it out together")
	require.True(t, ended(pid))
}

// TestChildThatComesBack: one that has used up its time for the greeting is reached when it goes on.
func TestChildThatComesBack(t *testing.T) {
	c := newTestChild(t)
	c.greeting = time.Second
	c.dial().Close()
	pid := c.processID()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, func() bool { return allStopped(t, pid) }, "all its threads stop")
	ctx, cancel := context.WithTimeout(context.Background(), c.greeting)
	defer cancel()
	_, err := c.Dial(ctx)
	require.Error(t, err)
	require.NoError(t, unix.Kill(pid, unix.SIGCONT))
	c.dial().Close()
}

// TestQueueOfAHungChild: events that fill the socket of a child that does not read block neither callers nor the stop.
func TestQueueOfAHungChild(t *testing.T) {
	c := newTestChild(t)
	q := open(t, nil, &testFunction{}, func(cfg *Config) { cfg.Connect, cfg.Log = c.Connect, zap.NewNop() })
	waitStatus(t, q, accept(t, q, "{}"), Success)
	pid := c.processID()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, func() bool { return allStopped(t, pid) }, "all its threads stop")
	body := []byte(`"` + strings.Repeat("x", 250_000) + `"`)
	began := time.Now()
	var accepts sync.WaitGroup
	for range 4 {
		accepts.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := q.Accept(ctx, &Event{Body: body, Version: "latest"}); err == nil {
				t.Error("accepted by a process that stands still")
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	q.Close(ctx)
	accepts.Wait()
	require.Less(t, time.Since(began), 45*time.Second, "nats.go has a minute for a write")
	require.NoError(t, unix.Kill(pid, unix.SIGCONT))
}

// TestQueueWhileTheChildStarts: a slow start blocks no call, and neither the metrics nor the stop.
func TestQueueWhileTheChildStarts(t *testing.T) {
	hang := filepath.Join(t.TempDir(), "hang")
	text := fmt.Sprintf("while [ -e %s ]; do sleep 0.05; done; exec %s", hang, childProgram(t))
	c := newTestChild(t, runs(script(t, text)))
	change := func(cfg *Config) {
		cfg.Connect = c.Connect
		cfg.Log = zap.NewNop()
	}
	q := open(t, nil, &testFunction{}, change)
	id := accept(t, q, "{}")
	waitStatus(t, q, id, Success)
	const soon = childStartLimit / 2
	quick := func(what string, do func()) {
		t.Helper()
		began := time.Now()
		do()
		require.Less(t, time.Since(began), soon, what)
	}
	interrupt := func(q *Queue) {
		require.NoError(t, os.WriteFile(hang, nil, 0o600))
		c.kill()
		eventually(t, q.open.away.Load, "the loss is known")
	}
	interrupt(q)
	quick("metrics", func() { q.Depth() })
	quick("accept", func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*firstRedial)
		defer cancel()
		_, err := q.Accept(ctx, &Event{Body: []byte("{}")})
		require.Error(t, err)
	})
	quick("cancel", func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*firstRedial)
		defer cancel()
		require.Error(t, q.Cancel(ctx, id, false))
	})
	require.NoError(t, os.Remove(hang))
	waitStatus(t, q, accept(t, q, "{}"), Success)
	require.Equal(t, 2, c.readyLines(), "the start went on")
	interrupt(q)
	quick("stop", func() {
		ctx, cancel := context.WithTimeout(t.Context(), firstRedial)
		defer cancel()
		q.Close(ctx)
	})
	require.NoError(t, os.Remove(hang))
}

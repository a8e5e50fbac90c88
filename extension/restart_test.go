package extension

import (
	"context"
	"gantry/fault"
	"gantry/test/harness"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

func TestRestartPausesGrowAndHealthResetsThem(t *testing.T) {
	const ms = time.Millisecond
	ends := func(a *attempts, lived time.Duration, n int) (pauses []time.Duration) {
		for range n {
			if again, pause := a.next(lived, true); again {
				pauses = append(pauses, pause)
			} else {
				pauses = append(pauses, -1)
			}
		}
		return pauses
	}
	a := &attempts{}
	require.Equal(t, []time.Duration{500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, -1, -1}, ends(a, time.Second, 7))
	require.Equal(t, []time.Duration{500 * ms}, ends(a, healthyTime, 1), "a minute of health makes up for all")
	require.Equal(t, []time.Duration{1000 * ms}, ends(a, healthyTime-1, 1))
	for range 10 {
		require.Equal(t, []time.Duration{500 * ms}, ends(a, healthyTime+1, 1), "healthy ones come back for ever")
	}
	a = &attempts{}
	for range 10 {
		again, pause := a.next(time.Second, false)
		require.False(t, again)
		require.Zero(t, pause)
	}
	require.Equal(t, []time.Duration{500 * ms}, ends(a, 0, 1))
}

func TestShortagePausesGrowAndAreNoEnds(t *testing.T) {
	const ms = time.Millisecond
	a := &attempts{}
	var pauses []time.Duration
	for range 7 {
		pauses = append(pauses, a.short())
	}
	require.Equal(t, []time.Duration{500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 8000 * ms, 8000 * ms}, pauses)
	again, _ := a.next(0, true)
	require.True(t, again, "they are no ends")
}

// TestExtensionStartsOnceDescriptorsAreFree: without descriptors an extension does not start, and later it does. The
// limit is that of this process, so the test runs alone.
func TestExtensionStartsOnceDescriptorsAreFree(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	h := streaming(t, []Script{script(t, "extensionA", "exec sleep 1000")}, func(c *Config) { c.Log = zap.New(core) })
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	none := limit
	none.Cur = 3
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &none))
	h.Start("127.0.0.1:1")
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	require.Equal(t, 1, logs.FilterMessageSnippet("not started yet").Len())
	eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		e := h.byName["extensionA"]
		return e != nil && e.proc != nil
	})
}

// TestEndedExtensionIsStartedAnewAfterAPause: a real process that ends well, and its place is free meanwhile.
func TestEndedExtensionIsStartedAnewAfterAPause(t *testing.T) {
	harness.FixedPorts(t)
	core, logs := observer.New(zap.InfoLevel)
	mark := filepath.Join(t.TempDir(), "mark")
	s := script(t, "extensionA", "if [ -e "+mark+" ]; then exec sleep 1000; fi; echo > "+mark+"; exit 0")
	h := streaming(t, []Script{s}, func(c *Config) { c.Restart, c.Log = true, zap.New(core) })
	states := watchStates(t, h)
	h.Start("127.0.0.1:1")
	require.NoError(t, h.WaitReady(t.Context()), "it is given up, and missed by nobody")
	eventually(t, func() bool { // the second one
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(logs.FilterMessageSnippet("started anew").All()) == 1 && h.byName["extensionA"] != nil
	})
	register(t, h, "extensionA", 8081)
	require.Equal(t, 500*time.Millisecond, logs.FilterMessageSnippet("started anew").All()[0].ContextMap()["in"])
	require.Equal(t, []string{"extensionA Exited exit code 0", "extensionA Registered 127.0.0.1:8081"}, states())
	require.NoError(t, h.process("extensionA").Kill())
	eventually(t, func() bool { return h.Registered() == 0 })
	eventually(t, func() bool { return logs.FilterMessageSnippet("started anew").Len() == 2 })
	h.Stop(time.Now().Add(patience), ReasonSpindown) // in the pause
	require.Equal(t, 2, logs.FilterMessageSnippet("started anew").Len())
	require.Empty(t, h.byName, "nothing was started after the stop")
}

func TestEndedExtensionStaysAwayWithoutRestart(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	h := streaming(t, []Script{script(t, "extensionA", "exit 3")}, func(c *Config) { c.Log = zap.New(core) })
	states := watchStates(t, h)
	h.Start("127.0.0.1:1")
	require.NoError(t, h.WaitReady(t.Context()))
	eventually(t, func() bool { return logs.FilterMessageSnippet("runs on without it").Len() == 1 })
	require.Equal(t, []string{"extensionA Exited exit code 3"}, states())
	h.lives.Wait() // nothing goes on
}

// required is a host in a bubble that has extensions which it does not start itself.
func required(t *testing.T, test func(t *testing.T, h *Host)) {
	synctest.Test(t, func(t *testing.T) {
		test(t, newHost(t, nil, func(c *Config) { c.Required, c.Wait = []string{"b", "a"}, 5*time.Second }))
	})
}

func TestStartFailsWithoutARequiredExtension(t *testing.T) {
	required(t, func(t *testing.T, h *Host) {
		began := time.Now()
		register(t, h, "a", 8081)
		err := h.WaitReady(t.Context())
		require.Equal(t, 5*time.Second, time.Since(began))
		requireRefused(t, err, fault.Init, TypeRequired)
		require.EqualError(t, err, "extension b is required and not registered (GANTRY_EXTENSION_REQUIRED)")
		require.Equal(t, fault.CodeStartTimeout, fault.From(err).Code)
		requireRefused(t, h.WaitReady(t.Context()), fault.Init, TypeRequired)
		require.Equal(t, 5*time.Second, time.Since(began), "the next worker does not wait again")
		register(t, h, "b", 8082)
		require.NoError(t, h.WaitReady(t.Context()))
	})
}

func TestRequiredIsWaitedFor(t *testing.T) {
	required(t, func(t *testing.T, h *Host) {
		require.Error(t, h.Incomplete())
		go func() {
			time.Sleep(time.Second)
			register(t, h, "a", 8081)
			time.Sleep(time.Second)
			register(t, h, "b", 8082)
		}()
		began := time.Now()
		require.NoError(t, h.WaitReady(t.Context()))
		require.Equal(t, 2*time.Second, time.Since(began))
		require.NoError(t, h.Incomplete())
	})
}

// TestCallsWaitForRequiredExtensions: calls wait for what is required as long as a start does.
func TestCallsWaitForRequiredExtensions(t *testing.T) {
	required(t, func(t *testing.T, h *Host) {
		began := time.Now()
		err := h.Complete(t.Context())
		require.Equal(t, 5*time.Second, time.Since(began))
		requireRefused(t, err, fault.Unavailable, TypeRequired)
		require.EqualError(t, err, "extension a, b is required and not registered (GANTRY_EXTENSION_REQUIRED)")
		require.Equal(t, fault.CodeUnavailable, fault.From(err).Code)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		require.Error(t, h.Complete(ctx))
		require.Equal(t, time.Second, time.Since(began))

		var calls sync.WaitGroup
		began = time.Now()
		for range 10 {
			calls.Go(func() { require.NoError(t, h.Complete(t.Context())) })
		}
		time.Sleep(time.Second)
		register(t, h, "b", 8082)
		synctest.Wait()
		requireRefused(t, h.Incomplete(), fault.Unavailable, TypeRequired)
		register(t, h, "a", 8081)
		calls.Wait()
		require.Equal(t, time.Second, time.Since(began))
		require.NoError(t, h.Complete(t.Context()))

		h.mu.Lock()
		h.vacate(h.byName["a"])
		h.mu.Unlock()
		requireRefused(t, h.Incomplete(), fault.Unavailable, TypeRequired)
		calls.Go(func() { requireRefused(t, h.Complete(t.Context()), fault.Unavailable, TypeRequired) })
		synctest.Wait()
		began = time.Now()
		h.Stop(time.Now().Add(time.Second), ReasonSpindown)
		calls.Wait()
		require.Zero(t, time.Since(began), "nobody waits for one that stops")
	})
}

// TestRequiredExtensionIsRestartedAndAwaited: whatever GANTRY_EXTENSION_RESTART says, and calls wait for it.
func TestRequiredExtensionIsRestartedAndAwaited(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, []Script{script(t, "extensionA", "exec sleep 1000")}, func(c *Config) { c.Required, c.Wait = []string{"extensionA"}, patience })
	h.Start("127.0.0.1:1")
	register(t, h, "extensionA", 8081)
	require.NoError(t, h.WaitReady(t.Context()))
	require.NoError(t, h.Complete(t.Context()))
	first := h.process("extensionA")
	require.NoError(t, first.Kill())
	eventually(t, func() bool { return h.Incomplete() != nil })
	call := make(chan error)
	go func() { call <- h.Complete(t.Context()) }()
	require.NotEqual(t, first.PID, h.process("extensionA").PID)
	register(t, h, "extensionA", 8081)
	require.NoError(t, <-call)
}

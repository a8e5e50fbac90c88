package extension

import (
	"context"
	"encoding/json"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"gantry/telemetry"
	"gantry/test/harness"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// watchStates subscribes to the host's telemetry; the result flushes it, and returns the states of extensions in it.
func watchStates(t *testing.T, h *Host) func() []string {
	var mu sync.Mutex
	var states []string
	require.True(t, h.cfg.Stream.Subscribe(&telemetry.Subscriber{
		Types: telemetry.TypePlatform, MaxItems: 1000, MaxBytes: telemetry.DefaultMaxBytes, Timeout: telemetry.DefaultTimeout,
		Send: func(_ context.Context, batch []byte) error {
			var events []struct{ Name, Extension, State, Detail string }
			if err := json.Unmarshal(batch, &events); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, e := range events {
				if e.Name != "platform.extension" {
					t.Errorf("%+v", e)
				}
				states = append(states, e.Extension+" "+e.State+" "+e.Detail)
			}
			return nil
		},
	}))
	return func() []string {
		h.cfg.Stream.Flush(t.Context())
		mu.Lock()
		defer mu.Unlock()
		return states
	}
}

// TestExtensionLifeAndRefusalsArePublished: the whole life of an extension, and what was refused.
func TestExtensionLifeAndRefusalsArePublished(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, []Script{script(t, "extensionA", "exec sleep 1000")}, nil)
	states := watchStates(t, h)
	h.Start("127.0.0.1:1")
	register(t, h, "extensionA", 8081)
	register(t, h, "extensionA", 8081) // again, which is nothing new
	require.Error(t, h.Register(Registration{Name: "extensionA", Address: "127.0.0.1:8082"}))
	require.Error(t, h.Register(Registration{Name: "b\xff", Address: "127.0.0.1:8082"}))
	require.Error(t, h.Register(Registration{Name: "", Address: "127.0.0.1:8082"}))
	require.Error(t, h.Register(Registration{Name: "b", Address: "127.0.0.1:1"}))
	require.NoError(t, h.process("extensionA").Kill())
	eventually(t, func() bool { return h.Registered() == 0 })
	h.lives.Wait()
	require.Equal(t, []string{
		"extensionA Registered 127.0.0.1:8081", "extensionA Refused Extension.AlreadyRegistered", "b Refused Extension.MissingHeader", " Refused Extension.MissingHeader",
		"b Refused Extension.InvalidAddress", "extensionA Exited signal 9 (SIGKILL)",
	}, states())
	for range 1000 {
		require.Error(t, h.Register(Registration{Name: "b"}))
	}
	require.Less(t, len(states()), 100, "refusals do not crowd out what matters")
}

// TestStopReportsTheLastExit: all ends are published before Stop returns.
func TestStopReportsTheLastExit(t *testing.T) {
	harness.FixedPorts(t)
	var scripts []Script
	for i := range 3 {
		scripts = append(scripts, script(t, fmt.Sprint("extension", i), "exec sleep 1000"))
	}
	h := streaming(t, scripts, func(c *Config) { c.Restart = true })
	states := watchStates(t, h)
	h.Start("127.0.0.1:1")
	h.Stop(time.Now().Add(patience), ReasonSpindown)
	require.ElementsMatch(t, []string{"extension0 Exited signal 15 (SIGTERM)", "extension1 Exited signal 15 (SIGTERM)", "extension2 Exited signal 15 (SIGTERM)"}, states())
}

// TestExtensionThatCannotStartIsNotAwaited: the failure is logged and published, and WaitReady does not wait for that
// extension.
func TestExtensionThatCannotStartIsNotAwaited(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	h := streaming(t, []Script{{Name: "extensionA", Path: t.TempDir() + "/nowhere", Executable: true}}, func(c *Config) { c.Log, c.Restart = zap.New(core), true })
	states := watchStates(t, h)
	h.Start("127.0.0.1:1")
	require.NoError(t, h.WaitReady(t.Context()))
	require.Equal(t, 1, logs.FilterMessage("extension not started").Len())
	require.Len(t, states(), 1)
	require.Contains(t, states()[0], "extensionA Exited start extensionA: ")
}

// TestForeignExtensionIsLost: the agent did not start its process, so it counts as gone when it refuses three
// notifications in a row. Its subscription goes with it.
func TestForeignExtensionIsLost(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, nil, nil)
	listening(t, 8085)
	register(t, h, "foreign", 8081)
	require.NoError(t, h.Subscribe("foreign", at(8085)))
	for i := range refusedLimit {
		require.Equal(t, 1, h.Registered())
		notify(h, fmt.Sprint(i))
		h.Quiet(t.Context())
	}
	eventually(t, func() bool { return h.Registered() == 0 })
	eventually(t, func() bool { return !h.cfg.Stream.Subscribed() })
	require.Equal(t, "nobody", h.owner())
	states := watchStates(t, h)
	require.Equal(t, []string{"foreign Exited it refuses connections"}, states(), "the next subscriber gets the event")
	register(t, h, "other", 8081)
}

// TestOwnExtensionIsNotLost: its process is watched, and it may listen later.
func TestOwnExtensionIsNotLost(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, []Script{script(t, "extensionA", "exec sleep 1000")}, nil)
	h.Start("127.0.0.1:1")
	register(t, h, "extensionA", 8081)
	for i := range refusedLimit + 2 {
		notify(h, fmt.Sprint(i))
		h.Quiet(t.Context())
	}
	require.EqualValues(t, refusedLimit+2, h.cfg.Metrics.NotificationFailures[0].Get())
	require.Equal(t, 1, h.Registered())
}

func TestStrictHostRefusesNamesOfForeignExtensions(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, []Script{script(t, "extensionA", "exec sleep 1000")}, func(c *Config) { c.Strict = true })
	requireRefused(t, h.Register(Registration{Name: "foreign", Address: "127.0.0.1:8081"}), fault.Forbidden, TypeUnknownName)
	register(t, h, "extensionA", 8081)
}

// TestStopWaitsForTheLastLines: an extension ended by itself just before the stop, and its output is still being read.
func TestStopWaitsForTheLastLines(t *testing.T) {
	reading, read := make(chan struct{}), make(chan struct{})
	var once sync.Once
	sink := logger.NewSink(io.Discard, false, func(*logger.Line) {
		once.Do(func() {
			close(reading)
			<-read
		})
	})
	h := newHost(t, []Script{script(t, "extensionA", "echo last")}, func(c *Config) { c.Sink = sink })
	defer sink.Close(time.Now().Add(patience))
	h.Start("127.0.0.1:1")
	<-reading
	eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.byName["extensionA"] == nil // it has ended
	})
	stopped := make(chan struct{})
	go func() {
		h.Stop(time.Now().Add(patience), ReasonSpindown)
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("the stop did not wait for the line")
	case <-time.After(50 * time.Millisecond):
	}
	close(read)
	<-stopped
}

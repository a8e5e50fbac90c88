package extension

import (
	"context"
	"encoding/json"
	"fmt"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	fncontext "gantry/context"
)

func notify(h *Host, id string) {
	h.Notify(&fncontext.Call{Invocation: &fncontext.Invocation{RequestID: id}, Deadline: time.UnixMilli(1795490983923)})
}

// invoked is a handler that hands on the ids of calls before it answers; gate, if there is one, holds the answer.
func invoked(ids chan<- string, gate <-chan struct{}) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		var call struct{ TraceID string }
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &call)
		ids <- call.TraceID
		if gate != nil {
			<-gate
		}
	}
}

func TestNotificationHasTheDeadline(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	got := make(chan http.Header, 1)
	receiver(t, 8085, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
	register(t, h, "a", 8085)
	notify(h, "x")
	header := <-got
	require.Equal(t, "1795490983923", header.Get("Gantry-Deadline"))
	require.NotContains(t, header, "Traceparent", "the caller sent none")
}

// TestExtensionGetsOnlyTheEventsItAskedFor: an extension gets only the events that it asked for, and a call does not
// wait for it otherwise.
func TestExtensionGetsOnlyTheEventsItAskedFor(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	got := make(chan string, 10)
	receiver(t, 8085, record(got))
	receiver(t, 8086, record(got))
	require.NoError(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8085", Events: "SHUTDOWN", Mode: "sync"}))
	require.NoError(t, h.Register(Registration{Name: "b", Address: "127.0.0.1:8086", Events: "INVOKE"}))
	require.Zero(t, h.inSync.Load())
	notify(h, "x")
	require.Contains(t, <-got, "POST /extension/invoke")
	h.Quiet(t.Context())
	h.Stop(time.Now().Add(patience), ReasonFailure)
	require.Contains(t, <-got, `"reason":"failure"`)
	require.Empty(t, got)
}

// TestCallWaitsForTheExtensionInSyncMode: the call waits for the answer of the extension in sync mode, and for no
// other.
func TestCallWaitsForTheExtensionInSyncMode(t *testing.T) {
	harness.FixedPorts(t)
	core, logs := observer.New(zap.WarnLevel)
	h := newHost(t, nil, func(c *Config) { c.Log = zap.New(core) })
	synced, others := make(chan string, 10), make(chan string, 10)
	answer, never := make(chan struct{}), make(chan struct{})
	receiver(t, 8085, invoked(synced, answer))
	receiver(t, 8086, invoked(others, never))
	defer close(never)
	require.NoError(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8085", Mode: "Sync"}))
	require.NoError(t, h.Register(Registration{Name: "b", Address: "127.0.0.1:8086", Mode: "async"}))
	gone := make(chan struct{})
	go func() {
		notify(h, "x")
		close(gone)
	}()
	require.Equal(t, "x", <-synced)
	require.Equal(t, "x", <-others)
	select {
	case <-gone:
		t.Fatal("the call did not wait for the answer")
	case <-time.After(20 * time.Millisecond):
	}
	close(answer)
	<-gone
	require.Zero(t, logs.FilterMessageSnippet("goes on without").Len())
}

func TestWaitForASyncExtensionIsBounded(t *testing.T) {
	harness.FixedPorts(t)
	core, logs := observer.New(zap.WarnLevel)
	h := newHost(t, nil, func(c *Config) { c.Log = zap.New(core) })
	ids, never := make(chan string, 10), make(chan struct{})
	receiver(t, 8085, invoked(ids, never))
	defer close(never)
	require.NoError(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8085", Mode: "sync"}))
	began := time.Now()
	notify(h, "x")
	require.InDelta(t, syncLimit.Seconds(), time.Since(began).Seconds(), 10)
	require.GreaterOrEqual(t, time.Since(began), syncLimit-100*time.Millisecond)
	eventually(t, func() bool { return h.outstanding.Load() == 0 })
	require.Equal(t, 1, logs.FilterMessageSnippet("goes on without").Len(), "whichever of the two limits of two seconds came first")
}

// TestClosedConnectionEndsTheWaitInSyncMode: an extension in sync mode that closes the connection ends the wait, and
// the log names the call.
func TestClosedConnectionEndsTheWaitInSyncMode(t *testing.T) {
	harness.FixedPorts(t)
	core, logs := observer.New(zap.WarnLevel)
	h := newHost(t, nil, func(c *Config) { c.Log = zap.New(core) })
	receiver(t, 8085, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	require.NoError(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8085", Mode: "sync"}))
	notify(h, "x")
	entries := logs.FilterMessageSnippet("goes on without").All()
	require.Len(t, entries, 1)
	require.Equal(t, "x", entries[0].ContextMap()["request_id"])
	require.Less(t, entries[0].ContextMap()["waited"], syncLimit)
}

// TestEndOfASyncExtensionReleasesQueuedCalls: what is buffered for it is not waited for any longer.
func TestEndOfASyncExtensionReleasesQueuedCalls(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	ids, never := make(chan string, 100), make(chan struct{})
	receiver(t, 8085, invoked(ids, never))
	require.NoError(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8085", Mode: "sync"}))
	var calls sync.WaitGroup
	for i := range maxDeliveries + 5 {
		calls.Go(func() { notify(h, fmt.Sprint(i)) })
	}
	for range maxDeliveries {
		<-ids
	}
	eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.seats[4].buffer) == 5
	})
	h.mu.Lock()
	h.vacate(h.byName["a"])
	h.mu.Unlock()
	close(never)
	calls.Wait()
	require.Zero(t, h.inSync.Load())
	require.EqualValues(t, 5, h.cfg.Metrics.NotificationDrops[4].Get())
	eventually(t, func() bool { return h.outstanding.Load() == 0 })
}

// TestDeliveriesGoSideBySide: one that is slow holds up none behind it, as long as there are less than eight.
func TestDeliveriesGoSideBySide(t *testing.T) {
	harness.FixedPorts(t)
	for range 20 { // what was idle at the moment must not matter
		h := newHost(t, nil, nil)
		ids, gate := make(chan string, 100), make(chan struct{})
		server := http.Server{Handler: invoked(ids, gate)}
		ln := listen(t, 8085)
		go func() { _ = server.Serve(ln) }()
		register(t, h, "a", 8085)
		for i := range maxDeliveries + 1 {
			notify(h, fmt.Sprint(i))
		}
		for range maxDeliveries {
			<-ids
		}
		require.Empty(t, ids)
		close(gate)
		<-ids
		h.Stop(time.Now().Add(patience), ReasonSpindown)
		require.NoError(t, server.Close())
	}
}

// TestNotificationArrivesOnceAfterAKeptConnectionEnded: servers close those that are idle; the next notification
// arrives all the same, once.
func TestNotificationArrivesOnceAfterAKeptConnectionEnded(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	ids := make(chan string, 100)
	closed := make(chan struct{}, 100)
	server := http.Server{Handler: invoked(ids, nil), IdleTimeout: 10 * time.Millisecond, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}}
	ln := listen(t, 8085)
	go func() { _ = server.Serve(ln) }()
	defer server.Close()
	register(t, h, "a", 8085)
	for i := range 10 {
		notify(h, fmt.Sprint(i))
		require.Equal(t, fmt.Sprint(i), <-ids)
		h.Quiet(t.Context())
		<-closed
	}
	require.Empty(t, ids)
	require.Zero(t, h.cfg.Metrics.NotificationFailures[4].Get())
	require.EqualValues(t, 10, h.cfg.Metrics.Notifications[4].Get())
}

// TestAnswersAreNotRead: a large one counts by its status.
func TestAnswersAreNotRead(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, func(c *Config) { c.Costs = 10 })
	status := 200
	receiver(t, 8085, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write(make([]byte, 1<<20))
	})
	require.NoError(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8085", Mode: "sync"}))
	notify(h, "good")
	h.Quiet(t.Context())
	require.Zero(t, h.cfg.Metrics.NotificationFailures[4].Get())
	status = 500
	notify(h, "bad")
	h.Quiet(t.Context())
	require.EqualValues(t, 1, h.cfg.Metrics.NotificationFailures[4].Get())
	good, bad := h.Costs("good"), h.Costs("bad")
	require.Len(t, good, 1)
	require.Len(t, bad, 1)
	require.Equal(t, []any{"a", true, nil}, []any{good[0].Extension, good[0].Sync, good[0].Err})
	require.EqualError(t, bad[0].Err, "status 500")
	require.Positive(t, good[0].Took)
	require.Empty(t, h.Costs("another"))
	require.Positive(t, h.cfg.Metrics.NotificationSeconds[4].Get())
}

func TestQuietWaitsUntilNotificationsAreAnswered(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	h.Quiet(t.Context()) // there is nothing
	ids, gate := make(chan string, 10), make(chan struct{})
	receiver(t, 8085, invoked(ids, gate))
	register(t, h, "a", 8085)
	notify(h, "x")
	<-ids
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	h.Quiet(ctx)
	require.Error(t, ctx.Err(), "it waited until its time was over")
	quiet := make(chan struct{})
	var answered atomic.Bool
	go func() {
		h.Quiet(t.Context())
		if !answered.Load() {
			t.Error("quiet before the answer")
		}
		close(quiet)
	}()
	answered.Store(true)
	close(gate)
	<-quiet
}

// TestShutdownNoticeComesBeforeTerm comes before TERM, to those that asked for it.
func TestShutdownNoticeComesBeforeTerm(t *testing.T) {
	harness.FixedPorts(t)
	log := filepath.Join(t.TempDir(), "log")
	h := newHost(t, []Script{script(t, "extensionA", "trap 'echo TERM >> "+log+"; exit 0' TERM; echo up >> "+log+"; while :; do sleep 0.01; done")}, nil)
	var notice []byte
	receiver(t, 8085, func(_ http.ResponseWriter, r *http.Request) {
		if notice, _ = io.ReadAll(r.Body); r.URL.Path != "/extension/shutdown" || r.Method != "POST" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("notice\n")
			_ = f.Close()
		}
		if err != nil {
			t.Error(err)
		}
	})
	receiver(t, 8086, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("nobody asked for %s", r.URL) })
	h.Start("127.0.0.1:1")
	require.NoError(t, h.Register(Registration{Name: "extensionA", Address: "127.0.0.1:8085", Events: "INVOKE,SHUTDOWN"}))
	register(t, h, "b", 8086)
	eventually(t, func() bool { b, _ := os.ReadFile(log); return string(b) == "up\n" })
	deadline := time.Now().Add(patience)
	h.Stop(deadline, ReasonSpindown)
	require.JSONEq(t, fmt.Sprintf(`{"reason":"spindown","deadlineMs":%d}`, deadline.UnixMilli()), string(notice))
	b, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, "up\nnotice\nTERM\n", string(b))
}

// TestShutdownNoticeIsBounded: an extension that hangs has half of the time, one that ignores TERM the other half, and
// none has more.
func TestShutdownNoticeIsBounded(t *testing.T) {
	harness.FixedPorts(t)
	core, logs := observer.New(zap.WarnLevel)
	up := filepath.Join(t.TempDir(), "up")
	h := newHost(t, []Script{script(t, "extensionA", "trap '' TERM; echo > "+up+"; while :; do sleep 0.01; done")}, func(c *Config) { c.Log = zap.New(core) })
	release := make(chan struct{})
	defer close(release)
	receiver(t, 8085, func(http.ResponseWriter, *http.Request) { <-release })
	others := make(chan string, 1)
	receiver(t, 8086, record(others))
	h.Start("127.0.0.1:1")
	require.NoError(t, h.Register(Registration{Name: "extensionA", Address: "127.0.0.1:8085", Events: "shutdown"}))
	require.NoError(t, h.Register(Registration{Name: "b", Address: "127.0.0.1:8086", Events: " Invoke , Shutdown "}))
	eventually(t, func() bool { _, err := os.Stat(up); return err == nil })
	process := h.process("extensionA")
	began := time.Now()
	const limit = 2 * time.Second
	h.Stop(began.Add(limit), ReasonSpindown)
	require.InDelta(t, limit.Seconds(), time.Since(began).Seconds(), 10)
	require.GreaterOrEqual(t, time.Since(began), limit-100*time.Millisecond)
	require.NotEmpty(t, <-others, "the others get it at the same time")
	select {
	case <-process.Exited():
	default:
		t.Error("it still runs")
	}
	require.Equal(t, 1, logs.FilterMessageSnippet("shutdown notice not answered").Len())
	require.Equal(t, 1, logs.FilterMessageSnippet("extension killed").Len())
}

package instance

import (
	"context"
	"gantry/fault"
	"gantry/logger"
	"gantry/metrics"
	"gantry/process"
	"gantry/runtime"
	"gantry/runtime/language"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	fncontext "gantry/context"
)

func TestOnlyLegalStateChangesAreAllowed(t *testing.T) {
	legal := map[[2]State]bool{
		{Init, Ready}: true, {Init, Failed}: true, {Init, Draining}: true, {Ready, Busy}: true, {Ready, Init}: true, {Ready, Draining}: true,
		{Busy, Ready}: true, {Busy, Init}: true, {Busy, Draining}: true, {Failed, Init}: true, {Failed, Draining}: true, {Draining, Stopped}: true,
	}
	for _, from := range States() {
		for _, to := range States() {
			err := from.next(to)
			require.Equal(t, legal[[2]State{from, to}], err == nil, "%s to %s", from, to)
		}
	}
}

func TestCrashesRestartAndFailedStartsGiveUp(t *testing.T) {
	h := &history{}
	require.False(t, h.decide(neverStarted, 0).fail)
	require.False(t, h.decide(neverStarted, 0).fail)
	require.True(t, h.decide(neverStarted, 0).fail, "the third attempt is the last")
	h = &history{}
	var delays []time.Duration
	for range 9 {
		d := h.decide(crashed, time.Second)
		require.False(t, d.fail, "crashes restart for ever")
		require.NotEmpty(t, d.reason)
		delays = append(delays, d.delay)
	}
	ms := time.Millisecond
	require.Equal(t, []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}, delays)
	require.Zero(t, h.decide(crashed, 2*time.Minute).delay, "a minute of health forgets")
	require.Zero(t, h.decide(retired, 0).delay)
	h = &history{}
	require.Zero(t, h.decide(crashed, 0).delay)
	require.Zero(t, h.decide(canceled, 0).delay)
	require.Equal(t, 100*ms, h.decide(crashed, 0).delay, "a cancel is no crash, and no cure for one")
	h = &history{attempts: 2}
	h.decide(crashed, 0)
	require.Zero(t, h.attempts, "a worker that was ready starts the count anew")
}

var supervisor = process.NewSupervisor(false)

type harness struct {
	*Instance
	t  *testing.T
	fn *fncontext.Function
}

// newInstance runs a function with real workers.
func newInstance(t *testing.T, source string, change func(*Config)) *harness {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "index.js"), []byte(source), 0o644))
	lang := language.Default()
	program, err := lang.FindProgram(os.Getenv("PATH"), "", "", nil)
	require.NoError(t, err)
	fn := &fncontext.Function{
		Name: "f", Version: "latest", CodeRoot: root, MemoryMB: 1024, Timeout: 30 * time.Second, InitTimeout: 5 * time.Second, MaxResponse: 1 << 20,
		Handler: fncontext.Handler{File: "index", Symbol: "handler"},
	}
	sink := logger.NewSink(io.Discard, false, nil)
	cfg := &Config{
		Workers: 1, WaitingRoom: 10, LoadTimeout: 20 * time.Second, Metrics: metrics.NewMetrics(Outcomes()), Log: zaptest.NewLogger(t), Sink: sink,
		Runtime: &runtime.Config{
			Language: lang, Program: program, Function: fn, Concurrency: 1, UID: -1, GID: -1, Supervisor: supervisor, Sink: sink, Log: zaptest.NewLogger(t),
			Env: []string{"PATH=" + os.Getenv("PATH"), "RUNTIME_CODE_ROOT=" + root},
		},
	}
	if change != nil {
		change(cfg)
	}
	h := &harness{Instance: New(cfg), t: t, fn: fn}
	h.Start()
	t.Cleanup(func() {
		h.Stop(time.Now().Add(10 * time.Second))
		require.Equal(t, Stopped, h.State())
		h.nothingIsLeft()
		sink.Close(time.Now().Add(10 * time.Second))
	})
	return h
}

// nothingIsLeft holds that every call has given back what it had.
func (h *harness) nothingIsLeft() {
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Empty(h.t, h.calls)
	require.Zero(h.t, h.inFlight)
	require.Zero(h.t, h.unbegun)
	require.Nil(h.t, h.running)
	require.Zero(h.t, h.asyncSlots)
	require.Zero(h.t, h.waiting.Len()+h.waitingAsync.Len())
}

func (h *harness) invoke(event string) Result { return h.call(uuid.NewString(), false, event) }

func (h *harness) invokeAsync(event string) Result { return h.call(uuid.NewString(), true, event) }

func (h *harness) call(id string, async bool, event string) Result {
	return h.Invoke(h.Base(), &fncontext.Invocation{RequestID: id, Function: h.fn, Async: async}, []byte(event))
}

// start invokes in the background; the channel has the result.
func (h *harness) start(id string, async bool, event string) <-chan Result {
	result := make(chan Result, 1)
	go func() { result <- h.call(id, async, event) }()
	return result
}

// eventually waits for a condition.
func (h *harness) eventually(condition func() bool) {
	h.t.Helper()
	require.Eventually(h.t, condition, 20*time.Second, time.Millisecond)
}

const echo = "exports.handler = async (e, c) => { if (e.ms) await new Promise((r) => setTimeout(r, e.ms)); if (e.exit) process.exit(1); return e.n }"

func TestRoomIsFirstComeFirstServed(t *testing.T) {
	source := "const order = []; exports.handler = async (e, c) => { if (e.ms) await new Promise((r) => setTimeout(r, e.ms)); order.push(e.n); return order }"
	h := newInstance(t, source, func(c *Config) { c.WaitingRoom = 50 })
	require.NoError(t, h.WaitReady(h.Base()))
	var wg sync.WaitGroup
	wg.Go(func() { h.invoke(`{"ms":2000,"n":0}`) })
	require.Eventually(t, func() bool { return h.InFlight() == 1 }, 10*time.Second, time.Millisecond)
	for i := 1; i < 10; i++ {
		wg.Go(func() { h.invoke(`{"n":` + string(rune('0'+i)) + `}`) })
		require.Eventually(t, func() bool { return h.Waiting() == i }, 10*time.Second, time.Millisecond)
	}
	wg.Wait()
	require.Equal(t, "[0,1,2,3,4,5,6,7,8,9,10]", string(h.invoke(`{"n":10}`).Body))
	require.Equal(t, Ready, h.State())
}

func TestDeadlineStartsWithTheSlot(t *testing.T) {
	h := newInstance(t, echo, func(c *Config) { c.Runtime.Function.Timeout = time.Second; c.RoomWait = 30 * time.Second })
	require.NoError(t, h.WaitReady(h.Base()))
	var wg sync.WaitGroup
	for range 4 { // together they take longer than one deadline
		wg.Go(func() {
			r := h.invoke(`{"ms":400,"n":1}`)
			if r.Fault != nil || r.Duration > time.Second {
				t.Errorf("%v after %v, waited %v", r.Fault, r.Duration, r.Waited)
			}
		})
	}
	wg.Wait()
}

func TestCrashesRestartAndCallsWait(t *testing.T) {
	h := newInstance(t, echo, nil)
	for range 4 {
		r := h.invoke(`{"exit":true}`)
		require.NotNil(t, r.Fault)
		require.Equal(t, fault.Crash, r.Fault.Kind)
		require.Equal(t, "5", string(h.invoke(`{"n":5}`).Body), "the next call waits for the next worker")
	}
}

func TestDrainRefusesAndWaits(t *testing.T) {
	h := newInstance(t, echo, nil)
	require.NoError(t, h.WaitReady(h.Base()))
	slow := make(chan Result, 1)
	go func() { slow <- h.invoke(`{"ms":300,"n":7}`) }()
	require.Eventually(t, func() bool { return h.State() == Busy }, 10*time.Second, time.Millisecond)
	waiting := make(chan Result, 1)
	go func() { waiting <- h.invoke(`{"n":8}`) }()
	require.Eventually(t, func() bool { return h.Waiting() == 1 }, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, h.Drain(ctx))
	require.Equal(t, "7", string((<-slow).Body))
	r := <-waiting
	require.Equal(t, fault.Unavailable, r.Fault.Kind)
	require.Equal(t, fault.Unavailable, h.invoke(`{}`).Fault.Kind)
}

func TestFailedAnswersWithTheReason(t *testing.T) {
	h := newInstance(t, "throw new Error('broken')", nil)
	r := h.invoke(`{}`)
	require.Equal(t, fault.Init, r.Fault.Kind)
	require.Contains(t, string(r.Fault.Body), "broken")
	require.Equal(t, Failed, h.State())
	<-h.Failed()
	require.Error(t, h.WaitReady(h.Base()))
	require.NoError(t, os.WriteFile(filepath.Join(h.fn.CodeRoot, "index.js"), []byte(echo), 0o644))
	h.Reload()
	require.Equal(t, "1", string(h.invoke(`{"n":1}`).Body))
	require.Nil(t, h.Failure())
}

func TestLoadThatTakesTooLongTimesOut(t *testing.T) {
	h := newInstance(t, "for (;;);", func(c *Config) { c.LoadTimeout = 200 * time.Millisecond })
	r := h.invoke(`{}`)
	require.Equal(t, fault.CodeStartTimeout, r.Fault.Code)
	require.Contains(t, r.Fault.Message, "runtime initialization timed out after 0.2s")
}

func TestSeveralWorkersShareTheCalls(t *testing.T) {
	h := newInstance(t, "exports.handler = async (e, c) => { await new Promise((r) => setTimeout(r, 200)); return process.pid }", func(c *Config) { c.Workers = 3 })
	pids := map[string]int{}
	var mu sync.Mutex
	require.Eventually(t, func() bool {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				r := h.invoke("{}")
				mu.Lock()
				defer mu.Unlock()
				pids[string(r.Body)]++
			})
		}
		wg.Wait()
		return len(pids) == 3
	}, 30*time.Second, time.Millisecond)
}

func TestNotifyComesBeforeTheHandlerAndOnce(t *testing.T) {
	var mu sync.Mutex
	var notified []string
	h := newInstance(t, echo, func(c *Config) {
		c.Notify = func(inv *fncontext.Call) {
			mu.Lock()
			defer mu.Unlock()
			notified = append(notified, inv.RequestID)
		}
	})
	inv := &fncontext.Invocation{RequestID: "the-id", Function: h.fn}
	require.Nil(t, h.Invoke(h.Base(), inv, []byte("{}")).Fault)
	require.Equal(t, []string{"the-id"}, notified)
}

// TestRequestIDInFlightBelongsToOneCall: an id belongs to one call from its admission to its end, and a second call
// with it takes nothing away from the first one.
func TestRequestIDInFlightBelongsToOneCall(t *testing.T) {
	h := newInstance(t, patient, func(c *Config) { c.WaitingRoom = 2 })
	require.NoError(t, h.WaitReady(h.Base()))
	running := h.start("runs", false, `{"hang":true}`)
	h.eventually(func() bool { return h.InFlight() == 1 })
	waiting := h.start("waits", true, "{}")
	h.eventually(func() bool { return h.WaitingAsync() == 1 })
	for _, id := range []string{"runs", "waits"} {
		_, err := h.Admit(h.Base(), &fncontext.Invocation{RequestID: id, Function: h.fn})
		require.ErrorIs(t, err, ErrInFlight)
	}
	require.True(t, h.Cancel("runs"))
	requireCanceled(t, <-running)
	require.Nil(t, (<-waiting).Fault)
	require.Nil(t, h.call("runs", false, "{}").Fault)
	require.Nil(t, h.call("waits", false, "{}").Fault)
}

// TestCallMakesAtMostTwentyFiveAllocations holds the promise of at most 25 allocations in the agent per call.
func TestCallMakesAtMostTwentyFiveAllocations(t *testing.T) {
	h := newInstance(t, echo, func(c *Config) { c.Log = zap.NewNop() })
	require.NoError(t, h.WaitReady(h.Base()))
	event := []byte(`{"n":1}`)
	n := testing.AllocsPerRun(300, func() {
		if r := h.Invoke(h.Base(), &fncontext.Invocation{RequestID: "id", Function: h.fn}, event); r.Fault != nil {
			t.Error(r.Fault)
		}
	})
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	require.LessOrEqual(t, n, 25.0)
	t.Logf("%v allocations per call", n)
}

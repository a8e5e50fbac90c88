package instance

import (
	"gantry/fault"
	"gantry/runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	fncontext "gantry/context"
)

// requireCanceled holds the whole answer of a call that was ended by force.
func requireCanceled(t *testing.T, r Result) {
	t.Helper()
	require.NotNil(t, r.Fault)
	require.Equal(t, fault.Canceled, r.Fault.Kind, r.Fault)
	require.Equal(t, 4208, r.Fault.Code)
	require.Equal(t, "Runtime.Canceled", r.Fault.Type)
	require.Equal(t, "function invocation canceled", r.Fault.Message)
	require.True(t, r.Fault.UserSide())
}

func requireKind(t *testing.T, kind fault.Kind, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.From(err).Kind)
}

// TestCancelEndsTheRuntime: the process is gone when the answer is there, and its successor starts at once, every time.
func TestCancelEndsTheRuntime(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	h := newInstance(t, patient, func(c *Config) { c.Log = zap.New(core) })
	const rounds = 4
	for i := range rounds {
		pid, err := strconv.Atoi(string(h.invoke("{}").Body))
		require.NoError(t, err)
		event := []string{`{"hang":true}`, `{"loop":true}`}[i%2]
		result := h.start("victim", i%2 == 0, event)
		h.traces(i + 1)
		require.True(t, h.Cancel("victim"))
		requireCanceled(t, <-result)
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	}
	require.Nil(t, h.invoke("{}").Fault)
	replaced := logs.FilterMessage("worker replaced").All()
	require.Len(t, replaced, rounds)
	for _, e := range replaced {
		require.Zero(t, e.ContextMap()["delay"], "a cancel is no crash")
		require.Contains(t, e.ContextMap()["reason"], "canceled")
	}
	require.Zero(t, logs.FilterMessage("worker ended").Len())
	require.False(t, h.Cancel("victim"), "it has its answer")
	require.False(t, h.Cancel("nobody"))
}

// TestCancelTakesTheNeighbours: all calls of the worker, and none of another one.
func TestCancelTakesTheNeighbours(t *testing.T) {
	h := newInstance(t, patient, func(c *Config) { c.Workers, c.Runtime.Concurrency = 2, 3 })
	h.eventually(func() bool { // both workers
		h.mu.Lock()
		defer h.mu.Unlock()
		return !slices.Contains(h.workers, nil)
	})
	var ids []string
	results := map[string]<-chan Result{}
	for i := range 6 {
		id := uuid.NewString()
		ids = append(ids, id)
		results[id] = h.start(id, i%2 == 0, `{"hang":true}`)
		h.traces(i + 1)
	}
	h.mu.Lock()
	worker := h.calls[ids[0]].worker
	var company, others []string
	for _, id := range ids {
		if h.calls[id].worker == worker {
			company = append(company, id)
		} else {
			others = append(others, id)
		}
	}
	h.mu.Unlock()
	require.Len(t, company, 3)
	require.True(t, h.Cancel(ids[0]))
	for _, id := range company {
		requireCanceled(t, <-results[id])
	}
	require.Equal(t, 3, h.InFlight())
	require.Nil(t, h.invoke("{}").Fault)
	require.True(t, h.Cancel(others[0]))
	for _, id := range others {
		requireCanceled(t, <-results[id])
	}
}

// TestCancelOfWaitingCallsAffectsNoOtherCall: they leave the waiting rooms, and no other call is affected.
func TestCancelOfWaitingCallsAffectsNoOtherCall(t *testing.T) {
	var order starts
	h := newInstance(t, patient, func(c *Config) { c.Notify = order.record })
	require.NoError(t, h.WaitReady(h.Base()))
	first := h.start("first", false, `{"hang":true}`)
	h.eventually(func() bool { return h.InFlight() == 1 })
	results := map[string]<-chan Result{}
	for _, id := range []string{"a", "b", "c"} {
		results["sync "+id] = h.start("sync "+id, false, "{}")
		results["async "+id] = h.start("async "+id, true, "{}")
	}
	h.eventually(func() bool { return h.Waiting() == 3 && h.WaitingAsync() == 3 })
	for _, id := range []string{"sync b", "async b"} {
		require.True(t, h.Cancel(id))
		r := <-results[id]
		requireCanceled(t, r)
		require.Zero(t, r.Duration)
		require.False(t, h.Cancel(id))
		delete(results, id)
	}
	require.Equal(t, []int{1, 2, 2}, []int{h.InFlight(), h.Waiting(), h.WaitingAsync()})
	require.True(t, h.Cancel("first"))
	requireCanceled(t, <-first)
	for _, result := range results {
		require.Nil(t, (<-result).Fault)
	}
	require.Len(t, order.all(), 5, "those that never ran were not announced")
}

func TestSeveralCancelsOfOneCallEndItOnce(t *testing.T) {
	h := newInstance(t, patient, nil)
	result := h.start("x", false, `{"hang":true}`)
	h.eventually(func() bool { return h.InFlight() == 1 })
	var wg sync.WaitGroup
	var yes atomic.Int32
	for range 8 {
		wg.Go(func() {
			if h.Cancel("x") {
				yes.Add(1)
			}
		})
	}
	wg.Wait()
	requireCanceled(t, <-result)
	require.NotZero(t, yes.Load())
	require.False(t, h.Cancel("x"))
	require.Nil(t, h.invoke("{}").Fault)
}

// TestCancelAtAnyMomentLeavesEachCallAnAnswer: of a call that is being admitted, runs, or has just been answered.
// Whatever comes first counts; a call that Cancel did not find has an answer of its own.
func TestCancelAtAnyMomentLeavesEachCallAnAnswer(t *testing.T) {
	h := newInstance(t, patient, func(c *Config) { c.Workers, c.Runtime.Concurrency, c.WaitingRoom, c.Log = 2, 2, 100, zap.NewNop() })
	for round := range 24 {
		var neighbours [4]<-chan Result
		for i := range neighbours {
			neighbours[i] = h.start(uuid.NewString(), i%2 == 0, "{}")
		}
		victim := h.start("victim", round%2 == 0, "{}")
		found := false
		for !found && len(victim) == 0 {
			found = h.Cancel("victim")
		}
		if r := <-victim; r.Fault != nil {
			require.True(t, found)
			requireCanceled(t, r)
		}
		for _, neighbour := range neighbours {
			if r := <-neighbour; r.Fault != nil {
				requireCanceled(t, r)
			}
		}
	}
	require.Nil(t, h.invoke("{}").Fault)
}

// admitted returns the lease of a call that has a slot.
func (h *harness) admitted(id string, async bool) *Lease {
	h.t.Helper()
	l, err := h.Admit(h.t.Context(), &fncontext.Invocation{RequestID: id, Function: h.fn, Async: async})
	require.NoError(h.t, err)
	return l
}

// TestCancelFindsACallBetweenTwoWorkers: the first one ended before the call reached it, and the call waits nowhere
// at the moment.
func TestCancelFindsACallBetweenTwoWorkers(t *testing.T) {
	h := newInstance(t, patient, nil)
	require.NoError(t, h.WaitReady(h.Base()))
	l := h.admitted("x", false)
	require.False(t, l.release(true))
	require.True(t, h.Cancel("x"))
	err := h.admit(t.Context(), l)
	requireCanceled(t, Result{Fault: fault.From(err)})
	require.False(t, h.Cancel("x"))
	h.forget(l)
}

// TestCallOnItsLastTryCanBeCanceled: no other worker would follow, and it is a cancel all the same.
func TestCallOnItsLastTryCanBeCanceled(t *testing.T) {
	h := newInstance(t, patient, nil)
	require.NoError(t, h.WaitReady(h.Base()))
	l := h.admitted("x", false)
	l.try = maxHandovers
	worker := l.worker
	require.True(t, h.Cancel("x"))
	<-worker.Gone()
	requireCanceled(t, l.Invoke(t.Context(), []byte("{}")))
}

// TestLateCancelReplacesAFailureButNoResult: a failure that the agent has not passed on yet becomes a cancel, which
// is not retried. A result stays one.
func TestLateCancelReplacesAFailureButNoResult(t *testing.T) {
	h := newInstance(t, "exports.handler = async (e, c) => { if (e.fail) throw new Error('asked to fail'); return 1 }", nil)
	require.NoError(t, h.WaitReady(h.Base()))
	run := func(event string) Result {
		l := h.admitted("x", true)
		h.mu.Lock()
		l.canceled = true // the worker is killed too late
		h.mu.Unlock()
		return l.Invoke(t.Context(), []byte(event))
	}
	requireCanceled(t, run(`{"fail":true}`))
	r := run(`{}`)
	require.Nil(t, r.Fault)
	require.Equal(t, "1", string(r.Body))
}

// TestCancelDoesNotFindARefusedCall: it has its answer, even if it does not know yet.
func TestCancelDoesNotFindARefusedCall(t *testing.T) {
	for _, async := range []bool{false, true} {
		a := New(&Config{Workers: 1, WaitingRoom: 1, Runtime: &runtime.Config{Concurrency: 1}, Log: zap.NewNop()})
		l := &Lease{instance: a, call: fncontext.Call{Invocation: &fncontext.Invocation{RequestID: "x", Async: async}}}
		require.NoError(t, a.enter(l))
		a.setState(Draining)
		a.refuseAll()
		require.False(t, a.Cancel("x"))
		requireKind(t, fault.Unavailable, a.wait(t.Context(), l, time.Minute))
	}
}

// TestCancelWorksBeforeTheWorkerSawTheCall: the slot is taken, nothing was sent yet.
func TestCancelWorksBeforeTheWorkerSawTheCall(t *testing.T) {
	var h *harness
	h = newInstance(t, patient, func(c *Config) {
		c.Notify = func(inv *fncontext.Call) { // between the two
			if inv.RequestID == "x" {
				h.mu.Lock()
				w := h.calls["x"].worker
				h.mu.Unlock()
				h.Cancel("x")
				<-w.Gone()
			}
		}
	})
	require.NoError(t, h.WaitReady(h.Base()))
	requireCanceled(t, h.call("x", false, "{}"))
	require.Nil(t, h.invoke("{}").Fault)
}

// TestNeighbourThatWasNotSentGoesOn: a call that the killed worker never saw goes to another one.
func TestNeighbourThatWasNotSentGoesOn(t *testing.T) {
	var h *harness
	h = newInstance(t, patient, func(c *Config) {
		c.Runtime.Concurrency = 2
		c.Notify = func(inv *fncontext.Call) {
			if inv.RequestID == "neighbour" {
				h.mu.Lock()
				w := h.calls["x"].worker
				h.mu.Unlock()
				h.Cancel("x")
				<-w.Gone()
			}
		}
	})
	require.NoError(t, h.WaitReady(h.Base()))
	result := h.start("x", false, `{"hang":true}`)
	h.eventually(func() bool { return h.InFlight() == 1 })
	require.Nil(t, h.call("neighbour", false, "{}").Fault)
	requireCanceled(t, <-result)
}

func TestCancelDuringDrainLetsTheDrainEnd(t *testing.T) {
	h := newInstance(t, patient, nil)
	require.NoError(t, h.WaitReady(h.Base()))
	result := h.start("x", true, `{"hang":true}`)
	h.eventually(func() bool { return h.InFlight() == 1 })
	drained := make(chan error, 1)
	go func() { drained <- h.Drain(t.Context()) }()
	h.eventually(func() bool { return h.State() == Draining })
	require.True(t, h.Cancel("x"))
	requireCanceled(t, <-result)
	require.NoError(t, <-drained)
}

// TestCancelBeatsWhatComesLater: the stop, while the kill is under way. A deadline takes the same way.
func TestCancelBeatsWhatComesLater(t *testing.T) {
	h := newInstance(t, patient, nil)
	require.NoError(t, h.WaitReady(h.Base()))
	result := h.start("x", false, `{"hang":true}`)
	h.eventually(func() bool { return h.InFlight() == 1 })
	require.True(t, h.Cancel("x"))
	h.Stop(time.Now().Add(10 * time.Second))
	requireCanceled(t, <-result)
}

// TestCancelOfADyingWorkerLeavesOneReason: one of the two is the reason, and the next call finds a worker.
func TestCancelOfADyingWorkerLeavesOneReason(t *testing.T) {
	h := newInstance(t, patient, func(c *Config) { c.Log = zap.NewNop() })
	for range 3 {
		result := h.start("x", false, `{"exit":true}`)
		found := false
		for !found && len(result) == 0 {
			found = h.InFlight() == 1 && h.Cancel("x")
		}
		r := <-result
		require.NotNil(t, r.Fault)
		if r.Fault.Kind != fault.Crash {
			require.True(t, found)
			requireCanceled(t, r)
		}
		require.Nil(t, h.invoke("{}").Fault)
	}
	result := h.start("x", false, `{"exit":true}`)
	require.Equal(t, fault.Crash, (<-result).Fault.Kind)
	require.False(t, h.Cancel("x"), "it has its answer")
}

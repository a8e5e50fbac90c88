package agent

import (
	"context"
	"gantry/fault"
	"gantry/runtime"
	"time"

	fncontext "gantry/context"
)

// Lease is one call's right to run: a slot of a worker. Done must be called once.
type Lease struct {
	agent  *Agent
	worker *runtime.Worker
	inv    *fncontext.Invocation
	// Waited is the time in the waiting room.
	Waited time.Duration
}

// admit gives the call a slot: at once, or out of the waiting room in order of arrival. The call's deadline starts here.
func (a *Agent) admit(ctx context.Context, inv *fncontext.Invocation) (*Lease, error) {
	a.mu.Lock()
	if err := a.refusal(); err != nil {
		a.mu.Unlock()
		return nil, err
	}
	if a.waiting.Len() == 0 {
		if w := a.pick(); w != nil {
			a.begin()
			a.mu.Unlock()
			return &Lease{agent: a, worker: w, inv: inv}, nil
		}
	}
	if a.waiting.Len() >= a.room() {
		a.mu.Unlock()
		a.cfg.Metrics.Rejects.Inc()
		return nil, throttled("the waiting room is full (GANTRY_QUEUE)")
	}
	me := &waiter{given: make(chan *runtime.Worker, 1)}
	place := a.waiting.PushBack(me)
	limit := a.waitLimit(inv)
	a.mu.Unlock()

	began := time.Now()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case w := <-me.given:
		return a.granted(w, inv, began)
	case <-timer.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	select {
	case w := <-me.given: // at the same moment
		a.mu.Unlock()
		return a.granted(w, inv, began)
	default:
	}
	a.waiting.Remove(place)
	a.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, stopped()
	case !inv.Deadline.IsZero():
		return nil, runtime.TimeoutFault(inv, "the worker ended just before the call reached it, and the next one was not ready in time")
	}
	a.cfg.Metrics.Rejects.Inc()
	return nil, throttled("the wait for a free worker was too long (GANTRY_QUEUE_WAIT)")
}

func (a *Agent) granted(w *runtime.Worker, inv *fncontext.Invocation, began time.Time) (*Lease, error) {
	if w == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if err := a.refusal(); err != nil {
			return nil, err
		}
		return nil, throttled("the function was reloaded; try again")
	}
	return &Lease{agent: a, worker: w, inv: inv, Waited: time.Since(began)}, nil
}

// refusal says why no call can be admitted, or nil; called with mu held.
func (a *Agent) refusal() error {
	switch a.state {
	case Failed:
		return a.failure
	case Draining, Stopped:
		return stopped()
	}
	return nil
}

func throttled(why string) *fault.Error {
	return &fault.Error{Kind: fault.Throttled, Type: fault.TypeThrottled, Code: fault.CodeMaxInstances, Message: "too many requests: " + why}
}

func stopped() *fault.Error {
	return &fault.Error{Kind: fault.Unavailable, Type: fault.TypeDraining, Code: fault.CodeUnavailable, Message: "the instance is stopping"}
}

// room is how many calls may wait; called with mu held. A start is waited for even when nobody else may wait.
func (a *Agent) room() int {
	if a.state == Init {
		return max(a.cfg.Queue, a.cfg.Workers*a.cfg.Runtime.Concurrency)
	}
	return a.cfg.Queue
}

// waitLimit is how long a call may wait; called with mu held. A call that had a slot before, of a worker that ended before
// it was reached, has its old deadline.
func (a *Agent) waitLimit(inv *fncontext.Invocation) time.Duration {
	fn := a.cfg.Runtime.Function
	switch {
	case !inv.Deadline.IsZero():
		return time.Until(inv.Deadline)
	case a.cfg.QueueWait > 0:
		return a.cfg.QueueWait
	case a.state == Init:
		return fn.Timeout + maxAttempts*(a.cfg.LoadTimeout+fn.InitTimeout)
	}
	return fn.Timeout
}

// pick takes a slot of the worker with the fewest calls; called with mu held.
func (a *Agent) pick() *runtime.Worker {
	var best *runtime.Worker
	least := 0
	for _, w := range a.workers {
		if w == nil {
			continue
		}
		if busy := w.Busy(); best == nil || busy < least {
			best, least = w, busy
		}
	}
	if best != nil && best.Acquire() {
		return best
	}
	return nil
}

// begin counts a call that got a slot; called with mu held.
func (a *Agent) begin() {
	a.inFlight++
	a.follow()
}

// dispatch gives free slots to those who wait; called with mu held.
func (a *Agent) dispatch() {
	for a.waiting.Len() > 0 {
		w := a.pick()
		if w == nil {
			return
		}
		a.begin()
		a.waiting.Remove(a.waiting.Front()).(*waiter).given <- w
	}
}

// release returns the slot.
func (l *Lease) release() {
	a := l.agent
	l.worker.Release()
	a.mu.Lock()
	a.inFlight--
	a.follow()
	a.dispatch()
	a.checkEmpty()
	a.mu.Unlock()
}

// Claim reserves a request id for a call; false if it is in flight already. Forget must follow.
func (a *Agent) Claim(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, taken := a.ids[id]; taken {
		return false
	}
	a.ids[id] = struct{}{}
	return true
}

// Forget frees a claimed request id.
func (a *Agent) Forget(id string) {
	a.mu.Lock()
	delete(a.ids, id)
	a.mu.Unlock()
}

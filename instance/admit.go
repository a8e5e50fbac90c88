package instance

import (
	"container/list"
	"context"
	"gantry/fault"
	"gantry/runtime"
	"math"
	"time"
)

// admit gives the call a slot: at once, or out of its waiting room in order of arrival. The call's deadline starts
// here.
func (a *Instance) admit(ctx context.Context, l *Lease) error {
	a.mu.Lock()
	err := a.enter(l)
	limit := a.waitLimit(l)
	worker := l.worker
	a.mu.Unlock()
	if err != nil || worker != nil {
		return err
	}
	return a.wait(ctx, l, limit)
}

// enter starts the call, or puts it into its waiting room; called with mu held.
func (a *Instance) enter(l *Lease) error {
	if other := a.calls[l.call.RequestID]; other != nil && other != l {
		return ErrInFlight
	}
	err := a.refusal()
	switch {
	case l.canceled:
		err = runtime.CanceledFault()
	case a.tryAgain():
		err = nil
	}
	if err == nil {
		if w := a.direct(l); w != nil {
			a.begin(l, w)
			return nil
		}
		if !l.call.Async && a.behind() >= a.room() {
			a.cfg.Metrics.Rejects.Inc()
			err = throttled("the waiting room is full (GANTRY_QUEUE)")
		}
	}
	if err != nil {
		l.ended = true
		return err
	}
	l.given = make(chan struct{})
	if l.try > 1 && !l.came.IsZero() {
		l.place = a.inOrder(l) // it has begun: those before it have as well
	} else {
		l.place = a.roomOf(l).PushBack(l)
	}
	a.calls[l.call.RequestID] = l
	return nil
}

// direct takes a slot for a call that just came, unless others are before it: those of its own kind, and those of the
// other kind whose turn it is. Called with mu held.
func (a *Instance) direct(l *Lease) *runtime.Worker {
	if a.waiting.Len() > 0 {
		return nil
	}
	if a.waitingAsync.Len() > 0 && (l.call.Async || a.turns.async(true, true)) {
		return nil
	}
	return a.pick(l.ahead != nil && !a.extended() && a.behind() < a.room())
}

// wait waits for a slot until limit has passed or ctx ends.
func (a *Instance) wait(ctx context.Context, l *Lease, limit time.Duration) error {
	began := time.Now()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	defer func() { l.waited += time.Since(began) }()
	select {
	case <-l.given:
		if l.worker != nil {
			return nil
		}
	case <-timer.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.worker != nil { // at the same moment
		return nil
	}
	err := a.whyNot(ctx, l)
	if l.place != nil {
		a.takeOut(l)
	}
	l.ended = true
	return err
}

// whyNot says why a call that waited has got no slot; called with mu held.
func (a *Instance) whyNot(ctx context.Context, l *Lease) error {
	switch {
	case l.canceled:
		return runtime.CanceledFault()
	case l.place == nil: // it was sent to look
		if err := a.refusal(); err != nil {
			return err
		}
		return throttled("the function was reloaded; try again")
	case ctx.Err() != nil:
		return stopped()
	case l.try > 1:
		return runtime.TimeoutFault(
			&l.call,
			"the worker ended just before the call reached it, and the next one was not ready in time",
		)
	}
	a.cfg.Metrics.Rejects.Inc()
	return throttled("the wait for a free worker was too long (GANTRY_QUEUE_WAIT)")
}

// refusal says why no call can be admitted, or nil; called with mu held.
func (a *Instance) refusal() error {
	switch a.state {
	case Failed:
		return a.failure
	case Draining, Stopped:
		return stopped()
	}
	return nil
}

func throttled(why string) *fault.Error {
	return &fault.Error{
		Kind:    fault.Throttled,
		Type:    fault.TypeThrottled,
		Code:    fault.CodeMaxInstances,
		Message: "too many requests: " + why,
	}
}

func stopped() *fault.Error {
	return &fault.Error{
		Kind:    fault.Unavailable,
		Type:    fault.TypeDraining,
		Code:    fault.CodeUnavailable,
		Message: "the instance is stopping",
	}
}

// room is how many synchronous calls may wait; called with mu held. While a worker starts, or while asynchronous calls
// hold slots, synchronous calls may wait even with GANTRY_QUEUE at 0; otherwise they would always be rejected.
func (a *Instance) room() int {
	if a.state == Init || a.state == Failed { // with a try under way, which this call has begun
		return max(a.cfg.WaitingRoom, a.cfg.Workers*a.cfg.Runtime.Concurrency)
	}
	return max(a.cfg.WaitingRoom, a.asyncSlots)
}

// roomOf is where the call waits.
func (a *Instance) roomOf(l *Lease) *list.List {
	if l.call.Async {
		return a.waitingAsync
	}
	return a.waiting
}

// takeOut takes a call out of its waiting room; called with mu held.
func (a *Instance) takeOut(l *Lease) {
	a.roomOf(l).Remove(l.place)
	l.place = nil
	close(l.given)
}

// forever is the limit of a wait that only its context ends.
const forever = time.Duration(math.MaxInt64)

// waitLimit is how long a call may wait; called with mu held. A call whose worker ended before the call reached it
// keeps its old deadline. An asynchronous call has no limit here: its caller limits the wait.
func (a *Instance) waitLimit(l *Lease) time.Duration {
	fn := a.cfg.Runtime.Function
	switch {
	case l.try > 1:
		return time.Until(l.call.Deadline)
	case l.call.Async:
		return forever
	case a.cfg.RoomWait > 0:
		return a.cfg.RoomWait
	case a.state == Init || a.state == Failed:
		return fn.Timeout + maxAttempts*(a.cfg.LoadTimeout+fn.InitTimeout)
	}
	return fn.Timeout
}

// pick takes a slot of the worker with the fewest calls, behind others of its calls if that is allowed; called with mu
// held.
func (a *Instance) pick(ahead bool) *runtime.Worker {
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
	if best == nil || ahead && !best.AcquireAhead() || !ahead && !best.Acquire() {
		return nil
	}
	return best
}

// begin gives the call a slot; called with mu held.
func (a *Instance) begin(l *Lease, w *runtime.Worker) {
	a.thaw()
	a.uses++
	l.worker = w
	a.calls[l.call.RequestID] = l
	a.turns.started(l.call.Async, a.waitingAsync.Len() > 0)
	if l.ahead != nil && !a.extended() && w.WritesAhead() {
		l.unbegun = true
		a.unbegun++
		a.handed = append(a.handed, l)
		return
	}
	a.inFlight++
	if l.call.Async {
		a.asyncSlots++
	}
	a.follow()
}

// dispatch gives free slots to those who wait, in turns; called with mu held, and after everything that frees a slot.
func (a *Instance) dispatch() {
	for a.waiting.Len()+a.waitingAsync.Len() > 0 {
		room := a.waiting
		if a.turns.async(a.waiting.Len() > 0, a.waitingAsync.Len() > 0) {
			room = a.waitingAsync
		}
		l := room.Front().Value.(*Lease)
		w := a.pick(l.ahead != nil && !a.extended())
		if w == nil {
			return
		}
		a.begin(l, w)
		if l.unbegun { // its caller waits on
			room.Remove(l.place)
			l.place = nil
			continue
		}
		a.takeOut(l)
	}
}

// refuseAll empties the waiting rooms; each call in them then looks at the state. Called with mu held.
func (a *Instance) refuseAll() {
	for _, room := range []*list.List{a.waiting, a.waitingAsync} {
		for e := room.Front(); e != nil; e = room.Front() {
			l := e.Value.(*Lease)
			a.takeOut(l)
			l.ended = true
		}
	}
}

// tryAgain has one keeper start a new worker, if the instance has failed and a try is due. It reports whether the
// caller began that try, and is to wait for it. Called with mu held.
func (a *Instance) tryAgain() bool {
	if a.state != Failed || !a.retry.begin(time.Now()) {
		return false
	}
	select {
	case a.again <- struct{}{}:
	default: // not taken yet
	}
	return true
}

// settleRetry forgets failures: a worker is ready, or a reload begins. A failed instance is in Init then. Called with
// mu held.
func (a *Instance) settleRetry() {
	a.retry.end()
	a.retry = retry{}
	a.failure = nil
	select {
	case <-a.again:
	default:
	}
	if a.state == Failed {
		a.setState(Init)
	}
}

// ErrInFlight is the error of Admit for a request id that another call has until its end.
var ErrInFlight = &fault.Error{
	Kind:    fault.Conflict,
	Type:    fault.TypeBadRequest,
	Code:    fault.CodeBadRequest,
	Message: "a call with this request id is in flight",
}

package instance

import (
	"context"
	"errors"
	"gantry/logger"
	"gantry/runtime"
	"time"

	fncontext "gantry/context"
)

// mayGoAhead reports whether a call may be written to its worker behind the one that runs. Extensions are notified
// right before a call begins, which only the agent can do; asynchronous calls keep their own order with the others.
func (a *Instance) mayGoAhead(inv *fncontext.Invocation, event []byte) bool {
	return a.cfg.Runtime.WritesAhead() && !inv.Async && runtime.CanWriteAhead(inv, event) && !a.extended()
}

// invokeAhead is Invoke for a call that may be written ahead. It waits for the worker's answer where others wait for a
// slot: such a call is handed over and begins without its caller.
func (a *Instance) invokeAhead(ctx context.Context, inv *fncontext.Invocation, event []byte) Result {
	if a.cfg.Complete != nil {
		if err := a.cfg.Complete(ctx); err != nil {
			return Result{Fault: a.refused(err)}
		}
	}
	l := &Lease{instance: a, call: fncontext.Call{Invocation: inv}, try: 1, came: time.Now()}
	l.log = logger.NewRequest(a.cfg.Sink, inv.RequestID, a.cfg.Runtime.Several, inv.Tail)
	a.mu.Lock()
	l.latest = l.came.Add(a.waitLimit(l))
	l.ahead = runtime.NewAhead(&l.call, event, l.log, l.latest, l.begin, l.back)
	err := a.enter(l)
	if l.given == nil { // it may be taken back
		l.given = make(chan struct{})
	}
	handed := l.worker == nil || l.unbegun
	a.mu.Unlock()
	a.handOver()
	for err == nil && handed {
		answer, failed := l.ahead.Await(ctx, l.given)
		switch {
		case errors.Is(failed, runtime.ErrTakenBack):
			err = l.goesOn(ctx)
		case errors.Is(failed, runtime.ErrWaited):
			err = a.giveUp(ctx, l)
		case errors.Is(failed, runtime.ErrGiven):
			handed = false
			l.waited = time.Since(l.came)
			a.mu.Lock()
			if l.worker == nil {
				err = a.whyNot(ctx, l)
				l.ended = true
			}
			a.mu.Unlock()
		default:
			return l.answered(ctx, work{event: event}, answer, failed)
		}
	}
	l.ahead.Drop()
	l.ahead = nil
	if err != nil {
		if errors.Is(err, ErrInFlight) {
			return Result{Fault: ErrInFlight}
		}
		a.forget(l)
		return Result{Fault: a.refused(err)}
	}
	return l.Invoke(ctx, event)
}

// giveUp ends the wait of a call for which it was too long, or says with nil that it has got a slot meanwhile.
func (a *Instance) giveUp(ctx context.Context, l *Lease) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.place == nil {
		return nil
	}
	err := a.whyNot(ctx, l)
	a.takeOut(l)
	l.ended = true
	return err
}

// begin is called when the call begins: its caller may be asleep.
func (l *Lease) begin(now time.Time) {
	a := l.instance
	a.mu.Lock()
	l.unbegun = false
	a.unbegun--
	if a.running != nil { // answered, but its caller has not returned the slot: this call has it now
		a.running.over = true
		a.inFlight--
	}
	a.running = l
	a.inFlight++
	canceled, w := l.canceled, l.worker
	a.follow()
	a.mu.Unlock()
	if canceled { // at the same moment
		w.Cancel()
	}
	l.waited = now.Sub(l.came)
	l.announce()
	l.cpu = w.Meter().CPU(now)
	l.others = w.Meter().Others()
}

// answered ends a call that has begun ahead. Duration and CPU are the worker's own: the agent reads answers in groups.
func (l *Lease) answered(ctx context.Context, job work, answer runtime.Result, err error) Result {
	meter, now := l.worker.Meter(), time.Now()
	took, cpu := now.Sub(l.began), meter.CPU(now)-l.cpu
	if answer.Took > 0 {
		took, cpu = min(answer.Took, now.Sub(l.came)), max(0, answer.CPU+meter.Others()-l.others)
	}
	r, again := l.settle(Result{Body: answer.Body, Text: answer.Text}, err, took, cpu)
	l.ahead = nil // a second worker gets it with the deadline that it has
	return l.finish(ctx, job, r, again)
}

// back puts a call that was taken back into the waiting room, to the place that it had by its arrival, or leaves it to
// its caller to find out why it can have none.
func (l *Lease) back() {
	a := l.instance
	a.mu.Lock()
	defer a.mu.Unlock()
	l.worker.Release()
	l.worker, l.unbegun = nil, false
	a.unbegun--
	l.ahead.Again(l.latest)
	if l.canceled || a.refusal() != nil {
		l.ended = true
		return
	}
	l.place = a.inOrder(l)
}

// goesOn is called when the call was taken back: its place may be the first one.
func (l *Lease) goesOn(ctx context.Context) (err error) {
	a := l.instance
	a.mu.Lock()
	if l.worker == nil && l.place == nil {
		err = a.whyNot(ctx, l)
		l.ended = true
	}
	if time.Until(l.latest) > 0 { // else its wait ends first
		a.dispatch()
	}
	a.checkEmpty()
	a.mu.Unlock()
	a.handOver()
	return err
}

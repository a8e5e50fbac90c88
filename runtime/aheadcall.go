package runtime

import (
	"context"
	"errors"
	fncontext "gantry/context"
	"gantry/fault"
	"gantry/logger"
	"sync/atomic"
	"time"
)

// Ahead is a call that may be written ahead: its caller waits in Await for whatever comes first, while others hand it
// over. It can be used again after ErrTakenBack.
type Ahead struct {
	call  *call
	inv   *fncontext.Call
	event []byte
	to    atomic.Pointer[ahead] // nil until it is handed over
}

// NewAhead returns a call that waits for its begin until latest at most. begun is called once, when the call begins,
// before anything of its output is handled; it sets the deadline of inv. back is called each time the call is taken
// back, of all that are taken back together in their order, before Await returns for any of them; it calls Again. Both
// wait for nothing.
func NewAhead(
	inv *fncontext.Call, event []byte, log *logger.Request, latest time.Time, begun func(time.Time), back func(),
) *Ahead {
	c := callPool.Get().(*call)
	c.log, c.hint, c.stack, c.company = log, "", nil, false
	c.inv, c.begun, c.back, c.started = inv, begun, back, false
	h := &Ahead{call: c, inv: inv, event: event}
	h.Again(latest)
	return h
}

// Again prepares a call that was taken back, before it can be handed over once more.
func (h *Ahead) Again(latest time.Time) {
	h.to.Store(nil)
	h.call.timer.Reset(time.Until(latest))
}

// Drop ends a call that is not handed over any more.
func (h *Ahead) Drop() {
	for len(h.call.done) > 0 { // that it was taken back before
		<-h.call.done
	}
	(*calls)(nil).recycle(h.call)
}

// HandOver gives calls to the worker, in this order; each has its slot. It returns what writes them, nil if there is
// nothing to write: without the locks that keep the order, so that calls that come together leave together.
func (w *Worker) HandOver(all []*Ahead) (write func()) {
	f := &w.transport.(*frames).ahead
	lead, company := false, false
	var refused []*call
	for _, h := range all {
		h.to.Store(f)
		leader, behind, err := f.enlist(h.call, h.inv, h.event)
		if err != nil {
			refused = append(refused, h.call)
			continue
		}
		lead, company = lead || leader, company || behind
	}
	giveBack(refused)
	if !lead {
		return nil
	}
	return func() { f.events.flushAhead(company) }
}

// Errors of Ahead.Await, beside those of Transport.
var (
	// ErrGiven says that the channel was closed.
	ErrGiven = errors.New("the call has left the waiting room")
	// ErrWaited says that the call's wait or the context has ended, and that it was not handed over.
	ErrWaited = errors.New("the call has waited too long")
)

// Await waits for the answer, or for what else happens to the call; given is closed when it leaves the waiting room in
// another way than by HandOver. ErrTakenBack comes only before begun was called, ErrNotSent only after that.
func (h *Ahead) Await(ctx context.Context, given <-chan struct{}) (Result, error) {
	c, quit := h.call, ctx.Done()
	for {
		var r reply
		select {
		case r = <-c.done:
			return h.end(r)
		case <-given:
			return Result{}, ErrGiven
		case <-c.timer.C:
		case <-quit:
			quit = nil
		}
		f := h.to.Load()
		if f == nil {
			c.timer.Reset(takeBackPause) // it may be handed over at this moment
			return Result{}, ErrWaited
		}
		if f.overtime(ctx, c, h.inv, &r) {
			return h.end(r)
		}
	}
}

// end returns the answer.
func (h *Ahead) end(r reply) (Result, error) {
	f := h.to.Load()
	if r.taken {
		return Result{}, ErrTakenBack
	}
	h.Drop()
	if r.unsent {
		return Result{}, ErrNotSent
	}
	if r.err != nil && r.err.Kind == fault.Timeout && r.err.Hint == "" {
		r.err.Hint = f.worker.cfg.Language.Unanswered
	}
	return r.result, r.fault()
}

// overtime ends a call whose deadline has passed, or ctx; one that has not begun is taken back. False if its answer is
// still to be waited for.
func (f *ahead) overtime(ctx context.Context, c *call, inv *fncontext.Call, r *reply) bool {
	f.mu.Lock()
	started := c.started
	if started && ctx.Err() == nil && time.Now().Before(inv.Deadline) { // it began at this moment
		c.timer.Reset(time.Until(inv.Deadline))
		f.mu.Unlock()
		return false
	}
	f.mu.Unlock()
	if !started {
		f.takeBack(false)
		f.mu.Lock()
		defer f.mu.Unlock()
		if !c.started {
			c.timer.Reset(takeBackPause)
		} else if ctx.Err() != nil {
			c.timer.Reset(0)
		}
		return false
	}
	why := TimeoutFault
	if ctx.Err() != nil {
		why = stoppedFault
	}
	for *r = f.abandon(c, inv, why, f.quit); r.taken; { // of before
		*r = <-c.done
	}
	return true
}

package runtime

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	fncontext "gantry/context"
)

// Why a streamed exchange was ended.
var (
	errFirstByte = errors.New("no answer within the timeout")
	errIdle      = errors.New("nothing passed within the idle limit")
	errLeft      = errors.New("the caller left")
	errEnding    = errors.New("the function's server ends")
)

// streamLimit ends a streamed exchange: at the call's deadline if there is no answer, when nothing has passed for a
// while, when the caller leaves, and with the instance.
type streamLimit struct {
	// outer ends with the instance; ctx also with the exchange, with the reason as its cause.
	outer, ctx context.Context
	cancel     context.CancelCauseFunc
	caller     Caller
	idle       time.Duration
	timer      *time.Timer
	last       atomic.Int64  // unix nanoseconds of what passed last; 0 before the answer begins
	done       chan struct{} // closed when nothing is to be watched any more
	resting    bool
}

func newStreamLimit(ctx context.Context, inv *fncontext.Call, idle time.Duration, caller Caller) *streamLimit {
	l := &streamLimit{outer: ctx, caller: caller, idle: idle, done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.timer = time.AfterFunc(time.Until(inv.Deadline), l.strike)
	go l.watch()
	return l
}

// watch ends the exchange when the caller leaves, and what waits for the caller when the exchange ends.
func (l *streamLimit) watch() {
	select {
	case <-l.caller.Left():
		l.end(errLeft)
	case <-l.ctx.Done():
	case <-l.done:
		return
	}
	if l.last.Load() != 0 { // else the caller gets an answer that says why
		l.caller.Abort()
	}
}

// begin says that the answer has begun: from now on only silence ends it.
func (l *streamLimit) begin() {
	l.last.Store(time.Now().UnixNano())
	l.timer.Reset(l.idle)
}

// moved says that something passed.
func (l *streamLimit) moved() {
	if l.last.Load() != 0 {
		l.last.Store(time.Now().UnixNano())
	}
}

// strike ends the exchange unless something has passed meanwhile.
func (l *streamLimit) strike() {
	last := l.last.Load()
	if last == 0 {
		l.end(errFirstByte)
		return
	}
	if left := l.idle - time.Since(time.Unix(0, last)); left > 0 {
		l.timer.Reset(left)
		return
	}
	l.end(errIdle)
}

// end ends the exchange; the first reason counts.
func (l *streamLimit) end(why error) { l.cancel(why) }

// rest ends the watch of the caller; the idle limit and the end of the instance still count.
func (l *streamLimit) rest() {
	if !l.resting {
		l.resting = true
		close(l.done)
	}
}

// release ends the watch of an exchange that is over.
func (l *streamLimit) release() {
	l.rest()
	l.timer.Stop()
	l.cancel(nil)
}

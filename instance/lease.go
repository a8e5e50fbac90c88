package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime"
	"gantry/telemetry"
	"time"

	fncontext "gantry/context"
)

// Admit gives a call its request id and a slot of a worker, and waits for the slot in the call's waiting room. ctx must
// not end when a client leaves. The error is a *fault.Error: ErrInFlight, or why no slot can be had. A lease is
// returned with Invoke or Drop. Every way to call the function begins here: the function listener, the platform API,
// the queue, the runtime API's events and the command invoke.
func (a *Instance) Admit(ctx context.Context, inv *fncontext.Invocation) (*Lease, error) {
	if a.cfg.Complete != nil {
		if err := a.cfg.Complete(ctx); err != nil {
			return nil, a.refused(err)
		}
	}
	l := &Lease{instance: a, call: fncontext.Call{Invocation: inv}, try: 1}
	if err := a.admit(ctx, l); err != nil {
		if errors.Is(err, ErrInFlight) {
			return nil, ErrInFlight
		}
		a.forget(l)
		return nil, a.refused(err)
	}
	return l, nil
}

// refused counts a call that never began.
func (a *Instance) refused(err error) *fault.Error {
	f := fault.From(err)
	a.cfg.Metrics.Outcome(f.Kind.String())
	return f
}

// forget frees the request id of a call that has ended.
func (a *Instance) forget(l *Lease) {
	id := l.call.RequestID
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls[id] == l {
		delete(a.calls, id)
	}
}

// Drop returns the slot of a call that does not begin, and returns its fault: why, or that it was canceled meanwhile.
func (l *Lease) Drop(why error) *fault.Error {
	if l.release(false) {
		why = runtime.CanceledFault()
	}
	l.instance.forget(l)
	return l.instance.refused(why)
}

// Invoke runs the call on the caller's goroutine, from its first log line to its summary, and ends the lease. A worker
// that ends before it was sent the event is replaced by another one. ctx is Admit's.
func (l *Lease) Invoke(ctx context.Context, event []byte) Result {
	return l.end(ctx, work{event: event})
}

// Forward is Invoke for a request that the function's server gets as it came: the answer is in x, and its status in the
// result, unless the call ended without one.
func (l *Lease) Forward(ctx context.Context, x runtime.Exchange) Result {
	return l.end(ctx, work{exchange: x})
}

// work is what a call hands to its worker: an event, or a request.
type work struct {
	event    []byte
	exchange runtime.Exchange
}

func (l *Lease) end(ctx context.Context, job work) Result {
	l.announce()
	r, again := l.run(ctx, job)
	return l.finish(ctx, job, r, again)
}

// finish takes a call to other workers as long as it needs one, and ends the lease.
func (l *Lease) finish(ctx context.Context, job work, r Result, again bool) Result {
	a := l.instance
	for again {
		l.try++
		if err := a.admit(ctx, l); err != nil {
			r.Fault = fault.From(err)
			break
		}
		r, again = l.run(ctx, job)
	}
	l.close(&r)
	a.forget(l)
	a.idle()
	if l.late != nil {
		r.Hang = l.late.Hang()
	}
	return r
}

// announce publishes the begin of the call, once for all workers that the call needs. The function's time starts after
// the extensions that delay it.
func (l *Lease) announce() {
	a := l.instance
	timeout := a.cfg.Runtime.Function.Timeout
	if l.log == nil {
		l.log = logger.NewRequest(a.cfg.Sink, l.call.RequestID, a.cfg.Runtime.Several, l.call.Tail)
	}
	if !l.call.Async { // RoomWait counts only calls whose caller waits
		a.cfg.Metrics.RoomWait.Observe(l.waited)
	}
	if a.cfg.Notify != nil {
		l.call.Deadline = time.Now().Add(timeout)
		a.cfg.Notify(&l.call)
	}
	l.began = time.Now()
	l.call.Deadline = l.began.Add(timeout)
	l.line = startLine(l.call.Invocation)
	l.log.Platform(l.began, l.line)
	a.cfg.Stream.Publish(&telemetry.Event{Kind: telemetry.Start, Begin: l.began, RequestID: l.call.RequestID})
}

// run invokes the handler and returns the slot. It reports whether the call needs another worker.
func (l *Lease) run(ctx context.Context, job work) (r Result, again bool) {
	began := time.Now()
	meter := l.worker.Meter()
	cpu := meter.CPU(began)
	r, err := l.hand(ctx, job)
	now := time.Now()
	return l.settle(r, err, now.Sub(began), meter.CPU(now)-cpu)
}

// settle notes how the call ended on its worker, with what it took there, and returns the slot. It reports whether the
// call needs another worker.
func (l *Lease) settle(r Result, err error, took, cpu time.Duration) (_ Result, again bool) {
	if err != nil {
		r.Fault = fault.From(err)
		if errors.Is(err, runtime.ErrNotSent) {
			l.worker.Retire()
			again = l.try < maxHandovers
			r.Fault = &fault.Error{
				Kind:    fault.Crash,
				Type:    fault.TypeExited,
				Code:    fault.CodeExited,
				Message: "no worker lived long enough to take the call",
				Err:     err,
			}
		}
		if r.Fault.Kind == fault.Timeout && !errors.Is(err, runtime.ErrWorkerStays) {
			l.late = l.worker
			l.worker.Retire()
		}
	}
	r.Summary = summarize(
		took,
		cpu,
		l.worker.Meter().Read(time.Now()).Peak,
		cmp.Or(l.call.MemoryMB, l.instance.cfg.Runtime.Function.MemoryMB),
	)
	r.Waited = l.waited
	if l.release(again) && r.Fault != nil { // whatever else went wrong is not to be repeated
		r.Fault, again = runtime.CanceledFault(), false
	}
	return r, again
}

// serverError is the least HTTP status by which a server says that it failed.
const serverError = 500

// hand gives the job to the worker. A status of 500 or more is a failure of the function, which has been answered.
func (l *Lease) hand(ctx context.Context, job work) (Result, error) {
	if job.exchange == nil {
		answer, err := l.worker.Invoke(ctx, &l.call, job.event, l.log)
		return Result{Body: answer.Body, Text: answer.Text}, err
	}
	r := Result{}
	err := l.worker.Forward(ctx, &l.call, job.exchange, l.log)
	r.Status, r.Sent = job.exchange.Answered()
	if err != nil {
		return r, err
	}
	if r.Status >= serverError {
		r.Fault = &fault.Error{
			Kind: fault.Function, Type: "FunctionReturnError", Code: fault.CodeInvocation,
			Message: fmt.Sprintf("the function's server answered with status %d", r.Status),
		}
	}
	return r, nil
}

// release returns the slot. The call stays one that can be canceled if it goes on to another worker. It reports whether
// it was canceled.
func (l *Lease) release(goesOn bool) bool {
	a := l.instance
	l.worker.Release()
	a.mu.Lock()
	l.worker = nil
	l.ended = !goesOn || l.canceled
	if a.running == l {
		a.running = nil
	}
	if !l.over { // else the next call has it
		a.inFlight--
	}
	l.over = false
	if l.call.Async {
		a.asyncSlots--
	}
	a.follow()
	a.dispatch()
	a.checkEmpty()
	canceled, hand := l.canceled, len(a.handed) > 0
	a.mu.Unlock()
	if hand {
		a.handOver()
	}
	return canceled
}

// close writes the end of the log, counts the call and keeps the tail.
func (l *Lease) close(r *Result) {
	now := time.Now()
	outcome := OutcomeSuccess
	l.log.Flush(now)
	if f := r.Fault; f != nil {
		outcome = f.Kind.String()
		// the agent's own failure: the worker has logged the others
		if len(f.Body) == 0 && f.Kind != fault.Function && f.Kind != fault.Event {
			l.log.Logger(now, "ERROR", []byte(f.Message), false)
			if f.Hint != "" && !l.instance.cfg.Once { // there the answer has it
				l.log.Logger(now, "WARN", []byte(f.Hint), false)
			}
		}
	}
	l.log.Platform(now, finishLine(l.line[:0], l.call.Invocation, r))
	l.endEvents(r, now)
	l.instance.cfg.Metrics.Outcome(outcome)
	l.instance.cfg.Metrics.Duration.Observe(r.Duration)
	if l.call.Tail {
		r.Tail = l.log.Tail()
	}
}

// maxHandovers bounds how often a call may find its worker gone before it was reached.
const maxHandovers = 3

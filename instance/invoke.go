package instance

import (
	"cmp"
	"context"
	"errors"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime"
	"gantry/telemetry"
	"math"
	"strconv"
	"time"

	fncontext "gantry/context"
)

// Summary is the execution summary of one call. It is the zero value for a call that never ran.
type Summary struct {
	Duration time.Duration
	// Billed is Duration rounded up to whole milliseconds.
	Billed time.Duration
	// MemoryMB is the limit, or what the caller asked for, MemoryUsed the peak of the worker's process tree so far,
	// both in MB (2^20 bytes).
	MemoryMB   int
	MemoryUsed float64
	// CPU is how many cores the worker's process tree kept busy on average during the call.
	CPU float64
	// Waited is the time in the waiting room; not part of Duration.
	Waited time.Duration
}

// Result is the answer to one call: Body, or Fault.
type Result struct {
	Body []byte
	// Text is set when the handler answered a bare string, number or truth value.
	Text  bool
	Fault *fault.Error
	Summary
	// Tail is the end of the call's log, if the invocation asked for it.
	Tail []byte
}

// OutcomeSuccess is the outcome label of a call without a fault; the others are the fault kinds.
const OutcomeSuccess = "success"

// Outcomes is the closed list of how a call can end.
func Outcomes() []string {
	names := []string{OutcomeSuccess}
	for _, k := range fault.Kinds() {
		names = append(names, k.String())
	}
	return names
}

// maxHandovers bounds how often a call may find its worker gone before it was reached.
const maxHandovers = 3

// Invoke runs one call on the caller's goroutine, from admission to its summary. ctx must not end when a client leaves.
func (a *Instance) Invoke(ctx context.Context, inv *fncontext.Invocation, event []byte) Result {
	log := logger.NewRequest(a.cfg.Sink, inv.RequestID, a.cfg.Runtime.Several, inv.Tail)
	l := &Lease{instance: a, inv: inv}
	var r Result
	if a.cfg.Complete != nil {
		if err := a.cfg.Complete(ctx); err != nil {
			r.Fault = fault.From(err)
			a.cfg.Metrics.Outcome(r.Fault.Kind.String())
			return r
		}
	}
	for l.try = 1; ; l.try++ {
		err := a.admit(ctx, l)
		if err == nil && l.try == 1 {
			err = l.announce(log)
		}
		if err != nil {
			r.Fault = fault.From(err)
			if l.try == 1 { // nothing was announced, so nothing ends
				a.cfg.Metrics.Outcome(r.Fault.Kind.String())
				return r
			}
			break
		}
		r = l.run(ctx, event, log)
		if r.Fault == nil || !errors.Is(r.Fault, runtime.ErrNotSent) || l.try == maxHandovers {
			break
		}
	}
	l.close(&r, log)
	a.idle()
	return r
}

// run invokes the handler and returns the slot.
func (l *Lease) run(ctx context.Context, event []byte, log *logger.Request) Result {
	began := time.Now()
	meter := l.worker.Meter()
	cpu := meter.CPU(began)
	answer, err := l.worker.Invoke(ctx, l.inv, event, log)
	now := time.Now()
	r := Result{Body: answer.Body, Text: answer.Text}
	notSent := errors.Is(err, runtime.ErrNotSent)
	if err != nil {
		r.Fault = fault.From(err)
		if notSent {
			l.worker.Retire()
			r.Fault = &fault.Error{Kind: fault.Crash, Type: fault.TypeExited, Code: fault.CodeExited, Message: "no worker lived long enough to take the call", Err: err}
		}
		if r.Fault.Kind == fault.Timeout {
			l.worker.Retire()
		}
	}
	usage := meter.Read(now)
	r.Summary = summarize(now.Sub(began), meter.CPU(now)-cpu, usage.Peak, cmp.Or(l.inv.MemoryMB, l.instance.cfg.Runtime.Function.MemoryMB))
	r.Waited = l.Waited
	if l.release(notSent && l.try < maxHandovers) && r.Fault != nil { // whatever else went wrong is not to be repeated
		r.Fault = runtime.CanceledFault()
	}
	return r
}

// announce publishes the begin of the call, once for all workers that the call needs. The function's time starts after
// the extensions that delay it. On an error nothing was announced, and the slot is returned.
func (l *Lease) announce(log *logger.Request) error {
	a := l.instance
	timeout := a.cfg.Runtime.Function.Timeout
	l.inv.Deadline = time.Now().Add(timeout)
	if l.inv.Started != nil {
		if err := l.inv.Started(); err != nil {
			if l.release(false) {
				return runtime.CanceledFault()
			}
			return err
		}
	}
	if !l.inv.Async { // QueueWait counts only calls whose caller waits
		a.cfg.Metrics.QueueWait.Observe(l.Waited)
	}
	if a.cfg.Notify != nil {
		a.cfg.Notify(l.inv)
	}
	l.began = time.Now()
	l.inv.Deadline = l.began.Add(timeout)
	log.Platform(l.began, startLine(l.inv))
	a.cfg.Stream.Publish(&telemetry.Event{Kind: telemetry.Start, Begin: l.began, RequestID: l.inv.RequestID})
	return nil
}

func summarize(took, cpu time.Duration, peak int64, limit int) Summary {
	return Summary{
		Duration: took, Billed: time.Duration(math.Ceil(millis(took))) * time.Millisecond, MemoryMB: limit,
		MemoryUsed: megabytes(peak), CPU: float64(cpu) / float64(max(took, 1)),
	}
}

// close writes the end of the log, counts the call and keeps the tail.
func (l *Lease) close(r *Result, log *logger.Request) {
	now := time.Now()
	outcome := OutcomeSuccess
	log.Flush(now)
	if f := r.Fault; f != nil {
		outcome = f.Kind.String()
		// the agent's own failure: the worker has logged the others
		if len(f.Body) == 0 && f.Kind != fault.Function && f.Kind != fault.Event {
			log.Logger(now, "ERROR", []byte(f.Message), false)
			if f.Hint != "" {
				log.Logger(now, "WARN", []byte(f.Hint), false)
			}
		}
	}
	log.Platform(now, finishLine(l.inv, r))
	l.endEvents(r, now)
	l.instance.cfg.Metrics.Outcome(outcome)
	l.instance.cfg.Metrics.Duration.Observe(r.Duration)
	if l.inv.Tail {
		r.Tail = log.Tail()
	}
}

// startLine and finishLine are the platform's frame around a call (docs/COMPATIBILITY.md). "storage used" is left out:
// it is not measured.
func startLine(inv *fncontext.Invocation) []byte {
	b := make([]byte, 0, 96)
	b = append(append(b, "Start invoke request '"...), inv.RequestID...)
	return append(append(b, "', version: "...), inv.Function.Version...)
}

func finishLine(inv *fncontext.Invocation, r *Result) []byte {
	b := make([]byte, 0, 256)
	b = append(append(b, "Finish invoke request '"...), inv.RequestID...)
	b = append(b, '\'')
	if r.Fault != nil {
		b = append(b, "(invoke Failed)"...)
	}
	b = strconv.AppendFloat(append(b, ", duration: "...), millis(r.Duration), 'f', 3, 64)
	b = strconv.AppendInt(append(b, "ms, billing duration: "...), r.Billed.Milliseconds(), 10)
	b = strconv.AppendFloat(append(b, "ms, memory used: "...), r.MemoryUsed, 'f', 3, 64)
	b = strconv.AppendInt(append(b, "MB, billing memory: "...), int64(r.MemoryMB), 10)
	b = strconv.AppendFloat(append(b, "MB, cpu used: "...), r.CPU, 'f', 3, 64)
	return append(b, 'U')
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }

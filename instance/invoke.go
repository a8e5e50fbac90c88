package instance

import (
	"context"
	"gantry/fault"
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

// Invoke runs one call from admission to summary; see Admit and Lease.Invoke.
func (a *Instance) Invoke(ctx context.Context, inv *fncontext.Invocation, event []byte) Result {
	l, err := a.Admit(ctx, inv)
	if err != nil {
		return Result{Fault: fault.From(err)}
	}
	return l.Invoke(ctx, event)
}

func summarize(took, cpu time.Duration, peak int64, limit int) Summary {
	return Summary{
		Duration: took, Billed: time.Duration(math.Ceil(millis(took))) * time.Millisecond, MemoryMB: limit,
		MemoryUsed: megabytes(peak), CPU: float64(cpu) / float64(max(took, 1)),
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

package instance

import (
	"gantry/fault"
	"gantry/runtime/hang"
	"math"
	"time"
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
	// Status is that of the server's answer to a request, 0 where there was none; Sent is the length of its body in bytes.
	Status, Sent int
	Summary
	// Hang is where the call was when its deadline passed; nil unless runtime.Config.Examine.
	Hang *hang.Evidence
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

func summarize(took, cpu time.Duration, peak int64, limit int) Summary {
	return Summary{
		Duration: took, Billed: time.Duration(math.Ceil(millis(took))) * time.Millisecond, MemoryMB: limit,
		MemoryUsed: megabytes(peak), CPU: float64(cpu) / float64(max(took, 1)),
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }

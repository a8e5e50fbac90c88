package fncontext

import "time"

// Invocation is one call of the function. The caller of agent.Invoke owns it until Invoke returns.
type Invocation struct {
	// RequestID is a UUID in lower case, unique among the calls in flight.
	RequestID string
	Function  *Function
	// Deadline is set when the call gets its slot; the zero time before that.
	Deadline    time.Time
	Credentials Credentials
	Trace       Trace
	// Alias is the alias the call was addressed to, without its "!"; empty if none.
	Alias    string
	Workflow Workflow
	// MemoryMB is the memory size that the caller asked for and the summary reports; zero means the function's own. The
	// limit in force is always the function's.
	MemoryMB int
	// Tail asks for the last lines of the call's log in the answer.
	Tail bool
	// Started, if set, is called when the call has its slot, before the handler runs; the call waits for it.
	Started func() `json:"-"`
	Async   bool
}

// Trace is W3C trace context, passed on untouched.
type Trace struct{ Parent, State string }

// Workflow holds the ids of a function flow; all empty outside one.
type Workflow struct{ ID, RunID, StateID string }

// Remaining returns the time until the deadline at now. It may be negative, as on the platform (docs/COMPATIBILITY.md).
func (c *Invocation) Remaining(now time.Time) time.Duration { return c.Deadline.Sub(now) }

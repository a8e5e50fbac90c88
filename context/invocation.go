package fncontext

import (
	"strings"
	"time"
)

// Invocation is what a caller asks for: one run of the function. It does not change after instance.Admit.
type Invocation struct {
	// RequestID is a UUID in lower case, unique among the calls in flight.
	RequestID   string
	Function    *Function
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
	// Async marks a call out of the queue: its caller waits for no answer, and it waits for a slot in a room of its own.
	Async bool
}

// Call is an invocation that has a slot: the input, and the moment its time is over.
type Call struct {
	*Invocation
	Deadline time.Time
}

// Trace is W3C trace context, passed on untouched.
type Trace struct{ Parent, State string }

// Workflow holds the ids of a function flow; all empty outside one.
type Workflow struct{ ID, RunID, StateID string }

// Remaining returns the time until the deadline at now. It may be negative, as on the platform (docs/COMPATIBILITY.md).
func (c *Call) Remaining(now time.Time) time.Duration { return c.Deadline.Sub(now) }

// TakeHeaders takes over what the platform says about this call in its headers (docs/COMPATIBILITY.md): credentials,
// all of them if there is any, alias and workflow. get returns a header's value, or nothing.
func (c *Invocation) TakeHeaders(get func(name string) string) {
	value := func(name string) string {
		v := get(name)
		if v == "null" { // no agency
			return ""
		}
		return v
	}
	if given := NewCredentials(Secrets{
		AccessKey: value("X-Cff-Access-Key"), SecretKey: value("X-Cff-Secret-Key"),
		SecurityAccessKey: value("X-Cff-Security-Access-Key"), SecuritySecretKey: value("X-Cff-Security-Secret-Key"),
		SecurityToken: value("X-Cff-Security-Token"), AuthToken: value("X-Cff-Auth-Token"),
	}); !given.Empty() {
		c.Credentials = given
	}
	if tag := value("X-Cff-Origin-Version-Tag"); strings.HasPrefix(tag, "!") {
		c.Alias = tag[1:]
	}
	c.Workflow = Workflow{
		ID:      value("X-Cff-Workflow-Id"),
		RunID:   value("X-Cff-Workflow-Run-Id"),
		StateID: value("X-Cff-Workflow-State-Id"),
	}
}

package telemetry

import (
	"time"
)

// Type is what a subscription can ask for; types are bits of a set.
type Type uint8

// The platform's three types (page functiongraph_06_2713).
const (
	TypePlatform Type = 1 << iota
	TypeFunction
	TypeExtension
)

// TypeNames lists the names of the types in the order of their bits.
var TypeNames = [...]string{"platform", "function", "extension"}

// Kind is the kind of a telemetry event.
type Kind uint8

// The kinds of telemetry events. A phase has three: its start, the runtime's end of it, and its report.
const (
	InitStart Kind = iota
	InitRuntimeDone
	InitReport
	Start
	RuntimeDone
	Report
	// ExtensionState is a change in an extension's life.
	ExtensionState
	// FunctionLine and ExtensionLine are lines of output.
	FunctionLine
	ExtensionLine
	// logsDropped is made by the stream itself, subscribed too and only for the envelope.
	logsDropped
	subscribed
)

// Statuses of a phase that ended (docs/COMPATIBILITY.md; the platform shows only the first).
const (
	StatusSuccess = "success"
	StatusError   = "error"   // the handler or initializer raised it
	StatusTimeout = "timeout" // it was cut off
	StatusFailure = "failure" // the process died, or the agent failed
)

// States of an extension, as ExtensionState events have them.
const (
	StateRegistered = "Registered"
	StateExited     = "Exited"
	StateRefused    = "Refused"
)

// Event is a telemetry event: one thing that happened. Which members count depends on its kind.
type Event struct {
	// Kind is what happened.
	Kind Kind
	// Begin is the start of the phase, the same in all events of one; for others the time of the event.
	Begin time.Time
	// End is the end of the phase, for reports.
	End time.Time
	// RequestID is the call's, or that of the instance's start; empty for a line that belongs to no call, and for the
	// state of an extension.
	RequestID string
	// Status and ErrorType are set for events that end a phase; ErrorType only when it did not succeed.
	Status, ErrorType string
	// Figures is set for reports, and shared by all readers.
	Figures *Figures
	// Extension is the name, also that of the extension that wrote a line; State is what became of it, Detail how it
	// ended in words.
	Extension, State, Detail string
	// Text is the line's without its end, and shared by all readers.
	Text []byte
	// Level is the logger's for a line that came through it (DEBUG, INFO, WARN, ERROR), and empty for plain output.
	Level string
	// Part counts the parts of a long line from 0, More says that another part of the same line follows.
	Part int
	More bool

	seq   uint64
	drops *drops // of logsDropped
	types Type   // of subscribed
}

// Figures are the metrics of a report. Zero means not known, and is left out.
type Figures struct {
	// Duration is that of the phase: of the call, or of load and initializer.
	Duration time.Duration
	// Billed is in whole milliseconds.
	Billed time.Duration
	// MemoryMB is the memory size: the function's limit, unless the caller asked for another one.
	MemoryMB int
	// MemoryUsed is the peak so far in MB.
	MemoryUsed int
	// Init is the duration of the instance's start, on its first report only.
	Init time.Duration
	// CacheHits and CacheMisses are how many files of a load came out of the code cache, and how many did not.
	CacheHits, CacheMisses int
}

// size estimates what the event needs in a batch, in bytes.
func (e *Event) size() int { return len(e.Text) + 128 }

// line is an event of output as it waits: there may be very many.
type line struct {
	seq                         uint64
	at                          int64 // Unix nanoseconds
	requestID, extension, level string
	text                        []byte
	part                        int32
	more                        bool
}

func (l *line) event() Event {
	e := Event{
		Kind: FunctionLine, Begin: time.Unix(0, l.at), RequestID: l.requestID, Extension: l.extension, Level: l.level,
		Text: l.text, Part: int(l.part), More: l.more, seq: l.seq,
	}
	if l.extension != "" {
		e.Kind = ExtensionLine
	}
	return e
}

// Package hang finds out where a process was when a call's deadline passed: what it did, its stack, its sockets, its
// children. It is asked for calls of the command invoke only, after the answer and before the end of the process.
package hang

import (
	"gantry/process"
	"time"
)

// Kind says what a process did when it was looked at.
type Kind uint8

// What there is.
const (
	Unknown Kind = iota // it had ended, was stopped by a signal, or did some of both
	Busy                // a thread of it ran, or waited for a processor, for three quarters of the time or more
	Waiting             // it did so for a quarter of the time at most
)

var kindNames = [...]string{"unknown", "busy", "waiting"}

// String returns the kind in lower case.
func (k Kind) String() string { return kindNames[k] }

// Frame is one function on a stack.
type Frame struct {
	// Function is its name; empty where it has none.
	Function string
	// File is the path as the language has it, without file://; empty for what is built into the language. Line counts
	// from 1; 0 where it is not known.
	File string
	Line int
	// User is set for the user's own code, not for what it calls in a library or in the language itself.
	User bool
}

// Child is a process that the function started and that has not ended.
type Child struct {
	PID int
	// Name is the kernel's, at most 15 bytes.
	Name string
	// Kind says what it did itself.
	Kind Kind
}

// Evidence is what was found. What could not be found is empty, and Missing says why.
type Evidence struct {
	// Kind says what the worker's process did, its children left out.
	Kind Kind
	// CPU is the processor time of the worker and its descendants in the time Over, which began when the deadline passed.
	CPU, Over time.Duration
	// Frames is the stack of the thread that runs the handler, the most recent call first. It ends with the oldest frame
	// of the user's; those of the worker are left out. A function that waits without a stack has none, as in Node.js.
	Frames []Frame
	// Sockets are the open ones of the internet protocols, of the worker and its descendants, without the agent's own.
	Sockets []process.Socket
	// Children are the descendants that have not ended.
	Children []Child
	// Resources names what keeps the event loop of Node.js alive: TCPSocketWrap, Timeout and the like. ResourcesKnown says
	// that the loop was free to answer, from Node.js 17.3 on: with no resource nothing is left that could go on.
	Resources      []string
	ResourcesKnown bool
	// Missing says what could not be found, and why: for a log.
	Missing []string
	// Took is how long it took, Limit at most and a moment.
	Took time.Duration
}

// Limit bounds what Examine takes.
const Limit = 200 * time.Millisecond

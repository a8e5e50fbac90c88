package poll

import "time"

// HandoverGrace is how long Next waits for an event that may be on its way when its ctx ends.
const HandoverGrace = 250 * time.Millisecond

const (
	path = "/v1/runtime/invocation/"

	dialTimeout = 3 * time.Second
	// emptyPause lies between an answer without an event and the next question.
	emptyPause               = 50 * time.Millisecond
	firstBackoff, maxBackoff = 50 * time.Millisecond, 5 * time.Second
	// handoverLimit bounds the whole handover, should the event come in drops.
	handoverLimit = 2 * time.Second
	// stallLimit is how long the other side may be silent in the middle of an answer, or before the answer to a POST.
	stallLimit = 30 * time.Second
	// heldFrom is how long a connection must be silent without an end to count as one that works.
	heldFrom = maxBackoff
	// overloadTries is how often an answer is posted anew that was refused with 429 or 5xx.
	overloadTries = 5
	// strangeFrom is how many questions in a row must be refused to look like a wrong address.
	strangeFrom = 100
	// quickRefusal is the time within which a server that does not hold polls open refuses one.
	quickRefusal = time.Second

	maxHeader  = 256 << 10
	maxIgnored = 64 << 10 // bytes of a body that is of no use but for keeping the connection
	joinBelow  = 16 << 10 // a copy of less is cheaper than a system call of its own
)

package poll

import "time"

// Client is one poller with one keep-alive connection, made when it is needed. It may be used by one goroutine at a
// time.
type Client struct {
	// Remark, if set before the first use, is called when an outage begins, with its error, and when it is over, with nil.
	// Single attempts are not reported. It is called by the goroutine that uses the Client.
	Remark func(error)

	addr   string
	conn   *connection
	outage bool
	// refusals counts the questions in a row that were answered with something else than an event or nothing.
	refusals int
	// backoff is the pause after the next failure.
	backoff time.Duration
	head    []byte // reused for what is written

	held, stall, quick time.Duration // heldFrom, stallLimit and quickRefusal, but for tests
}

package api

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// upload is the body of a request on its way to the function's server. Read is called by the server's side, and Close
// by either.
type upload struct {
	c       *connection
	idle    time.Duration
	header  *fasthttp.RequestHeader // fasthttp's, with the trailers in the end
	arrived func()                  // called once when all of it has arrived

	whole  atomic.Bool // all of it has arrived
	closed atomic.Bool

	mu       sync.Mutex // held while the stream is read
	stream   io.Reader
	trailers map[string]string
}

// errUploadEnded is the answer to a read after the exchange.
var errUploadEnded = errors.New("the request is over")

// Read reads what arrives; only silence of the caller ends it.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed.Load() {
		return 0, errUploadEnded
	}
	if u.whole.Load() {
		return 0, io.EOF
	}
	if err := u.extend(); err != nil {
		return 0, err
	}
	n, err := u.stream.Read(p)
	switch {
	case !errors.Is(err, io.EOF):
	case u.c.over: // for fasthttp that is the end of the body, too
		err = io.ErrUnexpectedEOF
	default:
		u.readTrailers()
		u.whole.Store(true)
		u.arrived()
	}
	return n, err
}

// extend gives the socket the deadline of the next read. One that Close has set meanwhile stays: whichever of both
// comes last sees the other.
func (u *upload) extend() error {
	by := time.Now().Add(u.idle)
	u.c.readBy = deadline{by, by}
	if err := u.c.tcp.SetReadDeadline(by); err != nil {
		return err
	}
	if u.closed.Load() {
		return u.c.tcp.SetReadDeadline(past)
	}
	return nil
}

// readTrailers keeps the trailers: fasthttp's header is not to be used after the exchange.
func (u *upload) readTrailers() {
	for name := range u.header.Trailers() {
		if u.trailers == nil {
			u.trailers = map[string]string{}
		}
		u.trailers[string(name)] = string(u.header.PeekBytes(name))
	}
}

// trailer returns the value of one of the request's trailers, once all of it has arrived.
func (u *upload) trailer(name string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.trailers[name]
}

// Close ends a read that waits; none follows.
func (u *upload) Close() error {
	if u.closed.Swap(true) || u.whole.Load() {
		u.mu.Lock() // a read is over
		defer u.mu.Unlock()
		return nil
	}
	_ = u.c.tcp.SetReadDeadline(past) // an error says that it is closed already
	u.mu.Lock()
	defer u.mu.Unlock()
	u.c.readBy = deadline{past, past}
	return nil
}

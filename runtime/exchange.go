package runtime

import (
	"io"
	"net"
	"net/netip"
	"syscall"

	"github.com/valyala/fasthttp"
)

// Exchange is a request to the function's server, and the answer to it: Buffered or Streamed.
type Exchange interface {
	// Answered returns the status of the answer, 0 if there was none, and how many bytes of its body came.
	Answered() (status, size int)
}

// Buffered is an exchange whose bodies are whole before they are passed on. Request and Response are the caller's.
type Buffered struct {
	Request  *fasthttp.Request
	Response *fasthttp.Response
	// Peer is the caller's address, for X-Forwarded-For; zero where the request did not come over a connection.
	Peer netip.Addr
	// Gateway is what API Gateway adds to a request that came through it; nil for others.
	Gateway *Gateway

	answered bool
}

// Gateway is what API Gateway says of a request. The server gets it in headers of its own, in the place of the
// caller's.
type Gateway struct{ API, RequestID, Source, Stage string }

// Answered implements Exchange.
func (x *Buffered) Answered() (status, size int) {
	if !x.answered {
		return 0, 0
	}
	return x.Response.StatusCode(), len(x.Response.Body())
}

// Streamed is an exchange whose bodies pass as they come, in both directions at once.
type Streamed struct {
	// Header is the request's as it came; Peer is the caller's address, for X-Forwarded-For.
	Header *fasthttp.RequestHeader
	Peer   netip.Addr
	// Upgrade is the protocol that the caller wants to go on with, empty for none. Trailers says that it takes trailers.
	Upgrade  string
	Trailers bool
	// Whole is the body if it is there already. Body is one that arrives, nil if there is none, and Size its length in
	// bytes, -1 if only its end shows it. Close may be called while Read waits, and ends that.
	Whole []byte
	Body  io.ReadCloser
	Size  int64
	// Trailer returns the value of one of the request's trailers, which Header names, after the body's end.
	Trailer func(name string) string
	Caller  Caller

	status int
	passed int // bytes of the answer
}

// Answered implements Exchange.
func (x *Streamed) Answered() (status, size int) { return x.status, x.passed }

// Caller is the side of a streamed exchange that api serves.
type Caller interface {
	// Interim passes a 1xx answer on, which is not the last one.
	Interim(head *fasthttp.ResponseHeader) error
	// Answer passes the answer on. It returns when the caller has all of it, or the reason why not.
	Answer(a *Answer) error
	// Switch passes a 101 on, and gives the caller's connection away, with what has arrived on it since the request.
	Switch(a *Answer) (conn Conn, early []byte, err error)
	// Left is closed when the caller has closed its connection, once its request has arrived.
	Left() <-chan struct{}
	// Abort closes the caller's connection: what waits for the caller ends.
	Abort()
}

// Answer is what a server answers to a streamed request.
type Answer struct {
	RequestID string
	Header    fasthttp.ResponseHeader
	// Body is nil if there is none, and Size its length in bytes, -1 if only its end shows it.
	Body io.Reader
	Size int64
	// Ready says that some of the body has come with the head: both can leave together.
	Ready bool
	// Raw returns what of the body has been read already, and the connection that the rest comes from; for a large body
	// with a length, so that the kernel can pass it on. Body is not to be used after it. nil for other bodies.
	Raw func() (first []byte, rest *net.TCPConn)
	// Moved is called with the bytes that have come from that connection.
	Moved func(n int)
	// Trailers calls set with each trailer, after the body's end.
	Trailers func(set func(name, value string))
}

// Conn is a connection that is given away.
type Conn interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

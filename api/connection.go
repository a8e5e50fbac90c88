package api

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// stage says what a connection is used for at the moment; it decides whether the connection may be closed for another one.
type stage int32

const (
	stageSilent   stage = iota // accepted, and nothing has arrived
	stageArriving              // a request arrives
	stageBusy                  // a request is being answered
	stageIdle                  // between two requests
	stageEvicted               // given up for other connections; it ends with its next read
)

// connection is one accepted connection of a listener. It keeps what decides which connections go when descriptors or memory
// run out.
type connection struct {
	net.Conn
	tcp      *net.TCPConn
	listener *listener

	stage stage32
	since atomic.Int64 // unix nanoseconds of the change to this stage
	// served is set once a request was answered.
	served atomic.Bool
	closed atomic.Bool
	// listed is the place among the connections that were never served; guarded by the mutex of connections.
	listed bool
	older  *connection
	newer  *connection
}

type stage32 struct{ v atomic.Int32 }

func (s *stage32) load() stage { return stage(s.v.Load()) }

func (s *stage32) change(from, to stage) bool {
	return s.v.CompareAndSwap(int32(from), int32(to))
}

// secureConnection is a connection with TLS. fasthttp knows one by its methods.
type secureConnection struct {
	*connection
	tls *tls.Conn
}

// Handshake is called by fasthttp before the first request is read.
func (c *secureConnection) Handshake() error { return c.tls.Handshake() }

// ConnectionState returns what the handshake agreed on.
func (c *secureConnection) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// connectionOf returns the connection that fasthttp knows as conn; nil for one that no listener of ours accepted.
func connectionOf(conn net.Conn) *connection {
	switch c := conn.(type) {
	case *connection:
		return c
	case *secureConnection:
		return c.connection
	}
	return nil
}

// enter changes the stage; false if the connection was given up meanwhile.
func (c *connection) enter(to stage) bool {
	for {
		from := c.stage.load()
		if from == stageEvicted {
			return false
		}
		if c.stage.change(from, to) {
			c.since.Store(time.Now().UnixNano())
			return true
		}
	}
}

// follow is fasthttp's hook for the states of connections.
func follow(conn net.Conn, state fasthttp.ConnState) {
	c := connectionOf(conn)
	if c == nil {
		return
	}
	switch state {
	case fasthttp.StateActive: // of the first request before anything has arrived: see Read
		if c.served.Load() {
			c.enter(stageArriving)
		}
	case fasthttp.StateIdle:
		if !c.served.Swap(true) {
			c.listener.all.unlist(c)
		}
		c.enter(stageIdle)
	case fasthttp.StateHijacked:
		c.enter(stageBusy)
	case fasthttp.StateNew, fasthttp.StateClosed:
	}
}

// Read reads what arrives.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.stage.load() == stageSilent {
		c.enter(stageArriving)
	}
	return n, err
}

// evict gives the connection up if it is still in the given stage. A request that has begun to arrive is answered with 503;
// a connection without one is closed, and so is every one when now is set.
func (c *connection) evict(from stage, now bool) bool {
	if !c.stage.change(from, stageEvicted) {
		return false
	}
	if now || from != stageArriving {
		_ = c.Close() // an error says that it is closed already
		return true
	}
	_ = c.tcp.SetReadDeadline(past)
	return true
}

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// evicted reports whether the connection was given up.
func (c *connection) evicted() bool { return c.stage.load() == stageEvicted }

// SetReadDeadline sets the deadline, unless the connection was given up.
func (c *connection) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if c.evicted() { // looked at afterwards: whichever of both comes last sees the other
		return c.Conn.SetReadDeadline(past)
	}
	return err
}

// Close closes the connection, and forgets it.
func (c *connection) Close() error {
	err := c.Conn.Close()
	if !c.closed.Swap(true) {
		c.listener.all.remove(c)
	}
	return err
}

// SyscallConn gives access to the socket.
func (c *connection) SyscallConn() (syscall.RawConn, error) { return c.tcp.SyscallConn() }

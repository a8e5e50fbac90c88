package poll

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

var (
	// errNotSent says that the other side cannot have seen the request.
	errNotSent = errors.New("no connection")
	// errStale says that a connection ended that had worked: what every server does with one that it does not need.
	errStale  = errors.New("the connection was closed")
	errHeader = fmt.Errorf("the header of an answer has more than %d bytes", maxHeader)
)

// connection is a TCP connection whose reads have the limits that the state of the exchange asks for.
type connection struct {
	tcp    *net.TCPConn
	r      *bufio.Reader
	worked bool // it has brought an answer

	// Both belong to the goroutine that reads.
	budget int // bytes of a header that may still come; negative in a body
	idle   time.Duration

	mu    sync.Mutex // keeps deadlines from being set over those of an interrupt
	ended bool
	until time.Time
}

// send writes a request. A small one leaves in one piece.
func (conn *connection) send(head, body []byte, limit time.Duration) error {
	conn.deadline(conn.tcp.SetWriteDeadline, limit)
	if len(body) <= joinBelow {
		_, err := conn.tcp.Write(append(head[:len(head):len(head)], body...))
		return err
	}
	buffers := net.Buffers{head, body}
	_, err := buffers.WriteTo(conn.tcp)
	return err
}

// begun reports whether a part of the answer has arrived.
func (conn *connection) begun() bool { return conn.budget != maxHeader }

// Read implements io.Reader for the buffer.
func (conn *connection) Read(p []byte) (int, error) {
	if conn.budget == 0 {
		return 0, errHeader
	}
	if conn.budget > 0 {
		p = p[:min(len(p), conn.budget)]
	}
	conn.deadline(conn.tcp.SetReadDeadline, conn.idle)
	n, err := conn.tcp.Read(p)
	if conn.budget > 0 {
		conn.budget -= n
	}
	return n, err
}

// deadline sets a deadline in so long, or none for 0, but not over that of an interrupt.
func (conn *connection) deadline(set func(time.Time) error, in time.Duration) {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	at := time.Time{}
	switch now := time.Now(); {
	case conn.ended:
		if at = now.Add(HandoverGrace); conn.until.Before(at) {
			at = conn.until
		}
	case in > 0:
		at = now.Add(in)
	}
	_ = set(at) // it fails on a closed connection only, and then so does what follows
}

// watch lets the end of ctx interrupt the exchange, until it is released; release reports whether it did.
func (conn *connection) watch(ctx context.Context, handover bool) (release func() bool) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		conn.interrupt(handover)
	})
	return func() bool {
		if stop() {
			return false
		}
		<-done
		return true
	}
}

func (conn *connection) interrupt(handover bool) {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	now := time.Now()
	conn.ended, conn.until = true, now
	if handover {
		conn.until = now.Add(handoverLimit)
		_ = conn.tcp.CloseWrite() // a connection that is gone already says so when it is read
		_ = conn.tcp.SetReadDeadline(now.Add(HandoverGrace))
		return
	}
	_ = conn.tcp.SetDeadline(now)
}

func (conn *connection) interrupted() bool {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	return conn.ended
}

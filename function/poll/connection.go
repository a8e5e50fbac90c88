package poll

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
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

// connect returns the connection that there is, or a new one.
func (c *Client) connect(ctx context.Context) (*connection, error) {
	if c.conn != nil && c.conn.r.Buffered() == 0 {
		return c.conn, nil
	}
	_ = c.Close() // unsolicited data arrived
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotSent, err)
	}
	c.conn = &connection{tcp: conn.(*net.TCPConn)}
	c.conn.r = bufio.NewReaderSize(c.conn, 8<<10)
	return c.conn, nil
}

// exchange sends a request and reads its answer. Whatever goes wrong ends the connection.
func (c *Client) exchange(ctx context.Context, method string, head, body []byte) (*answer, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	release := conn.watch(ctx, method == http.MethodGet)
	began := time.Now()
	err = conn.send(head, body, c.stall)
	a, readErr := c.receive(conn, method)
	if readErr == nil {
		err = nil // an early answer explains why not all was taken
	} else if err == nil {
		err = readErr
	}
	interrupted := release()
	if err == nil && !interrupted && !a.last {
		conn.worked = true
		return a, nil
	}
	if err != nil && !conn.begun() && !errors.Is(err, os.ErrDeadlineExceeded) &&
		(conn.worked || time.Since(began) >= c.held) {
		err = fmt.Errorf("%w: %w", errStale, err)
	}
	_ = c.Close() // what matters is err
	return a, err
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

// receive reads an answer. One to a GET may take for ever to begin; that it is awaited in peace ends an outage.
func (c *Client) receive(conn *connection, method string) (*answer, error) {
	conn.budget = maxHeader
	return readAnswer(conn.r, method, func() error {
		for {
			conn.idle = c.stall
			if method == http.MethodGet {
				conn.idle = 0
				if c.outage {
					conn.idle = c.held
				}
			}
			_, err := conn.r.Peek(1)
			if method == http.MethodGet && c.outage && errors.Is(err, os.ErrDeadlineExceeded) && !conn.interrupted() {
				c.worked()
				continue
			}
			conn.idle = c.stall
			return err
		}
	}, func() { conn.budget = -1 })
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

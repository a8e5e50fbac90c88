package poll

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

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

// Close ends the connection, if there is one. The Client can still be used: it makes a new one.
func (c *Client) Close() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.tcp.Close()
	c.conn = nil
	return err
}

// worked ends an outage.
func (c *Client) worked() {
	c.backoff = firstBackoff
	if c.outage {
		c.outage = false
		if c.Remark != nil {
			c.Remark(nil)
		}
	}
}

package api

import (
	"errors"
	"io"
	"time"
)

// SetReadDeadline is called by fasthttp twice for every request. The next read applies the deadline.
func (c *connection) SetReadDeadline(t time.Time) error {
	c.readBy.wanted = t
	return nil
}

// SetWriteDeadline is called by fasthttp for every answer. The next write applies the deadline.
func (c *connection) SetWriteDeadline(t time.Time) error {
	c.writeBy.wanted = t
	return nil
}

// SetDeadline is called by fasthttp before it hands the connection over.
func (c *connection) SetDeadline(t time.Time) error {
	c.readBy, c.writeBy = deadline{t, t}, deadline{t, t}
	return c.Conn.SetDeadline(t)
}

// read reads within the deadline that fasthttp has asked for.
func (c *connection) read(p []byte) (int, error) {
	if err := c.applyRead(); err != nil {
		return 0, err
	}
	n, err := c.bytes.Read(p)
	if errors.Is(err, io.EOF) {
		c.over = true
	}
	return n, err
}

// write writes within the deadline that fasthttp has asked for.
func (c *connection) write(p []byte) (int, error) {
	if err := c.applyWrite(); err != nil {
		return 0, err
	}
	return c.bytes.Write(p)
}

// applyRead gives the socket the deadline of the next read, unless the connection was given up.
func (c *connection) applyRead() error {
	if !c.readBy.due() {
		return nil
	}
	err := c.Conn.SetReadDeadline(c.readBy.set)
	if c.evicted() { // looked at afterwards: whichever of both comes last sees the other
		return c.Conn.SetReadDeadline(past)
	}
	return err
}

// applyWrite gives the socket the deadline of the next write.
func (c *connection) applyWrite() error {
	if !c.writeBy.due() {
		return nil
	}
	return c.Conn.SetWriteDeadline(c.writeBy.set)
}

// deadlineSlack is how far apart two deadlines may be that count as one: a deadline costs the kernel's poller more than
// a small read, and those of a busy connection differ by the time between two requests.
const deadlineSlack = time.Second

// due reports whether the socket is to get the wanted deadline, and takes it as set.
func (d *deadline) due() bool {
	if d.wanted.IsZero() == d.set.IsZero() && d.wanted.Sub(d.set).Abs() < deadlineSlack {
		return false
	}
	d.set = d.wanted
	return true
}

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

package api

import (
	"crypto/tls"
	"net"
	"time"
)

// Close closes the connection, and forgets it. What the other side may still send after a refusal is read before:
// closing at once would reset the connection, and the client would never see the answer.
func (c *connection) Close() error {
	if c.kept.Load() {
		return nil
	}
	return c.end()
}

// end closes the connection.
func (c *connection) end() error {
	if c.linger.Swap(false) && (!c.evicted() || c.short.Load()) && c.CloseWrite() == nil {
		c.enter(stageIdle)
		discard(c.tcp)
	}
	err := c.Conn.Close()
	c.releaseHead()
	c.forget()
	return err
}

// CloseWrite ends what is sent; the other side may go on.
func (c *connection) CloseWrite() error {
	if secure, ok := c.Conn.(*tls.Conn); ok && secure.CloseWrite() == nil {
		return nil
	}
	return c.tcp.CloseWrite()
}

// discard reads what a client still sends after its answer, within limits: closing at once would reset the connection,
// and the client would never see the answer.
func discard(conn net.Conn) {
	end := time.Now().Add(discardTime)
	kept := takeBuffer(promptBody)
	defer returnBuffer(kept)
	buf := kept[:cap(kept)]
	for read := 0; read < discardLimit && time.Now().Before(end); {
		if conn.SetReadDeadline(time.Now().Add(discardPause)) != nil {
			return
		}
		n, err := conn.Read(buf)
		read += n
		if err != nil {
			return
		}
	}
}

const (
	discardLimit = 64 << 20
	discardPause = time.Second // without data: the client has seen the answer
	discardTime  = 5 * time.Second
)

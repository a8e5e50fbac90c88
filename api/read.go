package api

import (
	"errors"
	"os"
	"time"
)

// Read reads what arrives. Before a request can be looked at, it reads little at once, and takes a share of the memory
// for bodies for a long header.
func (c *connection) Read(p []byte) (int, error) {
	if c.onlyBuffered {
		return 0, errOnlyBuffered
	}
	if c.wide {
		return c.read(p)
	}
	if err := c.unmute(); err != nil {
		return 0, err
	}
	p = p[:min(len(p), narrowRead)]
	if !c.arrived && c.early >= freeHead && !c.holdHead() {
		return 0, os.ErrDeadlineExceeded
	}
	if c.head.bare {
		c.readBy.wanted = time.Now().Add(bareTime)
	}
	n, err := c.read(p)
	if n == 0 {
		return n, err
	}
	if c.stage.load() == stageSilent {
		c.enter(stageArriving)
	}
	c.early += n
	c.head.watch(p[:n])
	if s := c.headShare.Load(); s != nil {
		s.progress(n)
	}
	return n, err
}

// errOnlyBuffered ends a read of what a reader in front of the connection holds.
var errOnlyBuffered = errors.New("nothing is buffered any more")

// holdHead takes the share of a long header; false if there is no memory for it.
func (c *connection) holdHead() bool {
	if c.headShare.Load() != nil {
		return true
	}
	s := c.listener.bodies.open(c, c.displace)
	c.headShare.Store(s)
	if s.grow(headerLimit, headerLimit, true) == 0 {
		c.short.Store(true)
		return false
	}
	return true
}

func (c *connection) releaseHead() {
	if s := c.headShare.Swap(nil); s != nil {
		s.give(-1)
	}
}

// received ends the arrival of a header.
func (c *connection) received() {
	c.head.done, c.arrived = true, true
	if !c.screening {
		_ = c.unmute() // whatever is written next meets the same error
	}
	c.releaseHead()
}

package api

import (
	"fmt"
	"gantry/fault"
	"slices"
	"time"
)

const (
	// idleStock is how many connections are looked out at once, so that many evictions do not sort everything many
	// times.
	idleStock = 64
	// slowArrival is how long a request of a connection that was served before may arrive before it can be given up.
	slowArrival = 2 * time.Second
)

// evict closes one connection: the oldest one that was never served, else the one that has been idle for longest, else
// the one whose request has been arriving for longest. One that is being answered is never chosen, and neither is
// fresh, the new one. l limits the choice to one listener; nil means all. now closes it without an answer. False if
// there is none.
func (all *connections) evict(l *listener, fresh *connection, now bool) bool {
	for {
		c, from := all.choose(l, fresh)
		if c == nil {
			return false
		}
		if c.evict(from, now) {
			all.unlist(c)
			return true
		}
	}
}

// choose finds what evict describes, and the stage that it was seen in.
func (all *connections) choose(l *listener, fresh *connection) (*connection, stage) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for c := all.oldest; c != nil; c = c.newer {
		if c == fresh || l != nil && c.listener != l {
			continue
		}
		if s := c.stage.load(); s == stageSilent || s == stageArriving {
			return c, s
		}
	}
	for range 2 {
		for len(all.idle) > 0 {
			c := all.idle[len(all.idle)-1]
			all.idle = all.idle[:len(all.idle)-1]
			if (l == nil || c.listener == l) && c.stage.load() == stageIdle && c.since == c.connection.since.Load() &&
				!c.closed.Load() {
				return c.connection, stageIdle
			}
		}
		all.stock(l)
	}
	return all.slowest(l), stageArriving
}

// stock looks the longest idle connections out.
func (all *connections) stock(l *listener) {
	all.idle = all.idle[:0]
	for c := range all.open {
		if (l == nil || c.listener == l) && c.stage.load() == stageIdle {
			all.idle = append(all.idle, idleConnection{c, c.since.Load()})
		}
	}
	slices.SortFunc(all.idle, func(a, b idleConnection) int { return int(b.since - a.since) })
	if len(all.idle) > idleStock {
		all.idle = append(all.idle[:0], all.idle[len(all.idle)-idleStock:]...)
	}
}

// slowest finds the request that has been arriving for longest.
func (all *connections) slowest(l *listener) (slowest *connection) {
	limit := time.Now().Add(-slowArrival).UnixNano()
	for c := range all.open {
		if (l == nil || c.listener == l) && c.stage.load() == stageArriving && c.since.Load() < limit {
			slowest, limit = c, c.since.Load()
		}
	}
	return slowest
}

// evict gives the connection up if it is still in the given stage. A request that has begun to arrive is answered with
// 503; a connection without one is closed, and so is every one when now is set.
func (c *connection) evict(from stage, now bool) bool {
	if !c.stage.change(from, stageEvicted) {
		return false
	}
	if now || from != stageArriving {
		c.abort()
		return true
	}
	_ = c.tcp.SetReadDeadline(past)
	return true
}

// displace gives the connection up for the memory of what arrives on it.
func (c *connection) displace() bool {
	c.short.Store(true)
	return c.evict(stageArriving, false)
}

// abort closes the connection whatever it does; what serves it meets an error.
func (c *connection) abort() bool {
	_ = c.tcp.Close() // an error says that it is closed already
	c.forget()
	return true
}

// lost reports whether the connection was given up, or got no memory.
func (c *connection) lost() bool { return c.evicted() || c.short.Load() }

// cause is the answer to a request whose connection was given up.
func (c *connection) cause() *fault.Error {
	if c.short.Load() {
		return noMemory()
	}
	return noRoom()
}

// noRoom is the answer to a connection that is closed for want of descriptors.
func noRoom() *fault.Error {
	return &fault.Error{
		Kind: fault.Unavailable, Type: fault.TypeThrottled, Code: fault.CodeUnavailable,
		Message: "no room for another connection: the agent's connections or file descriptors are used up; try again",
		Hint:    "raise the limit of open files (ulimit -n), or let clients close connections that they do not use",
	}
}

// noMemory is the answer to a request whose body there is no memory for.
func noMemory() *fault.Error {
	return &fault.Error{
		Kind: fault.Throttled,
		Type: fault.TypeThrottled,
		Code: fault.CodeMaxInstances,
		Message: fmt.Sprintf(
			"no memory for another body of over %d bytes at the moment: those of other requests are in use, or this one arrived too slowly while they waited; try again",
			smallBody,
		),
		Hint: "raise GANTRY_BODY_MEMORY if the memory is there",
	}
}

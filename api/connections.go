package api

import (
	"slices"
	"sync"
	"time"
)

// connections are the open connections of all listeners of an agent. It chooses the one that is closed when there are
// no descriptors for another.
type connections struct {
	mu   sync.Mutex
	open map[*connection]struct{}
	// oldest and newest are the ends of the list of connections that were never served, in order of their coming.
	oldest, newest *connection
	// idle is a stock of connections for eviction, the longest idle last. It is made anew when it is used up.
	idle []idleConnection
}

type idleConnection struct {
	*connection
	since int64
}

const (
	// idleStock is how many connections are looked out at once, so that many evictions do not sort everything many
	// times.
	idleStock = 64
	// slowArrival is how long a request of a connection that was served before may arrive before it can be given up.
	slowArrival = 2 * time.Second
)

func newConnections() *connections { return &connections{open: map[*connection]struct{}{}} }

// add notes a new connection.
func (all *connections) add(c *connection) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.open[c] = struct{}{}
	c.listed, c.older = true, all.newest
	if all.newest != nil {
		all.newest.newer = c
	} else {
		all.oldest = c
	}
	all.newest = c
	c.listener.count++
}

// remove forgets a connection.
func (all *connections) remove(c *connection) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if _, open := all.open[c]; !open {
		return
	}
	delete(all.open, c)
	c.listener.count--
	all.unlistLocked(c)
}

// unlist takes a connection out of the list of those that were never served.
func (all *connections) unlist(c *connection) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.unlistLocked(c)
}

func (all *connections) unlistLocked(c *connection) {
	if !c.listed {
		return
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		all.oldest = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		all.newest = c.older
	}
	c.listed, c.older, c.newer = false, nil, nil
}

// counts returns how many connections there are, and how many of them a listener has.
func (all *connections) counts(l *listener) (total, own int) {
	all.mu.Lock()
	defer all.mu.Unlock()
	return len(all.open), l.count
}

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

// lack says what one more connection of ln lacks.
func (l *Limits) lack(ln *listener) want {
	total, own := l.all.counts(ln)
	if total > burstConnections {
		l.burst.sign()
	}
	if w := l.descriptors.lack(total, time.Now()); w != wantNothing {
		return w
	}
	if own > l.connections {
		return wantConnection
	}
	return wantNothing
}

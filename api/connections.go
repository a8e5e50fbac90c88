package api

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

func (c *connection) forget() {
	if c.closed.Swap(true) {
		return
	}
	c.listener.all.remove(c)
	if f := c.whenClosed.Load(); f != nil {
		(*f)()
	}
}

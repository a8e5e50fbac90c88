package extension

import "time"

// Cost is what one notification of a call took. Sync says that the call waited for it.
type Cost struct {
	Extension string
	Took      time.Duration
	Sync      bool
	// Err is why it failed, or nil.
	Err error
}

// costs has what the notifications of the last calls took. The host's mutex guards it.
type costs struct {
	limit int // of calls; older ones are forgotten
	calls map[string]*callCosts
	order []string
}

// callCosts is the part of one call.
type callCosts struct {
	costs []Cost
	due   int           // notifications under way
	all   chan struct{} // closed when none is left
}

// expect adds n notifications of a call that will be answered or given up.
func (c *costs) expect(requestID string, n int) {
	if c.limit == 0 {
		return
	}
	call := c.calls[requestID]
	if call == nil {
		c.order = append(c.order, requestID)
		if len(c.order) > c.limit {
			delete(c.calls, c.order[0])
			c.order = c.order[1:]
		}
	}
	if call == nil || call.due == 0 { // a retry has the id of the first attempt
		call = &callCosts{all: make(chan struct{})}
		c.calls[requestID] = call
	}
	call.due += n
}

// ended takes one notification off, with its cost unless it is the one that expect was begun with.
func (c *costs) ended(requestID string, cost *Cost) {
	call := c.calls[requestID]
	if call == nil {
		return
	}
	if cost != nil {
		call.costs = append(call.costs, *cost)
	}
	if call.due--; call.due == 0 {
		close(call.all)
	}
}

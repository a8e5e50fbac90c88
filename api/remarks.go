package api

import (
	"sync/atomic"
	"time"
)

// remarkPeriod is the time between two lines of one listener about a lack of room.
const remarkPeriod = 10 * time.Second

// remarks counts what is not logged in between.
type remarks struct {
	next atomic.Int64 // unix nanoseconds
	left atomic.Int64
}

// take reports whether to log now, and how often it was not since the last time.
func (r *remarks) take(now time.Time) (left int64, ok bool) {
	next := r.next.Load()
	if now.UnixNano() < next || !r.next.CompareAndSwap(next, now.Add(remarkPeriod).UnixNano()) {
		r.left.Add(1)
		return 0, false
	}
	return r.left.Swap(0), true
}

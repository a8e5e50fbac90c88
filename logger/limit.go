package logger

import (
	"sync"
	"time"
)

// Limit keeps remarks that strangers can cause from filling the log: some a minute are written, the others counted. The
// zero value is ready for use, by several goroutines.
type Limit struct {
	mu    sync.Mutex
	since time.Time
	taken int
	left  int64
}

const (
	limitPeriod = time.Minute
	limitTaken  = 20 // in a period; as many as ten extensions may need for their mistakes
)

// Take reports whether to write the remark at hand, and how many were left out before it.
func (l *Limit) Take(now time.Time) (left int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= limitPeriod {
		l.since, l.taken = now, 0
	}
	if l.taken == limitTaken {
		l.left++
		return 0, false
	}
	l.taken++
	left, l.left = l.left, 0
	return left, true
}

package logger

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// outlet writes to a reader that may be slow, gone, or never have read at all, without making an author wait: one
// goroutine writes, bytes wait in a bounded buffer, and lines that do not fit are dropped, counted, and reported in a
// line of their own once there is room again. Use newOutlet.
type outlet struct {
	w io.Writer
	// limit bounds what waits, in bytes; gather is how long the first line waits for company.
	limit  int
	gather time.Duration
	// report appends the line that says how many were dropped.
	report func(dst []byte, dropped int) []byte

	mu      sync.Mutex
	pending []byte
	spare   []byte
	dropped int // since the last report
	closed  bool
	wake    chan struct{}
	hurry   chan struct{} // a caller waits for the next write
	done    chan struct{}
	entered int64 // bytes that came, and those of them that were written or lost
	settled int64
	written chan struct{} // closed and replaced with each write

	drops atomic.Int64
}

func newOutlet(w io.Writer, limit int, gather time.Duration, report func(dst []byte, dropped int) []byte) *outlet {
	o := &outlet{
		w: w, limit: limit, gather: gather, report: report,
		wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), done: make(chan struct{}), written: make(chan struct{}),
	}
	go o.run()
	return o
}

// put buffers one line of about size bytes, which add appends; add runs with mu held. A line above the limit is taken
// while nothing else waits.
func (o *outlet) put(size int, add func(dst []byte) []byte) {
	o.mu.Lock()
	if o.closed || len(o.pending) > 0 && len(o.pending)+size > o.limit {
		o.dropped++
		o.mu.Unlock()
		o.drops.Add(1)
		return
	}
	if o.dropped > 0 {
		o.reportDrops()
	}
	before := len(o.pending)
	o.pending = add(o.pending)
	o.entered += int64(len(o.pending) - before)
	o.mu.Unlock()
	if before == 0 {
		o.rouse()
	}
}

func (o *outlet) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// reportDrops is called with mu held.
func (o *outlet) reportDrops() {
	before := len(o.pending)
	o.pending = o.report(o.pending, o.dropped)
	o.dropped = 0
	o.entered += int64(len(o.pending) - before)
	if before == 0 {
		o.rouse()
	}
}

func (o *outlet) run() {
	defer close(o.done)
	for {
		o.mu.Lock()
		if len(o.pending) == 0 && o.dropped > 0 {
			o.reportDrops()
		}
		batch, closed := o.pending, o.closed
		o.pending = o.spare[:0]
		o.spare = nil
		o.mu.Unlock()
		if len(batch) > 0 {
			if n, err := o.w.Write(batch); err != nil { // the reader is gone: count what is lost
				o.drops.Add(int64(bytes.Count(batch[n:], []byte("\n"))))
			}
		} else if closed {
			return
		} else {
			o.rest()
		}
		o.mu.Lock()
		o.settled += int64(len(batch))
		close(o.written)
		o.written = make(chan struct{})
		if cap(batch) <= o.limit/4 {
			o.spare = batch[:0]
		}
		o.mu.Unlock()
	}
}

// rest waits for the next line, and then for its company.
func (o *outlet) rest() {
	<-o.wake
	if o.gather == 0 {
		return
	}
	select {
	case <-time.After(o.gather):
	case <-o.hurry:
	}
}

// flush waits until what was buffered before it is written, or limit has passed.
func (o *outlet) flush(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	o.mu.Lock()
	target := o.entered
	for o.settled < target {
		written := o.written
		o.mu.Unlock()
		select {
		case o.hurry <- struct{}{}:
		default:
		}
		select {
		case <-written:
		case <-o.done:
			return
		case <-timer.C:
			return
		}
		o.mu.Lock()
	}
	o.mu.Unlock()
}

// close writes what is buffered and stops, waiting until then or until the deadline passes. Later lines are dropped and
// counted.
func (o *outlet) close(deadline time.Time) {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.rouse()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-o.done:
	case <-timer.C:
	}
}

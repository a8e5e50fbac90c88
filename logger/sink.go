package logger

import (
	"bytes"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// sinkLimit bounds what waits for a slow stdout, in bytes; what does not fit is dropped and counted.
const sinkLimit = 2 << 20

// gather is how long the first line waits for company: one write for many lines, also when each call has its own.
const gather = time.Millisecond

// Sink writes lines to stdout. Write never blocks on the reader of stdout: one goroutine writes, lines wait in a bounded
// buffer, and what does not fit is dropped, counted, and reported in a line of its own once there is room again.
type Sink struct {
	w    io.Writer
	json bool
	tap  func(*Line)

	mu      sync.Mutex
	pending []byte
	spare   []byte
	dropped int // since the last report
	closed  bool
	wake    chan struct{}
	hurry   chan struct{} // somebody waits for the next write
	done    chan struct{}
	queued  int64 // bytes that came, and those of them that were written or lost
	settled int64
	written chan struct{} // closed and replaced with each write

	lines, splits, drops atomic.Int64
}

// NewSink starts a sink on w. With json each line is wrapped into an object. tap, unless it is nil, sees each line first,
// also those that are dropped here; it must not block, and not keep the line. Close must be called.
func NewSink(w io.Writer, json bool, tap func(*Line)) *Sink {
	s := &Sink{w: w, json: json, tap: tap, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), done: make(chan struct{}), written: make(chan struct{})}
	go s.run()
	return s
}

// Write queues one line. Safe for concurrent use; lines of one caller keep their order.
func (s *Sink) Write(l *Line) {
	if s.tap != nil {
		s.tap(l)
	}
	s.lines.Add(1)
	if l.More {
		s.splits.Add(1)
	}
	s.mu.Lock()
	if s.closed || len(s.pending)+len(l.Text) > sinkLimit {
		s.dropped++
		s.mu.Unlock()
		s.drops.Add(1)
		return
	}
	if s.dropped > 0 {
		s.reportDrops()
	}
	idle := len(s.pending) == 0
	before := len(s.pending)
	s.pending = s.append(s.pending, l)
	s.queued += int64(len(s.pending) - before)
	s.mu.Unlock()
	if idle {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Sink) append(dst []byte, l *Line) []byte {
	if s.json {
		return l.appendJSON(dst)
	}
	return l.appendText(dst, timeMillis)
}

// reportDrops is called with mu held.
func (s *Sink) reportDrops() {
	text := strconv.Itoa(s.dropped) + " log lines dropped: stdout is not read fast enough"
	s.dropped = 0
	before := len(s.pending)
	s.pending = s.append(s.pending, &Line{Time: time.Now(), Source: SourcePlatform, Level: "WARN", Text: []byte(text)})
	s.queued += int64(len(s.pending) - before)
}

func (s *Sink) run() {
	defer close(s.done)
	for {
		s.mu.Lock()
		if len(s.pending) == 0 && s.dropped > 0 {
			s.reportDrops()
		}
		batch, closed := s.pending, s.closed
		s.pending = s.spare[:0]
		s.spare = nil
		s.mu.Unlock()
		if len(batch) > 0 {
			if n, err := s.w.Write(batch); err != nil { // stdout is gone: count what is lost
				s.drops.Add(int64(bytes.Count(batch[n:], []byte("\n"))))
			}
		} else if closed {
			return
		} else {
			<-s.wake
			select {
			case <-time.After(gather):
			case <-s.hurry:
			}
		}
		s.mu.Lock()
		s.settled += int64(len(batch))
		close(s.written)
		s.written = make(chan struct{})
		if cap(batch) <= sinkLimit/4 {
			s.spare = batch[:0]
		}
		s.mu.Unlock()
	}
}

// Flush waits until what was queued before it is written, or limit has passed.
func (s *Sink) Flush(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	s.mu.Lock()
	target := s.queued
	for s.settled < target {
		written := s.written
		s.mu.Unlock()
		select {
		case s.hurry <- struct{}{}:
		default:
		}
		select {
		case <-written:
		case <-s.done:
			return
		case <-timer.C:
			return
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
}

// Close writes what is queued and stops the sink, waiting until then or until the deadline passes. Later lines are
// dropped and counted.
func (s *Sink) Close(deadline time.Time) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
	}
}

// Counts returns the lines taken, the parts that were cut from longer lines, and the lines dropped since the start.
func (s *Sink) Counts() (lines, splits, drops int64) {
	return s.lines.Load(), s.splits.Load(), s.drops.Load()
}

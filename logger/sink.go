package logger

import (
	"bytes"
	"io"
	"strconv"
	"sync/atomic"
	"time"
)

// sinkLimit bounds what waits for a slow stdout, in bytes; what does not fit is dropped and counted.
const sinkLimit = 2 << 20

// gather is how long the first line waits for company: one write for many lines, also when each call has its own.
const gather = time.Millisecond

// Sink writes lines to stdout. Write never blocks on the reader of stdout: one goroutine writes, lines wait in a
// bounded buffer, and what does not fit is dropped, counted, and reported in a line of its own once there is room.
type Sink struct {
	json      bool
	frameless bool
	brief     bool
	tap       func(*Line)
	out       *outlet

	lines, splits atomic.Int64
}

// NewSink starts a sink on w. With json each line is wrapped into an object. tap, unless it is nil, sees each line
// first, also those that are dropped here; it must not block, and not keep the line. Close must be called.
func NewSink(w io.Writer, json bool, tap func(*Line)) *Sink {
	s := &Sink{json: json, tap: tap}
	s.out = newOutlet(w, sinkLimit, gather, s.appendDrops)
	return s
}

// OmitFrame leaves out the Start and Finish lines around phases and calls. Called before the first Write.
func (s *Sink) OmitFrame() { s.frameless = true }

// Brief shortens request ids, for a terminal. Called before the first Write.
func (s *Sink) Brief() { s.brief = true }

// shortID is how much of a request id a brief sink shows: enough to tell the calls on a screen apart.
const shortID = 8

// ShortID is what a brief sink shows of a request id.
func ShortID(id string) string { return id[:min(len(id), shortID)] }

// frame reports whether a line is of the frame that the platform puts around a phase.
func (l *Line) frame() bool {
	return l.Source == SourcePlatform &&
		(bytes.HasPrefix(l.Text, []byte("Start ")) || bytes.HasPrefix(l.Text, []byte("Finish ")))
}

// Write buffers one line. Safe for concurrent use; lines of one caller keep their order.
func (s *Sink) Write(l *Line) {
	if s.tap != nil {
		s.tap(l)
	}
	s.lines.Add(1)
	if l.More {
		s.splits.Add(1)
	}
	if s.frameless && l.frame() {
		return
	}
	s.out.put(len(l.Text), func(dst []byte) []byte { return s.append(dst, l) })
}

func (s *Sink) append(dst []byte, l *Line) []byte {
	if s.json {
		return l.appendJSON(dst)
	}
	if s.brief {
		short := *l
		short.RequestID = ShortID(l.RequestID)
		return short.appendText(dst, appendMillis)
	}
	return l.appendText(dst, appendMillis)
}

func (s *Sink) appendDrops(dst []byte, dropped int) []byte {
	text := strconv.Itoa(dropped) + " log lines dropped: stdout is not read fast enough"
	return s.append(dst, &Line{Time: time.Now(), Source: SourcePlatform, Level: "WARN", Text: []byte(text)})
}

// Flush waits until what was buffered before it is written, or limit has passed.
func (s *Sink) Flush(limit time.Duration) { s.out.flush(limit) }

// Close writes what is buffered and stops the sink, waiting until then or until the deadline passes. Later lines are
// dropped and counted.
func (s *Sink) Close(deadline time.Time) { s.out.close(deadline) }

// Counts returns the lines taken, the parts that were cut from longer lines, and the lines dropped since the start.
func (s *Sink) Counts() (lines, splits, drops int64) {
	return s.lines.Load(), s.splits.Load(), s.out.drops.Load()
}

// Package telemetry has the stream that carries the telemetry events of the instance to its readers: one subscriber
// outside, and any number of taps inside the process. An event is always a telemetry event here, never the input of a
// call.
package telemetry

import (
	"bytes"
	"context"
	"gantry/logger"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// Before there is a subscriber, this much is kept for it, for replayWindow after the start.
	replayEvents, replayBytes = 1000, 256 << 10
	replayWindow              = 10 * time.Second
	// What waits for a subscriber is bounded by these.
	maxWaiting, maxWaitingBytes = 16 << 10, 2 << 20
	// maxOwnLines is how many lines of the subscriber itself one batch may have: it may print for each batch it gets. A
	// batch of nothing else waits for ownTimeout, or this would keep an idle instance busy.
	maxOwnLines = 100
	ownTimeout  = time.Second
)

// Batching as long as a subscription asks for nothing else (docs/COMPATIBILITY.md).
const (
	DefaultMaxItems = 1000
	DefaultMaxBytes = 256 << 10
	DefaultTimeout  = 100 * time.Millisecond
)

// Subscriber gets the telemetry events. Its members do not change any more.
type Subscriber struct {
	// Name is the extension's, empty if it is not known: lines of all extensions count as its own then.
	Name  string
	Types Type
	// Envelope chooses the shape of Lambda's telemetry in place of the platform's flat one.
	Envelope bool
	// A batch is sent when it has MaxItems events or about MaxBytes, or when its oldest event is Timeout old.
	MaxItems, MaxBytes int
	Timeout            time.Duration
	// Send posts one batch and returns once it was taken, or an error. ctx ends with the subscription.
	Send func(ctx context.Context, batch []byte) error

	ctx     context.Context
	stop    context.CancelFunc
	wake    chan struct{} // its loop's alone: that of an earlier subscriber may still be at its last batch
	sending int           // events that are out of the buffers and not delivered yet; the stream's mu guards it
}

// Stream carries telemetry events to at most one subscriber and to any number of taps. Each has a bounded buffer of its
// own. Publishing never blocks: what does not fit is dropped, lines before platform events, oldest first. Drops are
// counted, and reported to the subscriber. Use NewStream. A nil Stream drops everything.
type Stream struct {
	function, version string
	log               *zap.Logger

	// kept are the types that are of any use now: wanted, and those of the taps.
	kept   atomic.Uint32
	counts counters // of what is wanted; a tap counts its own drops

	mu      sync.Mutex
	taps    fanout
	wanted  Type   // by the subscriber, or kept for one
	buffer         // what waits for it
	slab    []byte // its texts are copied here
	dropped [reasons]drops
	own     int // lines of the subscriber since its last batch
	sub     *Subscriber
	since   time.Time // the oldest event waits since then, about
	flush   uint64    // send everything before this without waiting for company
	waiters []waiter
	loops   sync.WaitGroup
	served  bool          // there was a subscriber
	stops   int           // how often its process was stopped
	thawed  chan struct{} // closed when it goes on; nil unless it is stopped
	closed  bool
	all     bool // keeps as much as for a subscriber that is slow, and as long as there is none
	window  *time.Timer
}

// NewStream returns a stream that keeps a little for the first subscriber.
func NewStream(function, version string, log *zap.Logger) *Stream {
	s := &Stream{function: function, version: version, log: log}
	s.resetDropCounts()
	s.want(TypePlatform | TypeFunction | TypeExtension)
	return s
}

// want sets what the subscriber wants, or what is kept for one; called with mu held.
func (s *Stream) want(types Type) {
	s.wanted = types
	s.kept.Store(uint32(types | s.taps.types))
}

// attach adds a reader; false if the stream is closed.
func (s *Stream) attach(r *reader) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.taps.add(r)
	s.want(s.wanted)
	return true
}

// detach takes a reader out and ends it.
func (s *Stream) detach(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taps.remove(r)
	s.want(s.wanted)
}

// resetDropCounts clears the drops that have not been reported to a subscriber.
func (s *Stream) resetDropCounts() {
	for r := range s.dropped {
		s.dropped[r] = drops{reason: reason(r)}
	}
}

// Settled ends the start: an extension that subscribes more than ten seconds later does not get earlier events.
func (s *Stream) Settled() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.window == nil && s.sub == nil && !s.closed && !s.all {
		s.window = time.AfterFunc(replayWindow, s.forget)
	}
}

// KeepAll makes the stream keep up to 16,384 events or 2 MiB of text for a subscriber, however late it comes. It is for
// commands that run few calls and then stop.
func (s *Stream) KeepAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = true
}

// forget ends the replay.
func (s *Stream) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window = nil
	if s.sub == nil {
		s.want(0)
		s.discard(abandoned)
		s.resetDropCounts()
	}
}

// Keeps reports whether events of these types are of any use now.
func (s *Stream) Keeps(types Type) bool { return s != nil && s.kept.Load()&uint32(types) != 0 }

// Line takes a line of output, and copies its text. Sink calls it for each. Lines of the platform's frame have events
// of their own. It never blocks.
func (s *Stream) Line(l *logger.Line) {
	typ, extension := TypeFunction, ""
	if l.Source != logger.SourceFunction {
		typ, extension = TypeExtension, l.Source
	}
	if l.Source == logger.SourcePlatform || !s.Keeps(typ) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var text []byte
	if s.taps.types&typ != 0 {
		// A copy of its own, which all readers share: a slab would stay whole for a slow one that has few lines in it.
		text = bytes.Clone(l.Text)
		s.taps.line(typ, l, extension, text)
	}
	if s.wanted&typ != 0 {
		s.accept(l, extension, text)
	}
}

// accept takes a line for the subscriber; text is its copy if there is one. Called with mu held.
func (s *Stream) accept(l *logger.Line, extension string, text []byte) {
	s.counts.accepted.Add(1)
	own := s.sub != nil && extension != "" && (extension == s.sub.Name || s.sub.Name == "")
	if own {
		if s.own++; s.own > maxOwnLines {
			s.drop(feedback, 1, len(l.Text))
			return
		}
	}
	if text == nil {
		text = s.copied(l.Text)
	}
	s.pushLine(l, extension, text)
	s.published(own)
}

// Publish takes a platform event; e may be used again. It never blocks.
func (s *Stream) Publish(e *Event) {
	if !s.Keeps(TypePlatform) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taps.types&TypePlatform != 0 {
		s.taps.event(e)
	}
	if s.wanted&TypePlatform != 0 {
		s.counts.accepted.Add(1)
		s.push(e)
		s.published(false)
	}
}

// published makes room for what was buffered last, and wakes the subscriber's loop; called with mu held.
func (s *Stream) published(own bool) {
	first := s.waiting() == 1 || !own && s.waiting() == 1+s.ownWaiting()
	if first {
		s.since = time.Now()
	}
	s.makeRoom()
	s.rouse(first)
}

// ownWaiting is how many lines of the subscriber wait for the next batch; called with mu held.
func (s *Stream) ownWaiting() int { return min(s.own, maxOwnLines) }

const slabSize = 64 << 10

// copied keeps a text: many in one piece of memory.
func (s *Stream) copied(text []byte) []byte {
	if len(text) > cap(s.slab)-len(s.slab) {
		s.slab = make([]byte, 0, max(slabSize, len(text)))
	}
	from := len(s.slab)
	s.slab = append(s.slab, text...)
	return s.slab[from:len(s.slab):len(s.slab)]
}

// makeRoom drops what is over the limit. Called with mu held.
func (s *Stream) makeRoom() {
	most, mostBytes := maxWaiting, maxWaitingBytes
	if s.sub == nil && !s.all {
		most, mostBytes = replayEvents, replayBytes
	}
	for s.overfull(most, mostBytes) {
		s.dropOldest(overflow)
	}
}

// dropOldest drops a line if there is one, else a platform event. Called with mu held.
func (s *Stream) dropOldest(why reason) {
	if s.sub == nil {
		why = unasked
	}
	s.drop(why, 1, s.shed())
}

// drop counts; called with mu held.
func (s *Stream) drop(why reason, records, bytes int) {
	s.counts.dropped[why].Add(int64(records))
	s.dropped[why].records += int64(records)
	s.dropped[why].bytes += int64(bytes)
}

// discard drops everything that waits; called with mu held.
func (s *Stream) discard(why reason) {
	for s.waiting() > 0 {
		s.dropOldest(why)
	}
	s.slab = nil
}

// rouse wakes the subscriber's loop if it has something to do; called with mu held.
func (s *Stream) rouse(first bool) {
	if s.sub == nil || s.sub.sending > 0 {
		return
	}
	if first || s.waiting() == s.sub.MaxItems || s.bytes >= s.sub.MaxBytes {
		s.nudge()
	}
}

// nudge wakes the subscriber's loop; called with mu held, and only if there is a subscriber.
func (s *Stream) nudge() {
	select {
	case s.sub.wake <- struct{}{}:
	default:
	}
}

// Idle is called when no call is in flight: what waits is sent now, because the instance may be frozen next.
func (s *Stream) Idle() {
	if s == nil || s.kept.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sub != nil && s.waiting() > 0 {
		s.flush = s.seq
		s.nudge()
	}
}

// Subscribed reports whether there is a subscriber.
func (s *Stream) Subscribed() bool { return s.Current() != nil }

// Current returns the subscriber, or nil.
func (s *Stream) Current() *Subscriber {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sub
}

// end stops the subscriber's loop; called with mu held.
func (s *Stream) end() {
	s.sub.stop()
	s.discard(abandoned)
	s.sub = nil
	s.release()
}

// Counts returns what became of all telemetry events so far, taps apart. For metrics.
func (s *Stream) Counts() Counts {
	if s == nil {
		return Counts{}
	}
	c := Counts{Accepted: s.counts.accepted.Load(), Delivered: s.counts.delivered.Load(), Dropped: map[string]int64{}}
	for r := range reasons {
		c.Dropped[reasonNames[r]] = s.counts.dropped[r].Load()
	}
	return c
}

// Unsubscribe ends the subscription, if it is still sub's; what waits is dropped. A new subscriber gets what comes
// within the next seconds.
func (s *Stream) Unsubscribe(sub *Subscriber) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sub != sub || sub == nil {
		return false
	}
	s.end()
	if !s.closed {
		s.want(TypePlatform | TypeFunction | TypeExtension)
		if !s.all {
			s.window = time.AfterFunc(replayWindow, s.forget)
		}
	}
	return true
}

// omitUnwanted takes what was kept and is not asked for out of the buffers; called with mu held.
func (s *Stream) omitUnwanted(types Type) {
	for range s.lines.n {
		l := s.lines.pop()
		if l.extension == "" && types&TypeFunction != 0 || l.extension != "" && types&TypeExtension != 0 {
			s.lines.push(&l)
			continue
		}
		s.bytes -= len(l.text)
		s.counts.accepted.Add(-1) // it was not subscribed to
	}
	for types&TypePlatform == 0 && s.platform.n > 0 {
		s.platform.pop()
		s.counts.accepted.Add(-1)
	}
}

// waiter waits until everything before seq has left.
type waiter struct {
	seq  uint64
	left chan struct{}
}

// release wakes the waiters whose events have left; called with mu held.
func (s *Stream) release() {
	first, sending := s.first(), s.sub != nil && s.sub.sending > 0
	waiting := s.waiters[:0]
	for _, w := range s.waiters {
		if !sending && w.seq <= first {
			close(w.left)
			continue
		}
		waiting = append(waiting, w)
	}
	s.waiters = waiting
}

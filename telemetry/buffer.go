package telemetry

import "gantry/logger"

// buffer is where events wait for one reader: lines and platform events apart, so that lines can go first, numbered in
// common, so that they come out in order. Its owner guards it.
type buffer struct {
	lines    deque[line]
	platform deque[Event]
	bytes    int    // of lines' texts
	seq      uint64 // the number of the next event
}

// push takes a platform event in.
func (b *buffer) push(e *Event) {
	e.seq = b.seq
	b.platform.push(e)
	b.seq++
}

// pushLine takes a line in; text is a copy of its text that stays as it is. The element is made here, because one that
// is handed over costs a line a fifth more time.
func (b *buffer) pushLine(l *logger.Line, extension string, text []byte) {
	b.lines.push(&line{
		seq:       b.seq,
		at:        l.Time.UnixNano(),
		requestID: l.RequestID,
		extension: extension,
		level:     l.Level,
		text:      text,
		part:      int32(l.Part),
		more:      l.More,
	})
	b.bytes += len(text)
	b.seq++
}

// waiting counts the events in the buffer.
func (b *buffer) waiting() int { return b.lines.n + b.platform.n }

// first is the number of the oldest event in the buffer, or of the next one.
func (b *buffer) first() uint64 {
	first := b.seq
	if b.lines.n > 0 {
		first = b.lines.front().seq
	}
	if b.platform.n > 0 {
		first = min(first, b.platform.front().seq)
	}
	return first
}

// pop takes the oldest event out; there must be one.
func (b *buffer) pop() Event {
	if b.lines.n == 0 || b.platform.n > 0 && b.platform.front().seq < b.lines.front().seq {
		return b.platform.pop()
	}
	l := b.lines.pop()
	b.bytes -= len(l.text)
	return l.event()
}

// overfull reports whether something has to go: there are more events than most, or lines with more text than
// mostBytes.
func (b *buffer) overfull(most, mostBytes int) bool {
	return b.waiting() > most || b.lines.n > 0 && b.bytes > mostBytes
}

// shed takes out the oldest line if there is one, else the oldest platform event, and returns the size of its text.
// There must be an event.
func (b *buffer) shed() int {
	if b.lines.n == 0 {
		b.platform.pop()
		return 0
	}
	text := len(b.lines.pop().text)
	b.bytes -= text
	return text
}

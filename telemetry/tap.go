package telemetry

import "context"

// Tap is a reader of the stream inside the process. Use Stream.Tap. Its methods may be called by several goroutines.
type Tap struct {
	stream *Stream
	reader *reader
}

// Tap opens a reader for events of these types: it gets what is published from now on. Between two calls of Next at
// most maxEvents events wait for it, whose lines have maxBytes of text at most. What does not fit is dropped, lines
// before platform events, oldest first. A tap gets a line of a subscriber however many there are, and neither
// platform.logsDropped nor the subscription: those are the stream's words to the subscriber. A tap of a closed or nil
// Stream has ended.
func (s *Stream) Tap(types Type, maxEvents, maxBytes int) *Tap {
	t := &Tap{stream: s, reader: newReader(types, maxEvents, maxBytes)}
	if s == nil || !s.attach(t.reader) {
		t.reader.end()
	}
	return t
}

// Next returns the next telemetry event in the order of publishing, and waits for one. The error is ctx's if that ends,
// and io.EOF when tap or stream is closed and everything that waited has been returned. Text and Figures of the event
// stay as they are; other readers have them too, so that they must not be changed.
func (t *Tap) Next(ctx context.Context) (Event, error) { return t.reader.next(ctx) }

// Dropped returns how many events did not fit so far, and how much text their lines had.
func (t *Tap) Dropped() (events, bytes int64) {
	d := t.reader.dropped()
	return d.records, d.bytes
}

// Close ends the tap: nothing is added any more, and Next returns what waits, then io.EOF. Further calls do nothing.
func (t *Tap) Close() {
	if t.stream != nil {
		t.stream.detach(t.reader)
	}
}

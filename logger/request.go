package logger

import (
	"sync"
	"time"
)

// TailSize is how much of a call's log is kept for the caller, in bytes (the v1 body); HeaderTailSize is the share that
// fits the header (docs/COMPATIBILITY.md).
const (
	TailSize       = 4 << 10
	HeaderTailSize = 2000
)

// Request is the log of one call: the platform's frame around it, the logger's lines, and plain output. Its methods are
// safe for concurrent use. After End, later lines still reach stdout.
type Request struct {
	sink   *Sink
	id     string
	prefix bool

	mu       sync.Mutex
	tail     *Tail
	frame    Line // the last line of the platform's frame
	scratch  []byte
	message  []byte // of the logger, not complete yet
	piece    int
	out, err Assembler
}

// NewRequest returns the log of the call id. prefix asks for time and id before plain output; tail keeps the last
// lines.
func NewRequest(sink *Sink, id string, prefix, tail bool) *Request {
	r := &Request{sink: sink, id: id, prefix: prefix}
	if tail {
		r.tail = NewTail(TailSize)
	}
	return r
}

// ID returns the request id.
func (r *Request) ID() string { return r.id }

// Platform writes a line of the platform's frame.
func (r *Request) Platform(now time.Time, text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frame = Line{Time: now, RequestID: r.id, Source: SourcePlatform, Text: text}
	r.write(&r.frame)
}

// Logger writes one message of the context's logger, or a piece of one: more says that another piece follows. A message
// may span lines and stays together; above MaxLine it leaves in parts.
func (r *Request) Logger(now time.Time, level string, text []byte, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.message) > 0 || more {
		r.message = append(r.message, text...)
		text = r.message
	}
	for len(text) > MaxLine {
		cut := boundary(text, MaxLine)
		r.write(
			&Line{Time: now, RequestID: r.id, Source: SourceFunction, Level: level, Text: text[:cut], Part: r.piece, More: true},
		)
		r.piece++
		text = text[cut:]
	}
	if more {
		r.message = append(r.message[:0], text...)
		return
	}
	r.write(&Line{Time: now, RequestID: r.id, Source: SourceFunction, Level: level, Text: text, Part: r.piece})
	r.piece, r.message = 0, r.message[:0]
}

// Output takes a piece of plain output; stream is stdout or stderr.
func (r *Request) Output(now time.Time, stream string, chunk []byte, also func(Part)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.assembler(stream).Write(chunk, r.emitter(now, stream, also))
}

func (r *Request) assembler(stream string) *Assembler {
	if stream == "stderr" {
		return &r.err
	}
	return &r.out
}

func (r *Request) emitter(now time.Time, stream string, also func(Part)) func(Part) {
	return func(p Part) {
		r.write(
			&Line{
				Time:      now,
				RequestID: r.id,
				Source:    SourceFunction,
				Stream:    stream,
				Text:      p.Text,
				Part:      p.Number,
				More:      !p.Last,
				Prefix:    r.prefix,
			},
		)
		if also != nil {
			also(p)
		}
	}
}

// Flush writes unfinished last lines; called when the call's answer is there.
func (r *Request) Flush(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.Flush(r.emitter(now, "stdout", nil))
	r.err.Flush(r.emitter(now, "stderr", nil))
}

// write is called with mu held.
func (r *Request) write(l *Line) {
	r.sink.Write(l)
	if r.tail != nil {
		r.scratch = l.appendText(r.scratch[:0], appendSeconds)
		r.tail.Append(r.scratch)
	}
}

// Tail returns the kept end of the log, or nil if it was not asked for. The result is a copy.
func (r *Request) Tail() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tail == nil {
		return nil
	}
	return append([]byte{}, r.tail.Last(TailSize)...)
}

// CutTail returns the last n bytes of a tail, cut as Tail.Last cuts.
func CutTail(tail []byte, n int) []byte {
	return (&Tail{buf: tail, limit: n}).Last(n)
}

// Part writes a part of plain output that was assembled elsewhere.
func (r *Request) Part(now time.Time, stream string, p Part) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.emitter(now, stream, nil)(p)
}

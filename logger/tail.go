package logger

import "bytes"

// Tail keeps the last bytes of a log. The zero value keeps nothing; use NewTail.
type Tail struct {
	buf   []byte
	limit int
	cut   bool
}

// NewTail returns a Tail of limit bytes.
func NewTail(limit int) *Tail { return &Tail{limit: limit} }

// Append adds p to the end.
func (t *Tail) Append(p []byte) {
	if len(p) >= t.limit {
		t.cut = t.cut || len(t.buf) > 0 || len(p) > t.limit
		t.buf = append(t.buf[:0], p[len(p)-t.limit:]...)
		return
	}
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.limit { // move rarely, so that a flood costs a copy per limit bytes
		n := copy(t.buf, t.buf[len(t.buf)-t.limit:])
		t.buf, t.cut = t.buf[:n], true
	}
}

// nearStart is how far into the tail a line start may lie and still be used as its beginning.
const nearStart = 512

// Last returns the last n bytes (at most limit), starting at a line start where one is near, and never inside a UTF-8
// sequence.
func (t *Tail) Last(n int) []byte {
	n = min(n, t.limit)
	b := t.buf
	if len(b) <= n && !t.cut {
		return b
	}
	if len(b) > n {
		b = b[len(b)-n:]
	}
	if nl := bytes.IndexByte(b[:min(len(b), nearStart)], '\n'); nl >= 0 {
		return b[nl+1:]
	}
	for i := 0; i < 4 && i < len(b); i++ {
		if b[i]&0xC0 != 0x80 {
			return b[i:]
		}
	}
	return b
}

package logger

import (
	"bytes"
	"unicode/utf8"
)

// MaxLine is the longest text that leaves in one piece, in bytes. A longer line leaves in joinable parts.
const MaxLine = 64 << 10

// Part is one piece of a line. Text has no line ending and is valid during the call that receives it.
type Part struct {
	Text []byte
	// Number counts from 0 within its line; Last is set on the line's final piece. A line in one piece is number 0, last.
	Number int
	Last   bool
}

// Assembler turns pieces of output into lines, with constant memory whatever arrives. The zero value is ready.
type Assembler struct {
	buf    []byte
	number int
}

// Write takes a piece and hands every part it completes to emit, in order, on the caller's goroutine.
func (a *Assembler) Write(p []byte, emit func(Part)) {
	for len(p) > 0 {
		nl := bytes.IndexByte(p, '\n')
		room := MaxLine - len(a.buf)
		switch {
		case nl >= 0 && nl <= room:
			a.emit(p[:nl], true, emit)
			p = p[nl+1:]
		case len(p) > room:
			room = boundary(p, room)
			a.emit(p[:room], false, emit)
			p = p[room:]
		default:
			a.buf = append(a.buf, p...)
			return
		}
	}
}

// boundary moves a cut back to the start of a UTF-8 character, so that every part is readable by itself. Bytes that are
// no UTF-8 are cut where they are.
func boundary(p []byte, cut int) int {
	for i := cut; i > 0 && i > cut-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			return i
		}
	}
	return cut
}

// Flush hands over a last line that had no line ending.
func (a *Assembler) Flush(emit func(Part)) {
	if len(a.buf) > 0 || a.number > 0 {
		a.emit(nil, true, emit)
	}
}

func (a *Assembler) emit(rest []byte, last bool, emit func(Part)) {
	text := rest
	if len(a.buf) > 0 {
		a.buf = append(a.buf, rest...)
		text = a.buf
	}
	if last && len(text) > 0 && text[len(text)-1] == '\r' {
		text = text[:len(text)-1]
	}
	emit(Part{Text: text, Number: a.number, Last: last})
	a.buf = a.buf[:0]
	if a.number++; last {
		a.number = 0
	}
}

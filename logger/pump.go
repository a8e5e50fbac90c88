package logger

import (
	"io"
	"os"
	"sync"
	"syscall"
)

// Pump reads output until it ends and hands it on in parts of lines. It never stops reading, whatever emit's sink does:
// emit must not block.
type Pump struct {
	// Border finds a mark in what was read, nil for output without marks. Set it before Run.
	Border Border

	src  *os.File
	emit func(Part)

	mu    sync.Mutex // one reads at a time, and hands on what it has read
	buf   []byte
	lines Assembler
	// kept is what was read and not handed on: behind a border that holds, or possibly the beginning of a mark.
	kept []byte
	// held is closed when a border does not hold any more; nil while none does. opened is set by Open.
	held   chan struct{}
	opened bool
}

// Border finds the first mark in b: it takes the bytes from before to after, and is left out. after is 0 if there is
// none. hold says that what is behind it must wait for Resume.
type Border func(b []byte) (before, after int, hold bool)

// NewPump returns a pump that has read nothing yet.
func NewPump(src *os.File, emit func(Part)) *Pump {
	return &Pump{src: src, emit: emit, buf: make([]byte, 32<<10)}
}

// Run reads until src ends or is closed. A last line without an ending is flushed.
func (p *Pump) Run() {
	raw, err := p.src.SyscallConn()
	for err == nil {
		if held := p.waits(); held != nil {
			<-held
			continue
		}
		var readErr error
		err = raw.Read(func(fd uintptr) (done bool) {
			done, readErr = p.read(fd)
			return done
		})
		if readErr != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handOn(true)
	p.lines.Flush(p.emit)
}

// waits returns what is closed when the border does not hold any more, nil if none does.
func (p *Pump) waits() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// read reads once; done is false when there is nothing now.
func (p *Pump) read(fd uintptr) (done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		return true, nil
	}
	n, err := syscall.Read(int(fd), p.buf)
	switch {
	case err == syscall.EAGAIN:
		p.handOn(true) // marks are written in one piece
		return false, nil
	case err == syscall.EINTR:
		return true, nil
	case err != nil:
		return true, err
	case n == 0:
		return true, io.EOF
	}
	if p.Border == nil {
		p.lines.Write(p.buf[:n], p.emit)
		return true, nil
	}
	p.kept = append(p.kept, p.buf[:n]...)
	p.handOn(false)
	return true, nil
}

// handOn hands on what is kept, up to a border that holds; whole says that no mark is cut off at its end. Called with
// mu held.
func (p *Pump) handOn(whole bool) {
	for len(p.kept) > 0 && p.held == nil {
		before, after, hold := p.Border(p.kept)
		if after == 0 {
			break
		}
		if before > 0 {
			p.lines.Write(p.kept[:before], p.emit)
		}
		p.lines.Flush(p.emit) // an unfinished line is the earlier call's
		if hold && !p.opened {
			p.kept = p.kept[before:] // with the mark: Resume may be for another call
			p.held = make(chan struct{})
			return
		}
		p.kept = p.kept[after:]
	}
	n := len(p.kept)
	if !whole {
		n -= cutMark(p.kept)
	}
	if n > 0 {
		p.lines.Write(p.kept[:n], p.emit)
	}
	p.kept = append(p.kept[:0], p.kept[n:]...)
}

// markBegins begins a mark, and longestMark is more than its length in bytes.
const (
	markBegins  = '{'
	longestMark = 64
)

// cutMark is the length of what may be the beginning of a mark, at the end of b.
func cutMark(b []byte) int {
	for n := 1; n <= min(len(b), longestMark); n++ {
		switch b[len(b)-n] {
		case markBegins:
			return n
		case '}', '\n':
			return 0
		}
	}
	return 0
}

// drainLimit bounds one Drain, because a child may write without end.
const drainLimit = 1 << 20

// Drain hands on what has been written so far, an unfinished line included, before it returns; nothing behind a border
// that holds.
func (p *Pump) Drain() {
	p.readOn()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.lines.Flush(p.emit)
	}
}

// readOn reads what is there.
func (p *Pump) readOn() {
	raw, err := p.src.SyscallConn()
	if err != nil {
		return // closed, and so read to its end
	}
	_ = raw.Control(func(fd uintptr) { // an error says that it is closed
		for range drainLimit / len(p.buf) {
			if done, err := p.read(fd); !done || err != nil || p.waits() != nil {
				break
			}
		}
	})
}

// Resume goes on behind a border that held, with what was read and with what was not: it is to be called when that has
// changed.
func (p *Pump) Resume() { p.goOn(false) }

// Open is Resume for good: no border holds any more.
func (p *Pump) Open() { p.goOn(true) }

func (p *Pump) goOn(forGood bool) {
	p.mu.Lock()
	p.opened = p.opened || forGood
	if p.held == nil {
		p.mu.Unlock()
		return
	}
	close(p.held)
	p.held = nil
	p.handOn(false)
	p.mu.Unlock()
}

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
	src  *os.File
	emit func(Part)

	mu    sync.Mutex // one reads at a time, and hands on what it has read
	buf   []byte
	lines Assembler
}

// NewPump returns a pump that has read nothing yet.
func NewPump(src *os.File, emit func(Part)) *Pump {
	return &Pump{src: src, emit: emit, buf: make([]byte, 32<<10)}
}

// Run reads until src ends or is closed. A last line without an ending is flushed.
func (p *Pump) Run() {
	raw, err := p.src.SyscallConn()
	for err == nil {
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
	p.lines.Flush(p.emit)
}

// read reads once; done is false when there is nothing now.
func (p *Pump) read(fd uintptr) (done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := syscall.Read(int(fd), p.buf)
	switch {
	case err == syscall.EAGAIN:
		return false, nil
	case err == syscall.EINTR:
		return true, nil
	case err != nil:
		return true, err
	case n == 0:
		return true, io.EOF
	}
	p.lines.Write(p.buf[:n], p.emit)
	return true, nil
}

// drainLimit bounds one Drain, because a child may write without end.
const drainLimit = 1 << 20

// Drain hands on what has been written so far, an unfinished line included, before it returns.
func (p *Pump) Drain() {
	raw, err := p.src.SyscallConn()
	if err != nil {
		return // closed, and so read to its end
	}
	_ = raw.Control(func(fd uintptr) { // an error says that it is closed
		for range drainLimit / len(p.buf) {
			if done, err := p.read(fd); !done || err != nil {
				break
			}
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines.Flush(p.emit)
}

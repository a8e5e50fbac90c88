// Package socket reads and writes small pieces of stream sockets without telling Go's scheduler.
//
// For a usual system call the runtime prepares to give the processor away, and its monitor takes it away from a call of
// more than 20 µs, which a write over loopback, with the wake-up of the other side, can be. The thread then waits for
// another processor. For a socket that does not block, that costs more than the call itself.
package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// most is the largest piece, in bytes: what is copied holds up the goroutines of this processor and the collector.
const most = 64 << 10

// Stream reads and writes a connection. Like the connection it is safe for concurrent use, goes by the connection's
// deadlines and ends with it.
type Stream struct {
	conn        net.Conn
	raw         syscall.RawConn // nil if conn is no socket of package net: then it reads and writes itself
	reads, sent direction
}

// direction is one of a Stream's two: a transfer under way, and the function that attempts it, made once.
type direction struct {
	mu      sync.Mutex
	piece   []byte
	n       int
	errno   syscall.Errno
	attempt func(fd uintptr) (done bool)
}

// New returns a Stream over conn: the agent's for callers and workers, a Go function's for the agent.
func New(conn net.Conn) *Stream {
	s := &Stream{conn: conn}
	switch c := conn.(type) {
	case *net.TCPConn:
		s.raw, _ = c.SyscallConn() // fails for the zero value only, which conn reports
	case *net.UnixConn:
		s.raw, _ = c.SyscallConn()
	}
	s.reads.attempt, s.sent.attempt = s.reads.read, s.sent.write
	return s
}

// Wrap returns conn with the Read and Write of a Stream, for clients that make a connection of their own.
func Wrap(conn net.Conn) net.Conn { return &wrapped{conn, New(conn)} }

type wrapped struct {
	net.Conn
	bytes *Stream
}

func (w *wrapped) Read(p []byte) (int, error)  { return w.bytes.Read(p) }
func (w *wrapped) Write(p []byte) (int, error) { return w.bytes.Write(p) }

// Read implements io.Reader. io.EOF is the end of what the other side sends; other errors are *net.OpError.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 || s.raw == nil {
		return s.conn.Read(p)
	}
	n, err := s.reads.transfer(p[:min(len(p), most)], s.raw.Read)
	switch {
	case err != nil:
		return n, s.failed("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write implements io.Writer; errors are *net.OpError.
func (s *Stream) Write(p []byte) (int, error) {
	if len(p) == 0 || len(p) > most || s.raw == nil {
		return s.conn.Write(p)
	}
	n, err := s.sent.transfer(p, s.raw.Write)
	if err != nil {
		return n, s.failed("write", err)
	}
	return n, nil
}

// transfer attempts until one says that it is done; the poller waits for the socket between two attempts.
func (d *direction) transfer(p []byte, poll func(func(uintptr) bool) error) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.piece, d.n, d.errno = p, 0, 0
	err := poll(d.attempt)
	d.piece = nil
	if err == nil && d.errno != 0 {
		err = d.errno
	}
	return d.n, err
}

// read is one attempt to read.
func (d *direction) read(fd uintptr) bool {
	n, errno := untilDone(receive, fd, d.piece)
	if errno == syscall.EAGAIN {
		return false
	}
	d.n, d.errno = n, errno
	return true
}

// write writes as much as the socket takes; it is done once that is all.
func (d *direction) write(fd uintptr) bool {
	for len(d.piece) > 0 {
		n, errno := untilDone(send, fd, d.piece)
		if errno == syscall.EAGAIN {
			return false
		}
		if errno != 0 {
			d.errno = errno
			return true
		}
		d.n += n
		d.piece = d.piece[n:]
	}
	return true
}

// untilDone repeats a call that a signal has interrupted.
func untilDone(call func(fd uintptr, p []byte) (int, syscall.Errno), fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, errno := call(fd, p)
		if errno != syscall.EINTR {
			return n, errno
		}
	}
}

// failed is err as a Conn of package net reports it.
func (s *Stream) failed(op string, err error) error {
	var number syscall.Errno
	var reported *net.OpError
	switch {
	case errors.As(err, &reported):
		reported.Op = op // raw-read, raw-write
	case errors.As(err, &number):
		return &net.OpError{
			Op: op, Net: s.conn.LocalAddr().Network(), Source: s.conn.LocalAddr(), Addr: s.conn.RemoteAddr(),
			Err: os.NewSyscallError(op, number),
		}
	}
	return err
}

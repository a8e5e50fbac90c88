package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"gantry/function/socket"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

const (
	// keptIdle is how long a connection to the server is kept without a request. Most servers close theirs after five
	// seconds or later, and a request must not meet that.
	keptIdle = 4 * time.Second
	// dialLimit bounds the wait for a server whose queue of connections is full.
	dialLimit = 5 * time.Second
	// promptWrite is the largest body that is written before the answer is read.
	promptWrite = 64 << 10
	// serverHeader is the longest header of an answer, in bytes.
	serverHeader = 64 << 10
	// maxInterim is how many answers of the kind 1xx may come before the real one.
	maxInterim = 100
	// restLimit is how long the rest of a body may take once its answer is there.
	restLimit = time.Second
)

// errSwitched is the answer 101. No request asks for it: none with an upgrade gets here.
var errSwitched = errors.New("the server switched protocols")

// links are the connections to the server.
type links struct {
	addr  string
	ended context.Context // with the worker
	end   context.CancelFunc

	open  sync.Mutex // guards conns and idle
	conns map[*upstreamConn]struct{}
	idle  []*upstreamConn // by their last answers
	// sweeping is set while a sweep is due.
	sweeping bool
}

// upstreamConn is a connection to the server. It carries one request at a time.
type upstreamConn struct {
	*net.TCPConn
	// bytes reads and writes what TCPConn does.
	bytes *socket.Stream
	raw   syscall.RawConn
	of    *links
	since time.Time // of its last answer
}

// dial connects to the server; connections end with the worker.
func (l *links) dial(deadline time.Time) (*upstreamConn, error) {
	if limit := time.Now().Add(dialLimit); limit.Before(deadline) {
		deadline = limit
	}
	ctx, cancel := context.WithDeadline(l.ended, deadline)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c := &upstreamConn{TCPConn: tcp, bytes: socket.New(tcp), raw: raw, of: l}
	l.open.Lock()
	defer l.open.Unlock()
	if l.ended.Err() != nil {
		return nil, errors.Join(l.ended.Err(), conn.Close())
	}
	l.conns[c] = struct{}{}
	return c, nil
}

// take returns the connection that was used last, or a new one.
func (l *links) take(deadline time.Time) (c *upstreamConn, kept bool, err error) {
	for {
		l.open.Lock()
		n := len(l.idle)
		if n == 0 {
			l.open.Unlock()
			c, err = l.dial(deadline)
			return c, false, err
		}
		c, l.idle = l.idle[n-1], l.idle[:n-1]
		l.open.Unlock()
		if time.Since(c.since) < keptIdle && c.quiet() {
			return c, true, nil
		}
		_ = c.Close() // nothing was asked on it
	}
}

// keep puts a connection back.
func (l *links) keep(c *upstreamConn) {
	c.since = time.Now()
	l.open.Lock()
	defer l.open.Unlock()
	if l.ended.Err() != nil {
		return // hangUp closes it
	}
	l.idle = append(l.idle, c)
	if !l.sweeping {
		l.sweeping = true
		time.AfterFunc(keptIdle, l.sweep)
	}
}

// sweep closes what was kept for too long, until nothing is kept.
func (l *links) sweep() {
	l.open.Lock()
	defer l.open.Unlock()
	n := 0
	for n < len(l.idle) && time.Since(l.idle[n].since) >= keptIdle { // the longest idle comes first
		delete(l.conns, l.idle[n])
		_ = l.idle[n].TCPConn.Close() // nothing was asked on it
		n++
	}
	l.idle = append(l.idle[:0], l.idle[n:]...)
	if l.sweeping = len(l.idle) > 0; l.sweeping {
		time.AfterFunc(max(keptIdle-time.Since(l.idle[0].since), time.Millisecond), l.sweep)
	}
}

// hangUp closes every connection: requests under way end.
func (l *links) hangUp() {
	l.end()
	l.open.Lock()
	defer l.open.Unlock()
	for c := range l.conns {
		_ = c.TCPConn.Close() // who waits on it sees its end
	}
	l.idle = nil
}

// Close takes the connection off the list.
func (c *upstreamConn) Close() error {
	c.of.open.Lock()
	delete(c.of.conns, c)
	c.of.open.Unlock()
	return c.TCPConn.Close()
}

// quiet reports whether a kept connection is open, and the server has sent nothing that was not asked for: the next
// request would take that for its answer.
func (c *upstreamConn) quiet() bool {
	quiet := false
	err := c.raw.Control(func(fd uintptr) {
		wanted := [...]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(wanted[:], 0)
		quiet = n == 0 && err == nil
	})
	return err == nil && quiet
}

// alive reports whether the server has neither ended nor broken the connection.
func (c *upstreamConn) alive() bool {
	alive := false
	err := c.raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		alive = n > 0 || errors.Is(err, unix.EAGAIN)
	})
	return err == nil && alive
}

// errand is a request on its way, and where its answer goes.
type errand struct {
	// first is the head, with the body if that is small; rest is a larger body.
	first, rest []byte
	safe        bool
	answer      *fasthttp.Response
	limit       int // of the answer's body in bytes
	deadline    time.Time
}

// attempt has try ask the server over a connection. It is asked once more, over a new one, if that is safe and the
// server had closed a kept connection: it may have seen the request. try returns io.EOF for that.
func (l *links) attempt(deadline time.Time, safe bool, try func(c *upstreamConn) error) error {
	c, kept, err := l.take(deadline)
	if err != nil {
		return err
	}
	err = try(c)
	if !kept || !safe || !errors.Is(err, io.EOF) {
		return err
	}
	c, broken := l.dial(deadline)
	if broken != nil {
		return err // as the server may have seen the request, and ended
	}
	return try(c)
}

// send carries a request to the server and its answer back.
func (l *links) send(e *errand) error {
	return l.attempt(e.deadline, e.safe, func(c *upstreamConn) error { return c.carry(e) })
}

// isSafe reports whether a request with that method may be sent again.
func isSafe(method []byte) bool {
	switch string(method) {
	case fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodOptions, fasthttp.MethodTrace:
		return true
	}
	return false
}

// carry sends a request and reads its answer. The error is io.EOF if the connection ended before any of that. A large
// body is sent while the answer is read: a server may answer before it has read everything, and wait for its answer to
// be read.
func (c *upstreamConn) carry(e *errand) error {
	if err := c.SetDeadline(e.deadline); err != nil {
		return errors.Join(io.EOF, err, c.Close())
	}
	var unsent error // if the connection has ended, reading shows it, behind the answer that may be there
	var sending chan error
	if len(e.rest) > promptWrite {
		sending = make(chan error, 1)
		go func(first, rest []byte) { sending <- c.write(first, rest) }(e.first, e.rest)
	} else {
		unsent = c.write(e.first, e.rest)
	}
	skip := e.answer.SkipBody
	e.answer.Reset() // an earlier try may have left something
	e.answer.SkipBody = skip
	in := answers.Get().(*bufio.Reader)
	in.Reset(c.bytes)
	err := readAnswer(in, e.answer, e.limit)
	excess := in.Buffered() > 0
	in.Reset(nil)
	answers.Put(in)
	if sending != nil {
		unsent = c.sent(sending, err == nil)
	}
	if err != nil || unsent != nil || excess || e.answer.ConnectionClose() {
		_ = c.Close() // it is of no use, whatever its end says
		return err
	}
	c.of.keep(c)
	return nil
}

// answers are buffers for answers that arrive.
var answers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, serverHeader) }}

// pieces are buffers for bytes on their way; a connection without any holds none.
var pieces = sync.Pool{New: func() any { return new(piece) }}

type piece [16 << 10]byte

// readAnswer reads an answer of up to limit bytes. Those with a status of 1xx before it are passed over, and so are the
// fields behind a body in chunks, which a header must not take over (RFC 9110, section 6.5.1).
func readAnswer(in *bufio.Reader, resp *fasthttp.Response, limit int) error {
	if err := readHead(in, &resp.Header, func() error { return nil }); err != nil {
		return err
	}
	if resp.StatusCode() == fasthttp.StatusSwitchingProtocols {
		return errSwitched
	}
	status := resp.StatusCode()
	if resp.SkipBody || status == fasthttp.StatusNoContent || status == fasthttp.StatusNotModified {
		return nil
	}
	if err := resp.ReadBody(in, limit); err != nil || resp.Header.ContentLength() != -1 {
		return cut(err)
	}
	var trailers fasthttp.ResponseHeader
	return cut(trailers.ReadTrailer(in))
}

// readHead reads the head of an answer. interim is called for each one with a status of 1xx before it; 101 is the last
// one. The error is io.EOF if there is nothing.
func readHead(in *bufio.Reader, h *fasthttp.ResponseHeader, interim func() error) error {
	if err := h.Read(in); err != nil {
		return err
	}
	for n := 0; h.StatusCode() < fasthttp.StatusOK && h.StatusCode() != fasthttp.StatusSwitchingProtocols; n++ {
		if h.StatusCode() < fasthttp.StatusContinue || n == maxInterim {
			return fmt.Errorf("status %d", h.StatusCode())
		}
		if err := interim(); err != nil {
			return err
		}
		if err := h.Read(in); err != nil {
			return cut(err)
		}
	}
	return nil
}

// cut turns the end of a connection within an answer into what it is.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// write sends a request, with one system call as long as the server takes it.
func (c *upstreamConn) write(first, rest []byte) error {
	if len(rest) == 0 {
		_, err := c.bytes.Write(first)
		return err
	}
	_, err := (&net.Buffers{first, rest}).WriteTo(c.TCPConn)
	return err
}

// sent waits for the end of a body whose answer is there, or not to be had.
func (c *upstreamConn) sent(sending <-chan error, answered bool) error {
	if answered {
		limit := time.NewTimer(restLimit)
		defer limit.Stop()
		select {
		case err := <-sending:
			return err
		case <-limit.C: // the server does not read it
		}
	}
	_ = c.Close()
	return errors.Join(net.ErrClosed, <-sending)
}

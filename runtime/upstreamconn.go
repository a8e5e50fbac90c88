package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
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
}

// upstreamConn is a connection to the server. It carries one request at a time.
type upstreamConn struct {
	*net.TCPConn
	raw   syscall.RawConn
	of    *links
	since time.Time // of its last answer
	// only says that what a reader in front holds is wanted: nothing is read meanwhile.
	only atomic.Bool
}

func (c *upstreamConn) Read(p []byte) (int, error) {
	if c.only.Load() {
		return 0, nil
	}
	return c.TCPConn.Read(p)
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
	c := &upstreamConn{TCPConn: tcp, raw: raw, of: l}
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
	if len(l.idle) == 1 {
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
	if len(l.idle) > 0 {
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
	err := c.raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// asItCame sends the target of a request as it is. Without it the library would write it anew, and leave out the
// question mark of an empty query.
type asItCame struct{ of *links }

// RoundTrip implements fasthttp.RoundTripper. A request is sent once more if its method is safe and the server had
// closed a kept connection under it: the server may have seen it.
func (s asItCame) RoundTrip(client *fasthttp.HostClient, req *fasthttp.Request, resp *fasthttp.Response) (bool, error) {
	req.SetRequestURIBytes(req.Header.RequestURI()) // which forgets that it was taken apart
	deadline := time.Now().Add(req.GetTimeOut())
	c, kept, err := s.of.take(deadline)
	if err != nil {
		return false, err
	}
	skip := resp.SkipBody
	err = c.carry(client, req, resp, deadline)
	if !kept || !errors.Is(err, io.EOF) || !isSafe(req.Header.Method()) {
		return false, err
	}
	c, broken := s.of.dial(deadline)
	if broken != nil {
		return false, err // as the server may have seen the request, and ended
	}
	resp.Reset()
	resp.SkipBody = skip
	return false, c.carry(client, req, resp, deadline)
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
func (c *upstreamConn) carry(
	client *fasthttp.HostClient, req *fasthttp.Request, resp *fasthttp.Response, deadline time.Time,
) error {
	if err := c.SetDeadline(deadline); err != nil {
		return errors.Join(io.EOF, err, c.Close())
	}
	var unsent error // if the connection has ended, reading shows it, behind the answer that may be there
	var sending chan error
	if len(req.Body()) > promptWrite {
		sending = make(chan error, 1)
		go func() { sending <- c.send(client, req) }()
	} else {
		unsent = c.send(client, req)
	}
	in := client.AcquireReader(c)
	err := readAnswer(in, resp, client.MaxResponseBodySize)
	excess := in.Buffered() > 0
	client.ReleaseReader(in)
	if sending != nil {
		unsent = c.sent(sending, err == nil)
	}
	if err != nil || unsent != nil || excess || resp.ConnectionClose() {
		_ = c.Close() // it is of no use, whatever its end says
		return err
	}
	c.of.keep(c)
	return nil
}

// readAnswer reads an answer of up to limit bytes. Those with a status of 1xx before it are passed over, and so are the
// fields behind a body in chunks, which a header must not take over (RFC 9110, section 6.5.1).
func readAnswer(in *bufio.Reader, resp *fasthttp.Response, limit int) error {
	if err := resp.Header.Read(in); err != nil {
		return err // io.EOF if there is nothing
	}
	for n := 0; resp.StatusCode() < fasthttp.StatusOK; n++ {
		if status := resp.StatusCode(); status < fasthttp.StatusContinue || n == maxInterim {
			return fmt.Errorf("status %d", status)
		} else if status == fasthttp.StatusSwitchingProtocols {
			return errSwitched
		}
		if err := resp.Header.Read(in); err != nil {
			return cut(err)
		}
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

// cut turns the end of a connection within an answer into what it is.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *upstreamConn) send(client *fasthttp.HostClient, req *fasthttp.Request) error {
	out := client.AcquireWriter(c)
	defer client.ReleaseWriter(out)
	if err := req.Write(out); err != nil {
		return err
	}
	return out.Flush()
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

// rawBody takes what net/http has read of a body beyond the head. The rest is still in the socket.
func rawBody(body io.Reader, conn *upstreamConn) (first []byte, rest *net.TCPConn, err error) {
	conn.only.Store(true)
	defer conn.only.Store(false)
	buf := make([]byte, 64<<10) // larger than the reader's, which then passes an empty read on
	n, err := body.Read(buf)
	return buf[:n], conn.TCPConn, err
}

package runtime

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"gantry/function/socket"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// streamLink is the connection that a streamed exchange has to the server.
type streamLink struct {
	*upstreamConn
	in      *bufio.Reader
	resp    *fasthttp.Response
	closes  bool        // the server ends the connection with its answer
	whole   bool        // the answer has ended
	ended   bool        // the connection has, as far as it was read
	sending chan bool   // whether the body was sent; nil for one that left with the head
	release func() bool // ends the watch of the exchange's limits; false if these have closed the connection
}

// source reads from the connection, and notes its end.
type source struct {
	conn *socket.Stream
	of   *streamLink
}

func (s source) Read(p []byte) (int, error) {
	n, err := s.conn.Read(p)
	s.of.ended = s.of.ended || errors.Is(err, io.EOF)
	return n, err
}

// ask sends a request and reads the head of its answer. What arrives of a body is sent once only. The caller leaves the
// link if there is one, also with an error.
func (u *upstream) ask(l *streamLimit, inv *fncontext.Call, x *Streamed) (s *streamLink, err error) {
	safe := x.Body == nil && isSafe(x.Header.Method())
	err = u.attempt(inv.Deadline, safe, func(c *upstreamConn) (err error) {
		if s != nil {
			s.leave(x)
		}
		s, err = u.tryAsk(c, l, inv, x)
		return err
	})
	return s, err
}

func (u *upstream) tryAsk(c *upstreamConn, l *streamLimit, inv *fncontext.Call, x *Streamed) (*streamLink, error) {
	s := &streamLink{upstreamConn: c, in: answers.Get().(*bufio.Reader), resp: fasthttp.AcquireResponse()}
	s.in.Reset(source{c.bytes, s})
	s.release = context.AfterFunc(l.ctx, func() { s.abandon(x) })
	if err := c.SetDeadline(time.Time{}); err != nil {
		return s, errors.Join(io.EOF, err)
	}
	out := outgoing{header: x.Header, peer: x.Peer, size: x.Size, upgrade: x.Upgrade, trailers: x.Trailers}
	for name := range x.Header.Trailers() {
		out.announced = append(out.announced, string(name))
	}
	buffer := requests.Get().(*[]byte)
	*buffer = append(u.head.append((*buffer)[:0], &out, inv.Invocation), x.Whole...)
	_, unsent := c.bytes.Write(*buffer)
	requests.Put(buffer)
	if x.Body != nil && unsent == nil {
		s.sending = make(chan bool, 1)
		go func() { s.sending <- s.sendBody(l, x, out.announced) == nil }()
	}
	err := readHead(s.in, &s.resp.Header, func() error { // reads also what came before the end of a broken connection
		if s.resp.StatusCode() == fasthttp.StatusContinue {
			return nil // it concerns this connection only
		}
		stripConnection(&s.resp.Header)
		return x.Caller.Interim(&s.resp.Header)
	})
	s.closes = s.resp.ConnectionClose()
	return s, err
}

// abandon ends what waits on either side.
func (s *streamLink) abandon(x *Streamed) {
	_ = s.Close() // an error says that it is closed already
	if x.Body != nil {
		_ = x.Body.Close() // never fails
	}
}

// leave keeps the connection for the next request, or closes it. Nothing reads the caller's body any more.
func (s *streamLink) leave(x *Streamed) {
	reuse := s.whole && !s.closes && s.in != nil && s.in.Buffered() == 0
	if s.sending != nil {
		select {
		case sent := <-s.sending:
			reuse = reuse && sent
		default: // the server does not wait for the rest
			reuse = false
			s.abandon(x)
			<-s.sending
		}
	}
	reuse = s.release() && reuse
	s.freeReader()
	fasthttp.ReleaseResponse(s.resp)
	if reuse {
		s.of.keep(s.upstreamConn)
		return
	}
	_ = s.Close() // it is of no use, whatever its end says
}

// freeReader gives the reader back, which a connection that rests does not need.
func (s *streamLink) freeReader() {
	if s.in != nil {
		s.in.Reset(nil)
		answers.Put(s.in)
		s.in = nil
	}
}

// buffered takes up to limit bytes that were read beyond the head; 0 means all.
func (s *streamLink) buffered(limit int64) []byte {
	n := s.in.Buffered()
	if limit > 0 && int64(n) > limit {
		n = int(limit)
	}
	first := make([]byte, n)
	_, _ = io.ReadFull(s.in, first) // they are there
	return first
}

// ready reports whether some of the body is there, behind the size of its chunk.
func (s *streamLink) ready() bool {
	there, _ := s.in.Peek(s.in.Buffered()) // never fails
	if s.resp.Header.ContentLength() == -1 {
		_, there, _ = bytes.Cut(there, []byte("\n"))
	}
	return len(there) > 0
}

// body is the answer's. The header has only the trailers after its end.
func (s *streamLink) body() io.Reader {
	s.resp.StreamBody = true
	_ = s.resp.ReadBody(s.in, 0) // with StreamBody it reads nothing yet
	chunked := s.resp.Header.ContentLength() == -1
	s.resp.Header.Reset()
	s.resp.Header.SetNoDefaultContentType(true)
	if chunked {
		return chunks{s.resp.BodyStream(), s}
	}
	return s.resp.BodyStream()
}

// chunks is a body in chunks. fasthttp 1.74 takes the end of the connection between two of them for that of the body
// (requestStream.Read).
type chunks struct {
	io.Reader
	of *streamLink
}

func (c chunks) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.of.ended && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// trailers calls set with each trailer of an answer that has ended.
func (s *streamLink) trailers(set func(name, value string)) {
	for name, value := range s.resp.Header.All() {
		switch string(name) {
		case "Content-Length", "Connection", "Date", "Server", "Transfer-Encoding": // of an empty header
		default:
			set(string(name), string(value))
		}
	}
}

// sendBody sends the body as it arrives.
func (s *streamLink) sendBody(l *streamLimit, x *Streamed, trailers []string) error {
	buf := pieces.Get().(*piece)
	defer pieces.Put(buf)
	for {
		n, err := x.Body.Read(buf[:])
		if n > 0 {
			l.moved()
			if broken := s.sendPiece(buf[:n], x.Size < 0); broken != nil {
				return broken
			}
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF):
			_ = s.Close() // the server is to see that the body is not whole
			return err
		case x.Size < 0:
			return s.sendEnd(x, trailers)
		default:
			return nil
		}
	}
}

func (s *streamLink) sendPiece(p []byte, chunked bool) error {
	if !chunked {
		_, err := s.bytes.Write(p)
		return err
	}
	size := append(strconv.AppendInt(make([]byte, 0, 16), int64(len(p)), 16), "\r\n"...)
	_, err := (&net.Buffers{size, p, []byte("\r\n")}).WriteTo(s.TCPConn)
	return err
}

func (s *streamLink) sendEnd(x *Streamed, trailers []string) error {
	end := []byte("0\r\n")
	for _, name := range trailers {
		end = appendField(end, name, x.Trailer(name))
	}
	_, err := s.Write(append(end, "\r\n"...))
	return err
}

package api

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"gantry/fault"
	"hash"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// stage says what a connection is doing; it decides whether the connection may be closed for another one.
type stage int32

const (
	stageSilent   stage = iota // accepted, and nothing has arrived
	stageArriving              // a request arrives
	stageBusy                  // a request is being answered
	stageIdle                  // between two requests
	stageEvicted               // given up for other connections; it ends with its next read
)

// connection is one accepted connection of a listener. It keeps the data that decides which connections go when
// descriptors or memory run out.
type connection struct {
	net.Conn
	tcp      *net.TCPConn
	listener *listener

	stage stage32
	since atomic.Int64 // unix nanoseconds of the change to this stage
	// served is set once a request was answered.
	served atomic.Bool
	closed atomic.Bool
	// listed is the place among the connections that were never served; guarded by the mutex of connections.
	listed bool
	older  *connection
	newer  *connection

	// short says that it was given up for memory, not for descriptors.
	short atomic.Bool
	// linger says that the other side may still be sending when the connection is closed after an answer.
	linger atomic.Bool

	// What follows belongs to the goroutine that serves the connection.
	readBy    deadline
	writeBy   deadline
	head      head
	early     int                   // bytes that arrived before the request could be looked at
	headShare atomic.Pointer[share] // of a long header
	arrived   bool                  // the header is there
	wide      bool                  // a body goes to a buffer of its own
	reception *reception
	screening bool // the request is looked at for Expect: 100-continue
	wanted    bool // and its body is wanted
	scant     bool // hardly anything of the body was read
	muted     bool // the next line that fasthttp writes is a 100 that the client did not ask for
	held      []byte
}

type stage32 struct{ v atomic.Int32 }

func (s *stage32) load() stage { return stage(s.v.Load()) }

func (s *stage32) change(from, to stage) bool {
	return s.v.CompareAndSwap(int32(from), int32(to))
}

// secureConnection is a connection with TLS. fasthttp knows one by its methods.
type secureConnection struct {
	*connection
	tls *tls.Conn
}

// Handshake is called by fasthttp before the first request is read.
func (c *secureConnection) Handshake() error {
	if err := errors.Join(c.applyRead(), c.applyWrite()); err != nil {
		return err
	}
	return c.tls.Handshake()
}

// ConnectionState returns what the handshake agreed on.
func (c *secureConnection) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// connectionOf returns the connection that fasthttp knows as conn; nil for one that no listener of ours accepted.
func connectionOf(conn net.Conn) *connection {
	switch c := conn.(type) {
	case *connection:
		return c
	case *secureConnection:
		return c.connection
	}
	return nil
}

// enter changes the stage; false if the connection was given up meanwhile.
func (c *connection) enter(to stage) bool {
	for {
		from := c.stage.load()
		if from == stageEvicted {
			return false
		}
		if c.stage.change(from, to) {
			c.since.Store(time.Now().UnixNano())
			return true
		}
	}
}

// follow is fasthttp's hook for the states of connections.
func follow(conn net.Conn, state fasthttp.ConnState) {
	c := connectionOf(conn)
	switch state {
	case fasthttp.StateActive: // of the first request before anything has arrived: see Read
		if c.served.Load() {
			c.enter(stageArriving)
		}
	case fasthttp.StateIdle:
		if !c.served.Swap(true) {
			c.listener.all.unlist(c)
		}
		c.head, c.early, c.arrived = head{}, 0, false
		c.enter(stageIdle)
	case fasthttp.StateHijacked:
		c.enter(stageBusy)
	case fasthttp.StateNew, fasthttp.StateClosed:
	}
}

// Read reads what arrives. Before a request can be looked at, it reads little at once, and takes a share of the memory
// for bodies for a long header.
func (c *connection) Read(p []byte) (int, error) {
	if c.wide {
		return c.read(p)
	}
	if err := c.unmute(); err != nil {
		return 0, err
	}
	p = p[:min(len(p), narrowRead)]
	if !c.arrived && c.early >= freeHead && !c.holdHead() {
		return 0, os.ErrDeadlineExceeded
	}
	if c.head.bare {
		c.readBy.wanted = time.Now().Add(bareTime)
	}
	n, err := c.read(p)
	if n == 0 {
		return n, err
	}
	if c.stage.load() == stageSilent {
		c.enter(stageArriving)
	}
	c.early += n
	c.head.watch(p[:n])
	if s := c.headShare.Load(); s != nil {
		s.progress(n)
	}
	return n, err
}

// holdHead takes the share of a long header; false if there is no memory for it.
func (c *connection) holdHead() bool {
	if c.headShare.Load() != nil {
		return true
	}
	s := c.listener.bodies.open(c, c.displace)
	c.headShare.Store(s)
	if s.grow(headerLimit, headerLimit, true) == 0 {
		c.short.Store(true)
		return false
	}
	return true
}

func (c *connection) releaseHead() {
	if s := c.headShare.Swap(nil); s != nil {
		s.give(-1)
	}
}

// received ends the arrival of a header.
func (c *connection) received() {
	c.head.done, c.arrived = true, true
	if !c.screening {
		_ = c.unmute() // whatever is written next meets the same error
	}
	c.releaseHead()
}

// Write sends an answer. A large one is counted as long as it takes.
func (c *connection) Write(p []byte) (int, error) {
	if c.muted {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	if len(p) <= smallBody {
		return c.write(p)
	}
	s := c.listener.answers.open(c, c.abort)
	s.count(int64(len(p)))
	defer s.give(-1)
	sent := 0
	for sent < len(p) {
		n, err := c.write(p[sent:min(len(p), sent+commonBody)])
		sent += n
		s.progress(n)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// unmute writes what was held, without the 100 at its end. What stands before are answers to earlier requests.
func (c *connection) unmute() error {
	if !c.muted {
		return nil
	}
	held := bytes.TrimSuffix(c.held, continueLine)
	c.muted, c.held = false, nil
	if len(held) == 0 {
		return nil
	}
	_, err := c.write(held)
	return err
}

// evict gives the connection up if it is still in the given stage. A request that has begun to arrive is answered with
// 503; a connection without one is closed, and so is every one when now is set.
func (c *connection) evict(from stage, now bool) bool {
	if !c.stage.change(from, stageEvicted) {
		return false
	}
	if now || from != stageArriving {
		c.abort()
		return true
	}
	_ = c.tcp.SetReadDeadline(past)
	return true
}

// displace gives the connection up for the memory of what arrives on it.
func (c *connection) displace() bool {
	c.short.Store(true)
	return c.evict(stageArriving, false)
}

// abort closes the connection whatever it does; what serves it meets an error.
func (c *connection) abort() bool {
	_ = c.tcp.Close() // an error says that it is closed already
	c.forget()
	return true
}

// cause is the answer to a request whose connection was given up.
func (c *connection) cause() *fault.Error {
	if c.short.Load() {
		return noMemory()
	}
	return noRoom()
}

// lost reports whether the connection was given up, or got no memory.
func (c *connection) lost() bool { return c.evicted() || c.short.Load() }

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// evicted reports whether the connection was given up.
func (c *connection) evicted() bool { return c.stage.load() == stageEvicted }

// SetReadDeadline is called by fasthttp twice for every request. The next read applies the deadline.
func (c *connection) SetReadDeadline(t time.Time) error {
	c.readBy.wanted = t
	return nil
}

// SetWriteDeadline is called by fasthttp for every answer. The next write applies the deadline.
func (c *connection) SetWriteDeadline(t time.Time) error {
	c.writeBy.wanted = t
	return nil
}

// SetDeadline is called by fasthttp before it hands the connection over.
func (c *connection) SetDeadline(t time.Time) error {
	c.readBy, c.writeBy = deadline{t, t}, deadline{t, t}
	return c.Conn.SetDeadline(t)
}

// read reads within the deadline that fasthttp has asked for.
func (c *connection) read(p []byte) (int, error) {
	if err := c.applyRead(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// write writes within the deadline that fasthttp has asked for.
func (c *connection) write(p []byte) (int, error) {
	if err := c.applyWrite(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// applyRead gives the socket the deadline of the next read, unless the connection was given up.
func (c *connection) applyRead() error {
	if !c.readBy.due() {
		return nil
	}
	err := c.Conn.SetReadDeadline(c.readBy.set)
	if c.evicted() { // looked at afterwards: whichever of both comes last sees the other
		return c.Conn.SetReadDeadline(past)
	}
	return err
}

// applyWrite gives the socket the deadline of the next write.
func (c *connection) applyWrite() error {
	if !c.writeBy.due() {
		return nil
	}
	return c.Conn.SetWriteDeadline(c.writeBy.set)
}

// deadlineSlack is how far apart two deadlines may be that count as one: a deadline costs the kernel's poller more than
// a small read, and those of a busy connection differ by the time between two requests.
const deadlineSlack = time.Second

// deadline is one of a socket's two.
type deadline struct {
	wanted time.Time // zero for none
	set    time.Time // what the socket has
}

// due reports whether the socket is to get the wanted deadline, and takes it as set.
func (d *deadline) due() bool {
	if d.wanted.IsZero() == d.set.IsZero() && d.wanted.Sub(d.set).Abs() < deadlineSlack {
		return false
	}
	d.set = d.wanted
	return true
}

// Close closes the connection, and forgets it. What the other side may still send after a refusal is read before:
// closing at once would reset the connection, and the client would never see the answer.
func (c *connection) Close() error {
	if c.linger.Swap(false) && (!c.evicted() || c.short.Load()) && c.closeWrite() == nil {
		c.enter(stageIdle)
		discard(c.tcp)
	}
	err := c.Conn.Close()
	c.releaseHead()
	c.forget()
	return err
}

func (c *connection) closeWrite() error {
	if secure, ok := c.Conn.(*tls.Conn); ok && secure.CloseWrite() == nil {
		return nil
	}
	return c.tcp.CloseWrite()
}

// answerPlain sends the answer that is in ctx to a client that does not know of TLS.
func (c *connection) answerPlain(ctx *fasthttp.RequestCtx) {
	c.listener.remarkPlain()
	ctx.Response.Header.SetServer(serverName)
	ctx.SetConnectionClose()
	_ = c.tcp.SetWriteDeadline(time.Now().Add(refusalTime))
	w := bufio.NewWriter(c.tcp)
	if ctx.Response.Write(w) == nil {
		_ = w.Flush() // a client that has left needs no answer
	}
}

func (c *connection) forget() {
	if !c.closed.Swap(true) {
		c.listener.all.remove(c)
	}
}

// SyscallConn gives access to the socket.
func (c *connection) SyscallConn() (syscall.RawConn, error) { return c.tcp.SyscallConn() }

// discard reads what a client still sends after its answer, within limits: closing at once would reset the connection,
// and the client would never see the answer.
func discard(conn net.Conn) {
	end := time.Now().Add(discardTime)
	kept := takeBuffer(promptBody)
	defer returnBuffer(kept)
	buf := kept[:cap(kept)]
	for read := 0; read < discardLimit && time.Now().Before(end); {
		if conn.SetReadDeadline(time.Now().Add(discardPause)) != nil {
			return
		}
		n, err := conn.Read(buf)
		read += n
		if err != nil {
			return
		}
	}
}

const (
	discardLimit = 64 << 20
	discardPause = time.Second // without data: the client has seen the answer
	discardTime  = 5 * time.Second
)

var (
	expectHeader   = []byte(fasthttp.HeaderExpect)
	expectContinue = []byte("100-continue")
	continueLine   = []byte("HTTP/1.1 100 Continue\r\n\r\n")
)

// reception is one body on its way in.
type reception struct {
	conn        *connection
	stream      io.Reader
	size, limit int // size is -1 if it was not announced
	sum         hash.Hash
	buf         []byte
	share       *share // nil as long as the body fits into the first buffer
	held        int64  // what the share has for the buffer
}

// noMemory is the answer to a request whose body there is no memory for.
func noMemory() *fault.Error {
	return &fault.Error{
		Kind: fault.Throttled,
		Type: fault.TypeThrottled,
		Code: fault.CodeMaxInstances,
		Message: fmt.Sprintf(
			"no memory for another body of over %d bytes at the moment: those of other requests are in use, or this one arrived too slowly while they waited; try again",
			smallBody,
		),
		Hint: "raise GANTRY_BODY_MEMORY if the memory is there",
	}
}

package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"gantry/fault"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// listener accepts connections as long as it is open, also while there are no descriptors or no memory for them.
type listener struct {
	*net.TCPListener
	accept func() (*net.TCPConn, error)
	name   string
	secure *tls.Config // nil for plain HTTP
	all    *connections
	limits *Limits
	// refuse writes the answer for a connection that there is no room for.
	refuse refuser
	log    *zap.Logger
	// bodies and answers bound the memory of what arrives and of what leaves.
	bodies, answers *budget
	count           int // of open connections; guarded by the mutex of all

	closing  chan struct{}
	close    sync.Once
	refusing atomic.Int32
	remarks  remarks
	plain    remarks
}

// listen binds addr. Errors name the setting, so that a taken port says what to change.
func listen(name, setting, addr string) (*net.TCPListener, error) {
	plain := net.ListenConfig{}
	plain.SetMultipathTCP(false) // Go's default for listeners; such a socket takes no filter, see refuseNew
	ln, err := plain.Listen(context.Background(), "tcp", addr)
	if err == nil {
		return ln.(*net.TCPListener), nil
	}
	hint := ""
	if errors.Is(err, syscall.EADDRINUSE) {
		hint = "; the port is taken: stop its owner or choose another address with " + setting
	}
	return nil, fmt.Errorf("%s listener (%s=%s): %w%s", name, setting, addr, err, hint)
}

// Pauses after an accept that failed for a reason that can pass.
const (
	firstAcceptPause = 5 * time.Millisecond
	maxAcceptPause   = time.Second
)

// Accept returns the next connection. Only the end of the listener ends it: whatever else can go wrong passes, and the
// listener goes on after a pause.
func (l *listener) Accept() (net.Conn, error) {
	pause := firstAcceptPause
	for {
		tcp, err := l.accept()
		if err == nil {
			pause = firstAcceptPause
			if conn, ok := l.admit(tcp); ok {
				return conn, nil
			}
			continue
		}
		if !passing(err) {
			return nil, err
		}
		evicted := l.all.evict(nil, nil, true)
		l.remark(
			"connections cannot be accepted for the moment; the listener goes on",
			zap.Error(err),
			zap.Bool("closed_another", evicted),
		)
		select {
		case <-time.After(pause):
		case <-l.closing:
			return nil, net.ErrClosed
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// passing reports whether an accept failed for a reason that says nothing about the listener itself: a lack of
// descriptors or memory, or an error of the network that belongs to the connection (accept(2)).
func passing(err error) bool {
	var number syscall.Errno
	if errors.Is(err, net.ErrClosed) || !errors.As(err, &number) {
		return false
	}
	switch number {
	case unix.EBADF, unix.EINVAL, unix.ENOTSOCK, unix.EFAULT:
		return false
	}
	return true
}

// Close ends the listener; Accept returns.
func (l *listener) Close() error {
	l.close.Do(func() { close(l.closing) })
	return l.TCPListener.Close()
}

// admit makes room for a connection, or refuses it.
func (l *listener) admit(tcp *net.TCPConn) (net.Conn, bool) {
	c := &connection{Conn: tcp, tcp: tcp, listener: l}
	c.since.Store(time.Now().UnixNano())
	l.all.add(c)
	room := true
	if lack := l.limits.lack(l); lack != wantNothing {
		among := l
		if lack != wantConnection {
			among = nil
		}
		room = l.all.evict(among, c, lack == wantDescriptors)
		l.remark(
			"no room for more connections: others are closed, those without a request first",
			zap.Bool("closed_another", room),
			zap.Bool("descriptors", lack != wantConnection),
		)
	}
	if !room {
		l.turnAway(c)
		return nil, false
	}
	if l.secure != nil {
		secured := tls.Server(tcp, l.secure)
		c.Conn = secured
		return &secureConnection{c, secured}, true
	}
	return c, true
}

const (
	// refusingLimit is how many connections may wait for the end of their refusal at once.
	refusingLimit = 16
	refusalTime   = time.Second
)

// turnAway answers 503 in the listener's own form. A client of TLS would have to shake hands for it, and is cut off.
func (l *listener) turnAway(c *connection) {
	if l.secure != nil || l.refusing.Add(1) > refusingLimit {
		if l.secure == nil {
			l.refusing.Add(-1)
		}
		_ = c.Close()
		return
	}
	go func() { // it ends within refusalTime
		defer l.refusing.Add(-1)
		defer func() { _ = c.Close() }() // the client has left
		_ = c.tcp.SetDeadline(time.Now().Add(refusalTime))
		c.linger.Store(l.writeRefusal(c) == nil)
	}()
}

// writeRefusal answers without a request.
func (l *listener) writeRefusal(c *connection) error {
	var ctx fasthttp.RequestCtx
	ctx.Init2(c, quiet{l.log}, true)
	l.refuse(&ctx, noRoom())
	ctx.Response.Header.SetServer(serverName)
	ctx.SetConnectionClose()
	w := bufio.NewWriter(c)
	if err := ctx.Response.Write(w); err != nil {
		return err
	}
	return w.Flush()
}

// noRoom is the answer to a connection that is closed for want of descriptors.
func noRoom() *fault.Error {
	return &fault.Error{
		Kind: fault.Unavailable, Type: fault.TypeThrottled, Code: fault.CodeUnavailable,
		Message: "no room for another connection: the agent's connections or file descriptors are used up; try again",
		Hint:    "raise the limit of open files (ulimit -n), or let clients close connections that they do not use",
	}
}

// remark logs what strangers can cause as often as they like.
func (l *listener) remark(what string, fields ...zap.Field) {
	if left, ok := l.remarks.take(time.Now()); ok {
		l.log.Warn(what, append(fields, zap.String("listener", l.name), zap.Int64("not_logged", left))...)
	}
}

// remarkPlain logs that a client does not use TLS.
func (l *listener) remarkPlain() {
	if left, ok := l.plain.take(time.Now()); ok {
		l.log.Info(
			"plain HTTP was sent to a port that speaks TLS, and answered with 400",
			zap.String("listener", l.name),
			zap.Int64("not_logged", left),
		)
	}
}

// remarkPeriod is the time between two lines of one listener about a lack of room.
const remarkPeriod = 10 * time.Second

// remarks counts what is not logged in between.
type remarks struct {
	next atomic.Int64 // unix nanoseconds
	left atomic.Int64
}

// take reports whether to log now, and how often it was not since the last time.
func (r *remarks) take(now time.Time) (left int64, ok bool) {
	next := r.next.Load()
	if now.UnixNano() < next || !r.next.CompareAndSwap(next, now.Add(remarkPeriod).UnixNano()) {
		r.left.Add(1)
		return 0, false
	}
	return r.left.Swap(0), true
}

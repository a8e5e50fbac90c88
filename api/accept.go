package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"gantry/function/socket"
	"net"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

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
	c := &connection{Conn: tcp, bytes: socket.New(tcp), tcp: tcp, listener: l}
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
		c.Conn, c.bytes = secured, secured
		return &secureConnection{c, secured}, true
	}
	return c, true
}

// remark logs what strangers can cause as often as they like.
func (l *listener) remark(what string, fields ...zap.Field) {
	if left, ok := l.remarks.take(time.Now()); ok {
		l.log.Warn(what, append(fields, zap.String("listener", l.name), zap.Int64("not_logged", left))...)
	}
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// relay passes bytes both ways after the server has taken the caller's protocol, until both sides have ended.
func (u *upstream) relay(l *streamLimit, s *streamLink, x *Streamed, a *Answer, upgrade string) error {
	if x.Upgrade == "" || !strings.EqualFold(upgrade, x.Upgrade) {
		return &fault.Error{
			Kind: fault.Crash, Type: fault.TypeProtocol, Code: fault.CodeExited,
			Message: fmt.Sprintf("the function's server changed to the protocol %.50q, and the caller asked for %.50q", upgrade, x.Upgrade),
		}
	}
	a.Header.Set("Connection", "Upgrade")
	a.Header.Set("Upgrade", upgrade)
	conn, early, err := x.Caller.Switch(a)
	if err != nil {
		l.end(errors.Join(errLeft, err))
		return err
	}
	stop := context.AfterFunc(l.ctx, func() { _, _ = conn.Close(), s.Close() })
	defer func() {
		stop()
		_, _ = conn.Close(), s.Close() // closed already, or nothing is to be sent any more
	}()
	greeting, server := s.buffered(0), s.upstreamConn // what came with the answer
	s.freeReader()

	l.rest() // both connections have their own watch now
	up := make(chan struct{})
	go func() {
		defer close(up)
		relayOne(server, conn, early, func(int) { l.moved() })
	}()
	relayOne(conn, server, greeting, func(n int) {
		x.passed += n
		l.moved()
	})
	<-up
	if cause := context.Cause(l.ctx); cause != nil {
		return cause
	}
	return nil
}

// relayOne passes bytes on until from has no more, and says so to the other side. A connection that breaks ends both
// directions.
func relayOne(to, from Conn, first []byte, moved func(n int)) {
	err := relayBytes(to, from, first, moved)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		_, _ = to.Close(), from.Close()
	}
}

func relayBytes(to, from Conn, first []byte, moved func(n int)) error {
	if len(first) > 0 {
		if _, err := to.Write(first); err != nil {
			return err
		}
		moved(len(first))
	}
	raw, err := from.SyscallConn()
	if err != nil {
		return err
	}
	var buf *piece
	var n int
	var failed error
	read := func(fd uintptr) (ready bool) {
		buf = pieces.Get().(*piece)
		for {
			n, failed = unix.Read(int(fd), buf[:])
			if !errors.Is(failed, syscall.EINTR) {
				break
			}
		}
		if errors.Is(failed, syscall.EAGAIN) {
			pieces.Put(buf)
			return false
		}
		return true
	}
	for {
		if err := raw.Read(read); err != nil {
			return err
		}
		if failed == nil && n > 0 {
			_, failed = to.Write(buf[:n])
			moved(n)
		}
		pieces.Put(buf)
		if failed != nil || n == 0 {
			return failed
		}
	}
}

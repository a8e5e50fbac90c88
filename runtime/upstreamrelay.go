package runtime

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// relay passes bytes both ways after the server has taken the caller's protocol, until both sides have ended.
func (u *upstream) relay(l *streamLimit, x *Streamed, a *Answer, server *upstreamConn, resp *http.Response) error {
	if got := resp.Header.Get("Upgrade"); x.Upgrade == "" || !strings.EqualFold(got, x.Upgrade) {
		return &fault.Error{
			Kind: fault.Crash, Type: fault.TypeProtocol, Code: fault.CodeExited,
			Message: fmt.Sprintf("the function's server changed to the protocol %.50q, and the caller asked for %.50q", got, x.Upgrade),
		}
	}
	a.Header.Set("Connection", "Upgrade")
	a.Header.Set("Upgrade", x.Upgrade)
	conn, early, err := x.Caller.Switch(a)
	if err != nil {
		l.end(errors.Join(errLeft, err))
		return err
	}
	defer func() { _ = conn.Close() }() // closed already, or nothing is to be sent any more
	stop := context.AfterFunc(l.ctx, func() { _, _ = conn.Close(), server.Close() })
	defer stop()
	body := resp.Body.(io.ReadWriteCloser) // net/http promises it
	greeting, _, err := rawBody(body, server) // what came with the answer
	if err != nil {
		return err
	}

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

// relayBuffers are for bytes on their way; a connection without any holds none.
var relayBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

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
	var buf *[16 << 10]byte
	var n int
	var failed error
	read := func(fd uintptr) (ready bool) {
		buf = relayBuffers.Get().(*[16 << 10]byte)
		for {
			n, failed = unix.Read(int(fd), buf[:])
			if !errors.Is(failed, syscall.EINTR) {
				break
			}
		}
		if errors.Is(failed, syscall.EAGAIN) {
			relayBuffers.Put(buf)
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
		relayBuffers.Put(buf)
		if failed != nil || n == 0 {
			return failed
		}
	}
}

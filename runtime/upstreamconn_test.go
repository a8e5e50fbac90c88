package runtime

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"
)

// deafServer answers "/answer" at once, nothing else ever, and reads no body.
func deafServer(t *testing.T) (addr string, end func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	var conns []net.Conn
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
			line, _ := bufio.NewReaderSize(conn, 16).ReadString('\n')
			if strings.Contains(line, "/answer") {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}
	})
	return ln.Addr().String(), func() {
		_ = ln.Close()
		serving.Wait()
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

// TestUnreadBodyLeavesNothing: of a request whose body the server does not read no goroutine and no connection is left,
// whether it is answered, runs out of time, or ends with the worker.
func TestUnreadBodyLeavesNothing(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	addr, end := deafServer(t)
	l := &links{addr: addr, conns: map[*upstreamConn]struct{}{}}
	l.ended, l.end = context.WithCancel(t.Context())
	body := make([]byte, 64<<20) // more than the kernel takes
	ask := func(path string, limit time.Duration) (string, error) {
		resp := fasthttp.AcquireResponse()
		defer fasthttp.ReleaseResponse(resp)
		head := "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\n"
		err := l.send(&errand{first: []byte(head), rest: body, answer: resp, limit: 100, deadline: time.Now().Add(limit)})
		return string(resp.Body()), err
	}
	got, err := ask("/answer", time.Minute)
	require.NoError(t, err)
	require.Equal(t, "ok", got)
	_, err = ask("/nothing", 50*time.Millisecond)
	require.ErrorIs(t, err, fasthttp.ErrTimeout)
	time.AfterFunc(50*time.Millisecond, l.hangUp)
	_, err = ask("/nothing", time.Minute)
	require.True(t, hungUp(err), "%v", err)
	_, err = ask("/answer", time.Minute)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, l.conns)
	require.Empty(t, l.idle)
	end()
	goleak.VerifyNone(t, leaks)
}

package api

import (
	"bufio"
	"errors"
	"gantry/fault"
	"gantry/instance"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// testPatience bounds every wait of these tests.
const testPatience = 30 * time.Second

// testServer serves handler on loopback, with limits that the test sets.
func testServer(t *testing.T, limits *Limits, handler fasthttp.RequestHandler) (*Server, *observer.ObservedLogs) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	core, logs := observer.New(zapcore.InfoLevel)
	refuse := func(ctx *fasthttp.RequestCtx, f *fault.Error) {
		write(ctx, "00000000-0000-0000-0000-000000000000", &instance.Result{Fault: f}, true)
	}
	s := newServer(&serverConfig{name: "test", ln: ln.(*net.TCPListener), bodyLimit: MaxEvent, limits: limits, log: zap.New(core), refuse: refuse}, handler)
	return s, logs
}

func serveTest(t *testing.T, s *Server) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		require.NoError(t, s.ln.Close())
		require.NoError(t, <-ended)
	})
}

// TestAcceptGoesOnAfterPassingFailures: no failure that can pass ends a listener.
func TestAcceptGoesOnAfterPassingFailures(t *testing.T) {
	passes := []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN}
	s, logs := testServer(t, nil, func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("fine") })
	var asked atomic.Int32
	s.ln.accept = func() (*net.TCPConn, error) {
		if n := int(asked.Add(1)); n <= len(passes) {
			return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", passes[n-1])}
		}
		return s.ln.AcceptTCP()
	}
	serveTest(t, s)
	require.Equal(t, http.StatusOK, get(t, s).StatusCode)
	require.Equal(t, 1, logs.FilterMessageSnippet("cannot be accepted").Len(), "one line for all of them")
}

// TestAcceptEndsWhenTheListenerIsClosed: a listener that is no listener any more ends, and closing one ends its pause.
func TestAcceptEndsWhenTheListenerIsClosed(t *testing.T) {
	for _, err := range []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL} {
		require.False(t, passing(err), err)
	}
	s, _ := testServer(t, nil, nil)
	s.ln.accept = func() (*net.TCPConn, error) { return nil, os.NewSyscallError("accept4", syscall.EMFILE) }
	ended := make(chan error, 1)
	go func() {
		_, err := s.ln.Accept()
		ended <- err
	}()
	require.NoError(t, s.ln.Close())
	select {
	case err := <-ended:
		require.ErrorIs(t, err, net.ErrClosed)
	case <-time.After(testPatience):
		t.Fatal("Accept goes on after Close")
	}
}

func get(t *testing.T, s *Server) *http.Response {
	t.Helper()
	client := http.Client{Timeout: testPatience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.Addr().String() + "/")
	require.NoError(t, err)
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp
}

// scarce are limits with room for eight connections: two of twenty descriptors are kept, ten are something else.
func scarce() *Limits {
	limits := NewLimits(LimitsConfig{})
	limits.descriptors.limit = func() int { return 20 }
	limits.descriptors.count = func() (int, error) {
		total, _ := limits.all.counts(&listener{})
		return 10 + total, nil
	}
	return limits
}

// client is one connection of a test.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(testPatience)))
	return &client{conn, t, bufio.NewReader(conn)}
}

func (c *client) send(text string) {
	c.t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(c.t, err)
}

func (c *client) answer() *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	require.NoError(c.t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	resp.Header.Set("Body", string(body))
	return resp
}

// ended waits until the server has closed the connection.
func (c *client) ended() {
	c.t.Helper()
	_, err := c.r.ReadByte()
	require.Error(c.t, err)
	require.False(c.t, errors.Is(err, os.ErrDeadlineExceeded), "the connection is still open")
}

func open(s *Server) int {
	total, _ := s.ln.all.counts(s.ln)
	return total
}

func waitOpen(t *testing.T, s *Server, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return open(s) == n }, testPatience, time.Millisecond)
}

const plainGet = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

// TestConnectionsWithoutRequestsAreEvictedFirst: connections without a request go first, then the longest idle; half
// requests are answered.
func TestConnectionsWithoutRequestsAreEvictedFirst(t *testing.T) {
	s, logs := testServer(t, scarce(), func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("fine") })
	serveTest(t, s)
	known := []*client{dial(t, s), dial(t, s)}
	for _, c := range known {
		c.send(plainGet)
		require.Equal(t, http.StatusOK, c.answer().StatusCode)
		require.Eventually(t, func() bool { return idle(s) >= 1 }, testPatience, time.Millisecond)
	}
	half := dial(t, s)
	half.send("POST / HTTP/1.1\r\n")
	require.Eventually(t, func() bool { return arriving(s) == 1 }, testPatience, time.Millisecond)
	var silent []*client
	for range 5 {
		silent = append(silent, dial(t, s))
	}
	waitOpen(t, s, 8)

	fresh := dial(t, s)
	fresh.send(plainGet)
	require.Equal(t, http.StatusOK, fresh.answer().StatusCode, "a new connection is served")
	refused := half.answer()
	require.Equal(t, http.StatusServiceUnavailable, refused.StatusCode, "the oldest without a request was given up")
	requireOwnForm(t, refused)
	half.ended()
	for _, c := range silent {
		next := dial(t, s)
		next.send(plainGet)
		require.Equal(t, http.StatusOK, next.answer().StatusCode)
		c.ended()
	}
	for _, c := range known { // only served connections are left
		next := dial(t, s)
		next.send(plainGet)
		require.Equal(t, http.StatusOK, next.answer().StatusCode)
		c.ended()
	}
	require.Equal(t, 1, logs.FilterMessageSnippet("no room for more connections").Len(), "one line for all of them")
}

// TestBusyConnectionsStay: a connection that is being answered is never closed; a new one gets 503 in the listener's
// form.
func TestBusyConnectionsStay(t *testing.T) {
	release := make(chan struct{})
	s, _ := testServer(t, scarce(), func(ctx *fasthttp.RequestCtx) {
		<-release
		ctx.SetBodyString("fine")
	})
	serveTest(t, s)
	var busy []*client
	for range 8 {
		c := dial(t, s)
		c.send(plainGet)
		busy = append(busy, c)
	}
	require.Eventually(t, func() bool { return inStage(s, stageBusy) == 8 }, testPatience, time.Millisecond)
	c := dial(t, s)
	c.send(plainGet)
	refused := c.answer()
	require.Equal(t, http.StatusServiceUnavailable, refused.StatusCode)
	requireOwnForm(t, refused)
	close(release)
	for _, c := range busy {
		require.Equal(t, http.StatusOK, c.answer().StatusCode)
	}
}

func requireOwnForm(t *testing.T, r *http.Response) {
	t.Helper()
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	require.Equal(t, "150503", r.Header.Get("X-Func-Err-Code"))
	require.Equal(t, "1", r.Header.Get("Retry-After"))
	require.Contains(t, r.Header.Get("Body"), `"errorType": "Instance.Throttled"`)
	require.True(t, r.Close)
}

func inStage(s *Server, want stage) (n int) {
	s.ln.all.mu.Lock()
	defer s.ln.all.mu.Unlock()
	for c := range s.ln.all.open {
		if c.stage.load() == want {
			n++
		}
	}
	return n
}

func idle(s *Server) int     { return inStage(s, stageIdle) }
func arriving(s *Server) int { return inStage(s, stageArriving) }

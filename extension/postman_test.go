package extension

import (
	"context"
	"errors"
	"fmt"
	"gantry/telemetry"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// poster returns the function that delivers batches to a port.
func poster(port int) func(context.Context, []byte) error {
	return newSubscriber("x", &subscription{uri: fmt.Sprintf("http://127.0.0.1:%d/", port)}, &Observer{}).Send
}

func TestPostmanJudgesAnswersByTheirStatus(t *testing.T) {
	harness.FixedPorts(t)
	var answer http.HandlerFunc
	receiver(t, 8085, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w, r)
	})
	large := make([]byte, 10<<20)
	good, final, other := map[string]bool{"good": true}, map[string]bool{"final": true}, map[string]bool{}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   map[string]bool
	}{
		"200": {status(200), good}, "202": {status(202), good}, "204": {status(204), good}, "299": {status(299), good},
		"200 with 10 MB": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			_, _ = w.Write(large)
		}, good},
		"200 with 10 MB in chunks":     {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); _, _ = w.Write(large) }, good},
		"500 with 10 MB":               {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = w.Write(large) }, other},
		"404 with 10 MB":               {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); _, _ = w.Write(large) }, final},
		"400":                          {status(400), final},
		"404":                          {status(404), final},
		"413":                          {status(413), final},
		"408":                          {status(408), other},
		"429":                          {status(429), other},
		"301":                          {status(301), other},
		"500":                          {status(500), other},
		"503":                          {status(503), other},
		"closed without an answer":     {hijack(""), other},
		"closed within the header":     {hijack("HTTP/1.1 200 OK\r\nContent-Le"), other},
		"closed within the answer":     {hijack("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), other},
		"no HTTP":                      {hijack("what?\r\n\r\n"), other},
		"closed, but with the answer":  {hijack("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), good},
		"answer that ends by the end":  {hijack("HTTP/1.1 200 OK\r\n\r\nabc"), good},
		"answer that says HTTP/1.0":    {hijack("HTTP/1.0 200 OK\r\n\r\n"), good},
		"Continue before the answer":   {hijack("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), good},
		"answer with a great header":   {hijack("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10) + "\r\nContent-Length: 0\r\n\r\n"), other},
		"answer of another connection": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }, good},
	} {
		answer = c.answer
		send := poster(8085)
		err := send(t.Context(), []byte("[]"))
		require.Equal(t, c.want["good"], err == nil, "%s: %v", name, err)
		require.Equal(t, c.want["final"], errors.Is(err, telemetry.ErrFinal), "%s: %v", name, err)
		require.False(t, errors.Is(err, telemetry.ErrGone), name)
		answer = status(200)
		if err := send(t.Context(), []byte("[]")); err != nil { // on a connection that had ended
			require.NoError(t, send(t.Context(), []byte("[]")), "after %s", name)
		}
	}
}

// hijack writes an answer of its own and closes the connection.
func hijack(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}
}

func TestPostmanReportsAMissingListenerAsGone(t *testing.T) {
	harness.FixedPorts(t)
	send := poster(8085)
	require.ErrorIs(t, send(t.Context(), []byte("[]")), telemetry.ErrGone)
	listening(t, 8085)
	require.NoError(t, send(t.Context(), []byte("[]")))
}

func TestPostmanGivesUpWithoutATimelyAnswer(t *testing.T) {
	harness.FixedPorts(t)
	release := make(chan struct{})
	receiver(t, 8085, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	began := time.Now()
	require.ErrorIs(t, poster(8085)(t.Context(), []byte("[]")), fasthttp.ErrTimeout)
	require.GreaterOrEqual(t, time.Since(began), deliveryLimit-100*time.Millisecond)
}

// TestPostmanEndsWithItsContext at once: while it waits for an answer, while the address neither takes nor refuses the
// connection, and before it has begun. An attempt that waited for its limit would say so.
func TestPostmanEndsWithItsContext(t *testing.T) {
	harness.FixedPorts(t)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	receiver(t, 8085, func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release })
	defer close(release)
	occupy(t, 8086)
	for name, c := range map[string]struct {
		port  int
		begun func()
	}{
		"answer": {8085, func() { <-arrived }},
		"dial":   {8086, func() { time.Sleep(50 * time.Millisecond) }}, // whenever: the outcome is the same
		"before": {8085, nil},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if c.begun == nil {
			cancel()
		}
		ended := make(chan error, 1)
		go func() { ended <- poster(c.port)(ctx, []byte("[]")) }()
		if c.begun != nil {
			c.begun()
		}
		cancel()
		err := <-ended
		require.Error(t, err, name)
		require.NotErrorIs(t, err, fasthttp.ErrTimeout, name)
		require.NotErrorIs(t, err, telemetry.ErrGone, name)
		var netErr net.Error
		require.False(t, errors.As(err, &netErr) && netErr.Timeout(), "%s: %v", name, err)
	}
}

// occupy listens, takes no connections, and fills what the system keeps for it.
func occupy(t *testing.T, port int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	address := &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	require.NoError(t, unix.Bind(fd, address))
	require.NoError(t, unix.Listen(fd, 0))
	for range 3 {
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		require.NoError(t, err)
		t.Cleanup(func() { _ = unix.Close(client) })
		_ = unix.Connect(client, address) // is under way, or will never be
	}
}

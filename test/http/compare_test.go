package http

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answer is an answer as it came.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// exchange sends bytes on a connection of its own and reads one answer. Nothing is written anew on the way, as a
// client library would.
func exchange(t *testing.T, addr, request string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err, "%.200s", request)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err, "%.200s", request)
	return answer{resp.StatusCode, resp.Header, body}
}

// documented reports whether a header of an answer differs between agent and server by docs/HTTP.md: those of the
// connection, the length that follows from it, the agent's own, and Date.
func documented(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Date", "X-Func-Err-Code", "X-Is-Func-Err":
		return true
	}
	return strings.HasPrefix(name, "X-Cff-")
}

// same checks that an answer of the agent is that of its server.
func same(t *testing.T, request string, direct, through answer) {
	t.Helper()
	require.Equal(t, direct.status, through.status, "%.200s", request)
	shown := strings.Contains(request, " /echo") // the body has the headers of the request, of which the agent adds some
	for name, values := range direct.header {
		if !documented(name) && (!shown || name != "Etag") {
			require.Equal(t, values, through.header[name], "%s of %.200s", name, request)
		}
	}
	for name := range through.header {
		if !documented(name) && name != "Server" { // which the agent adds where there is none
			require.Contains(t, direct.header, name, "%.200s", request)
		}
	}
	if length := direct.header.Get("Content-Length"); length != "" && !shown && direct.status != http.StatusNoContent {
		require.Equal(t, length, through.header.Get("Content-Length"), "%.200s", request)
	}
	require.Len(t, through.header.Get("X-Cff-Request-Id"), 36)
	if shown && len(direct.body) > 0 {
		sameEcho(t, request, direct.body, through.body)
		return
	}
	require.True(t, bytes.Equal(direct.body, through.body), "%.200s:\n%.300q\n%.300q", request, direct.body, through.body)
}

// echo is what a server says that it got.
type echo struct {
	Method, URL, Hash string
	Headers           map[string]string
	Size              int
}

func readEcho(t *testing.T, body []byte) (e echo) {
	t.Helper()
	require.NoError(t, json.Unmarshal(body, &e), "%s", body)
	return e
}

// sameEcho checks that the server got the same request from the agent, but for the headers that docs/HTTP.md names.
func sameEcho(t *testing.T, request string, direct, through []byte) {
	t.Helper()
	want, got := readEcho(t, direct), readEcho(t, through)
	for name, value := range map[string]string{
		"x-cff-func-name": "shop", "x-cff-func-version": "latest", "x-cff-memory": "512", "x-cff-timeout": "30",
		"x-cff-package": "default", "x-cff-region": "local-1", "x-cff-project-id": strings.Repeat("0", 32),
		"x-forwarded-for": "127.0.0.1", "x-forwarded-host": "localhost", "x-forwarded-proto": "http",
	} {
		require.Equal(t, value, got.Headers[name], "%s of %.200s", name, request)
	}
	require.Len(t, got.Headers["x-cff-request-id"], 36)
	for name := range got.Headers {
		if strings.HasPrefix(name, "x-cff-") || strings.HasPrefix(name, "x-forwarded-") {
			delete(got.Headers, name)
		}
	}
	for _, headers := range []map[string]string{want.Headers, got.Headers} {
		for _, name := range []string{"connection", "transfer-encoding", "content-length"} { // of a connection
			delete(headers, name)
		}
		for name, value := range headers {
			if value == "" {
				delete(headers, name) // CGI has some without a request's saying so
			}
		}
	}
	require.Equal(t, want, got, "%.200s", request)
}

// compare sends one request to agent and server.
func (f *function) compare(request string, status int) {
	f.t.Helper()
	direct := exchange(f.t, f.server, request)
	require.Equal(f.t, status, direct.status, "%.200s: %.300s", request, direct.body)
	same(f.t, request, direct, exchange(f.t, f.agent, request))
}

// request is the text of one: a line, headers, and a body.
func request(line, body string, headers ...string) string {
	lines := append([]string{line + " HTTP/1.1", "Host: localhost"}, headers...)
	if body != "" || slices.Contains([]string{"POST", "PUT", "PATCH"}, line[:strings.IndexByte(line, ' ')]) {
		lines = append(lines, "Content-Length: "+itoa(len(body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// streamServer is a web server that streams as its path says.
const streamServer = `
const http = require('http');
http.createServer((q, s) => {
  const [path, n] = q.url.split('?');
  q.on('error', () => {}); s.on('error', () => {});
  s.on('close', () => console.log(path + ' closed, finished: ' + s.writableFinished));
  switch (path) {
    case '/echo':
      s.writeHead(200, { Trailer: 'X-Sum' });
      s.flushHeaders();
      q.on('data', (d) => s.write(d));
      return q.on('end', () => { s.addTrailers({ 'X-Sum': 'of ' + (q.trailers['x-part'] || 'nothing') }); s.end(); });
    case '/events':
      s.writeHead(200, { 'Content-Type': 'text/event-stream' });
      s.write('data: first\n\n');
      return setTimeout(() => s.write('data: second\n\n'), 1200);
    case '/count': {
      let got = 0;
      q.on('data', (d) => { got += d.length; });
      return q.on('end', () => s.end(String(got)));
    }
    case '/send': {
      let left = Number(n);
      const piece = Buffer.alloc(65536, 'x');
      s.writeHead(200, { 'Content-Length': left });
      const more = () => {
        while (left > 0) {
          const size = Math.min(left, piece.length);
          left -= size;
          if (!s.write(piece.subarray(0, size))) return s.once('drain', more);
        }
        s.end();
      };
      return more();
    }
    case '/early': s.writeHead(413); return s.end('too much');
    case '/hints':
      s.writeEarlyHints({ link: '</style.css>; rel=preload' });
      return setTimeout(() => s.end('after hints'), 10);
    case '/range':
      s.writeHead(206, { 'Content-Range': 'bytes 2-4/10', 'Content-Length': 3 });
      return s.end('cde');
    case '/204': s.writeHead(204); return s.end();
    case '/304': s.writeHead(304, { ETag: '"x"' }); return s.end();
    case '/chunks': s.write('one '); return setTimeout(() => s.end('two'), 10);
    case '/silent': return;
    case '/stall': s.write('begun'); return;
    case '/cutlarge': s.writeHead(200, { 'Content-Length': 1e8 }); return s.write(Buffer.alloc(2e6), () => q.socket.destroy());
    case '/cut': s.write('part'); return setTimeout(() => q.socket.destroy(), 10);
    case '/die': s.write('part'); return setTimeout(() => process.exit(3), 10);
  }
  s.setHeader('X-Target', Buffer.from(q.url, 'latin1').toString('hex'));
  s.end(path === '/headers' ? JSON.stringify(q.rawHeaders) : 'plain');
}).on('upgrade', (q, socket, head) => {
  socket.on('error', () => {});
  if (q.url === '/refuse') return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ' + q.headers.upgrade + '\r\n\r\nwelcome ');
  socket.write(head);
  socket.pipe(socket);
  socket.on('close', () => console.log('socket closed'));
}).listen(process.env.PORT, '127.0.0.1');
`

// streamFunction starts an HTTP function without the platform's limits.
func streamFunction(t *testing.T, env ...string) *running {
	t.Helper()
	return httpFunction(t, map[string]string{"bootstrap": "exec node server.js", "server.js": streamServer},
		append([]string{"GANTRY_HTTP_LIMITS=none", "RUNTIME_TIMEOUT=1", "RUNTIME_MEMORY=512"}, env...)...)
}

// upgrade asks for another protocol, with some bytes of it behind the request.
func upgrade(t *testing.T, r *running, path, early string) (*net.TCPConn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn := connect(t, r)
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n%s", path, early)
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	return conn, in, resp
}

// TestBodiesStreamBothWaysAtOnce: each piece comes back before the next one is sent, long past the timeout.
func TestBodiesStreamBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	out, in := io.Pipe()
	req, err := http.NewRequest("POST", r.url+"/echo", out)
	require.NoError(t, err)
	req.Trailer = http.Header{"X-Part": nil}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	for i := range 4 {
		piece := fmt.Sprintf("piece %d ", i)
		_, err := io.WriteString(in, piece)
		require.NoError(t, err)
		got := make([]byte, len(piece))
		_, err = io.ReadFull(resp.Body, got)
		require.NoError(t, err)
		require.Equal(t, piece, string(got))
		time.Sleep(400 * time.Millisecond) // in all longer than RUNTIME_TIMEOUT
	}
	req.Trailer.Set("X-Part", "four")
	require.NoError(t, in.Close())
	rest, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, http.Header{"X-Sum": {"of four"}}, resp.Trailer)
	r.stdout.WaitFor(t, ", status: 200, bytes: 32")
}

// TestLargeBodiesPassInLittleMemory: a gigabyte each way.
func TestLargeBodiesPassInLittleMemory(t *testing.T) {
	t.Parallel()
	size, limit := int64(1<<30), 32<<10
	if len(buildFlags) > 0 { // the race detector needs memory of its own
		size, limit = 64<<20, 0
	}
	r := streamFunction(t, "RUNTIME_TIMEOUT=60")
	resp, err := http.Get(fmt.Sprintf("%s/send?%d", r.url, size))
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.Equal(t, size, n)
	for _, announced := range []int64{size, -1} {
		req, err := http.NewRequest("PUT", r.url+"/count", io.LimitReader(zeros{}, size))
		require.NoError(t, err)
		req.ContentLength = announced
		resp, err = http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.Equal(t, strconv.FormatInt(size, 10), bodyOf(t, resp))
	}
	if limit > 0 {
		require.Less(t, highWater(t, r.cmd.Process.Pid), limit, "kB")
	}
}

// zeros is an endless source.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// highWater is the most memory that a process had, in kB.
func highWater(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	require.True(t, found)
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return n
}

// TestEventsArriveAtOnceAndEndWithTheirCaller: the server sees that the caller has left.
func TestEventsArriveAtOnceAndEndWithTheirCaller(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	for _, events := range []int{1, 2} {
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", r.url+"/events", nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		in := bufio.NewScanner(resp.Body)
		for _, want := range []string{"data: first", "data: second"}[:events] {
			require.True(t, in.Scan())
			require.Equal(t, want, in.Text())
			in.Scan()
		}
		size := r.stdout.Size()
		leave()
		resp.Body.Close()
		harness.Eventually(t, func() bool { return strings.Contains(r.stdout.From(size), "/events closed, finished: false") }, "the server to see the caller leave")
		harness.Eventually(t, func() bool {
			return strings.Contains(r.stdout.From(size), "the caller closed its connection before it had the whole answer")
		}, "the log to say so")
	}
	require.Equal(t, 200, r.request("GET", r.url+"/", "").status)
}

// TestCallerThatLeavesBeforeTheAnswerEndsItsRequest: before the timeout.
func TestCallerThatLeavesBeforeTheAnswerEndsItsRequest(t *testing.T) {
	t.Parallel()
	r := streamFunction(t, "RUNTIME_TIMEOUT=600")
	conn := connect(t, r)
	_, err := io.WriteString(conn, "POST /silent HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n"+strings.Repeat("x", 10000))
	require.NoError(t, err)
	r.stdout.WaitFor(t, "Start invoke")
	require.NoError(t, conn.Close())
	r.stdout.WaitFor(t, "/silent closed, finished: false")
	r.stdout.WaitFor(t, "the caller closed its connection")
}

// TestTimeoutOfAStreamIsThatOfTheFirstByte: other streams of the server go on. Then silence ends a stream.
func TestTimeoutOfAStreamIsThatOfTheFirstByte(t *testing.T) {
	t.Parallel()
	r := streamFunction(t, "GANTRY_HTTP_IDLE_TIMEOUT=3")
	pid := r.worker()
	stalled, err := http.Get(r.url + "/stall")
	require.NoError(t, err)
	late := r.request("GET", r.url+"/silent", "")
	require.Equal(t, 504, late.status, late.body)
	require.Contains(t, late.body, "RUNTIME_TIMEOUT")
	require.Equal(t, "plain", r.request("GET", r.url+"/", "").body)
	body, err := io.ReadAll(stalled.Body)
	require.Error(t, err, "the end of the answer is no regular one")
	require.Equal(t, "begun", string(body))
	r.stdout.WaitFor(t, "nothing passed between the function's server and the caller for 3s (GANTRY_HTTP_IDLE_TIMEOUT)")
	require.Equal(t, pid, r.worker(), "the server goes on")
}

// TestServerWithoutAnyAnswerIsReplaced: its only request timed out, so it may hang for good.
func TestServerWithoutAnyAnswerIsReplaced(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	pid := r.worker()
	require.Equal(t, 504, r.request("GET", r.url+"/silent", "").status)
	require.Equal(t, "plain", r.request("GET", r.url+"/", "").body)
	require.NotEqual(t, pid, r.worker())
}

// TestCallerThatDoesNotReadIsGivenUp: the server's memory and the agent's hold no more than buffers meanwhile.
func TestCallerThatDoesNotReadIsGivenUp(t *testing.T) {
	t.Parallel()
	r := streamFunction(t, "GANTRY_HTTP_IDLE_TIMEOUT=1")
	conn := connect(t, r)
	_, err := io.WriteString(conn, "GET /send?1000000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	r.stdout.WaitFor(t, "/send closed, finished: false")
	r.stdout.WaitFor(t, "(GANTRY_HTTP_IDLE_TIMEOUT)")
	require.Equal(t, 200, r.request("GET", r.url+"/", "").status)
}

// TestStreamedAnswersHaveTheirForm: statuses without a body, interim answers, ranges, HEAD, and callers of HTTP/1.0.
func TestStreamedAnswersHaveTheirForm(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	answer := func(request string) (*http.Response, string) {
		resp := rawRequest(t, r, request)
		return resp, bodyOf(t, resp)
	}
	resp, _ := answer("GET /204 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.Equal(t, 204, resp.StatusCode)
	require.Empty(t, resp.Header.Get("Content-Length"))
	require.Empty(t, resp.TransferEncoding)
	resp, _ = answer("GET /304 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.Equal(t, 304, resp.StatusCode)
	require.Equal(t, `"x"`, resp.Header.Get("Etag"))
	resp, body := answer("GET /range HTTP/1.1\r\nHost: localhost\r\nRange: bytes=2-4\r\n\r\n")
	require.Equal(t, []any{206, "bytes 2-4/10", "cde"}, []any{resp.StatusCode, resp.Header.Get("Content-Range"), body})
	resp, body = answer("GET /chunks HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.Equal(t, []any{[]string{"chunked"}, "one two"}, []any{resp.TransferEncoding, body})
	resp, body = answer("GET /chunks HTTP/1.0\r\n\r\n")
	require.Equal(t, []any{[]string(nil), int64(7), "one two"}, []any{resp.TransferEncoding, resp.ContentLength, body})

	head, err := http.Head(r.url + "/send?123456789")
	require.NoError(t, err)
	require.Equal(t, int64(123456789), head.ContentLength)

	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, "GET", r.url+"/hints", nil)
	require.NoError(t, err)
	resp, err = http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.Equal(t, "after hints", bodyOf(t, resp))
	require.Equal(t, []string{"103 </style.css>; rel=preload"}, hints)
}

// TestStreamedRequestsKeepTheirTarget: byte for byte, and their header as with the platform's limits.
func TestStreamedRequestsKeepTheirTarget(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	for _, target := range []string{"/", "/?", "//a/../b", "/a%2Fb/./c?x=%20&y=a+b", "/a|b\"{}^", "/%zz?%", "/%C3%A9", "//host/%2F?", "//a|%2F"} {
		resp := rawRequest(t, r, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.Equal(t, "plain", bodyOf(t, resp), "%q", target)
		require.Equal(t, fmt.Sprintf("%x", target), resp.Header.Get("X-Target"), "%q", target)
	}
	resp := rawRequest(t, r, "GET /headers HTTP/1.1\r\nHost: localhost\r\nX-Cff-Memory: 1\r\nTe: trailers\r\nKeep-Alive: 5\r\n\r\n")
	headers := bodyOf(t, resp)
	require.Contains(t, headers, `"X-Cff-Memory","512"`)
	require.Contains(t, headers, `"TE","trailers"`)
	require.Contains(t, headers, `"X-Forwarded-For","127.0.0.1"`)
	require.NotContains(t, headers, "Keep-Alive")
	require.NotContains(t, headers, "User-Agent")
	require.NotContains(t, headers, "Accept-Encoding")
}

// TestConnectionsAreUsedAgain: also for requests that are sent before their answers are read.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	conn := connect(t, r)
	in := bufio.NewReader(conn)
	large := strings.Repeat("y", 100_000)
	request := "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + large
	for range 3 {
		_, err := io.WriteString(conn, request+"GET /chunks HTTP/1.1\r\nHost: localhost\r\n\r\n"+request)
		require.NoError(t, err)
		for _, want := range []string{"100000", "one two", "100000"} {
			resp, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			require.Equal(t, want, bodyOf(t, resp))
		}
		time.Sleep(2 * 50 * time.Millisecond) // a watch of the last caller would have begun
	}
}

// TestAnswerBeforeTheBodyEndsItsConnection: what is left of the body is no request.
func TestAnswerBeforeTheBodyEndsItsConnection(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	conn := connect(t, r)
	_, err := io.WriteString(conn, "POST /early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 9000))
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, []any{413, true, "too much"}, []any{resp.StatusCode, resp.Close, bodyOf(t, resp)})
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	_, err = in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "plain", r.request("GET", r.url+"/", "").body)
}

// TestBrokenStreamsAreNoWholeAnswers: the caller can see it, and the next call works.
func TestBrokenStreamsAreNoWholeAnswers(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	for path, message := range map[string]string{
		"/cut": "the function's server ended the connection in the middle of its answer", "/die": "worker replaced",
	} {
		resp, err := http.Get(r.url + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, path)
		require.Equal(t, "part", string(body))
		harness.Eventually(t, func() bool { return strings.Contains(r.stdout.String()+r.stderr.String(), message) }, "the log to say %q", message)
		require.Equal(t, "plain", r.request("GET", r.url+"/", "").body)
	}
	r.stdout.WaitFor(t, "(invoke Failed)")
}

// TestLargeBodyThatBreaksOffIsTheServersFault: the kernel passes such a body on, and does not say which side it was.
func TestLargeBodyThatBreaksOffIsTheServersFault(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	resp, err := http.Get(r.url + "/cutlarge")
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.LessOrEqual(t, n, int64(2e6))
	r.stdout.WaitFor(t, "the function's server ended the connection in the middle of its answer")
	require.Equal(t, "plain", r.request("GET", r.url+"/", "").body)
}

// TestOtherProtocolsPassBothWays: with what was sent before the answer, and each side's end.
func TestOtherProtocolsPassBothWays(t *testing.T) {
	t.Parallel()
	r := streamFunction(t)
	conn, in, resp := upgrade(t, r, "/socket", "early ")
	require.Equal(t, []any{101, "Upgrade", "WebSocket"}, []any{resp.StatusCode, resp.Header.Get("Connection"), resp.Header.Get("Upgrade")})
	got := make([]byte, len("welcome early "))
	_, err := io.ReadFull(in, got)
	require.NoError(t, err)
	require.Equal(t, "welcome early ", string(got))
	piece := bytes.Repeat([]byte("z"), 200_000)
	go func() {
		_, _ = conn.Write(piece) // seen below
		_ = conn.CloseWrite()
	}()
	all, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, len(piece), len(all))
	r.stdout.WaitFor(t, ", status: 101, bytes: 200014")

	_, in, resp = upgrade(t, r, "/refuse", "")
	require.Equal(t, 403, resp.StatusCode)
	resp.Body = io.NopCloser(io.LimitReader(in, 2))
	require.Equal(t, "no", bodyOf(t, resp))

	conn, _, _ = upgrade(t, r, "/socket", "")
	require.NoError(t, conn.SetLinger(0)) // a reset
	size := r.stdout.Size()
	require.NoError(t, conn.Close())
	harness.Eventually(t, func() bool { return strings.Contains(r.stdout.From(size), "socket closed") }, "the server to see the reset")
}

// TestUpgradeWithinThePlatformsLimitsNamesTheSetting: as on the platform it is refused.
func TestUpgradeWithinThePlatformsLimitsNamesTheSetting(t *testing.T) {
	t.Parallel()
	r := streamFunction(t, "GANTRY_HTTP_LIMITS=cloud")
	_, _, resp := upgrade(t, r, "/socket", "")
	require.Equal(t, 400, resp.StatusCode)
	require.Contains(t, bodyOf(t, resp), "GANTRY_HTTP_LIMITS=none passes it on")
}

// TestStreamsWithoutAnEndHoldUpNeitherReloadNorStop: WebSockets and events end with their server; other answers are
// finished.
func TestStreamsWithoutAnEndHoldUpNeitherReloadNorStop(t *testing.T) {
	t.Parallel()
	r := streamFunction(t, "GANTRY_SHUTDOWN_TIMEOUT=60")
	open := func() (end func()) {
		_, socket, _ := upgrade(t, r, "/socket", "")
		events, err := http.Get(r.url + "/events")
		require.NoError(t, err)
		return func() {
			_, _ = io.Copy(io.Discard, socket) // until its end
			_, _ = io.Copy(io.Discard, events.Body)
		}
	}
	ended, pid := open(), r.worker()
	r.signal(syscall.SIGHUP)
	ended()
	harness.Eventually(t, func() bool { return r.request("GET", r.url+"/", "").status == 200 && r.worker() != pid }, "the next server")
	ended = open()
	r.signal(syscall.SIGTERM)
	ended()
	require.Zero(t, r.wait())
}

// TestThousandSocketsFitIntoTwoThousandDescriptors: each needs two.
func TestThousandSocketsFitIntoTwoThousandDescriptors(t *testing.T) {
	t.Parallel()
	if len(buildFlags) > 0 {
		t.Skip("the race detector makes it slow, and larger")
	}
	r := prepare(t, writeFiles(t, map[string]string{"bootstrap": "exec node server.js", "server.js": streamServer}),
		"GANTRY_HTTP_LIMITS=none", "GANTRY_UPSTREAM=127.0.0.1:"+serverPort(t))
	shell := exec.Command("sh", "-c", `ulimit -n 2048; exec "$0" serve`, r.cmd.Path)
	shell.Env, shell.Stdout, shell.Stderr = r.cmd.Env, r.stdout, r.stderr
	r.cmd = shell
	r.launch()
	r.findAddresses()
	for range 950 {
		_, _, resp := upgrade(t, r, "/socket", "")
		require.Equal(t, 101, resp.StatusCode)
	}
	require.Equal(t, "plain", r.request("GET", r.url+"/", "").body)
}

// TestBodyThatBreaksOffIsNoBody: neither as an event nor for a server, however it was announced.
func TestBodyThatBreaksOffIsNoBody(t *testing.T) {
	t.Parallel()
	send := func(r *running, path, header string) *http.Response {
		conn := connect(t, r)
		_, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\n"+header)
		require.NoError(t, err)
		require.NoError(t, conn.CloseWrite())
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		require.NoError(t, err)
		return resp
	}
	piece := strings.Repeat("7", 5000)
	bodies := []string{"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + piece + "\r\n", "Content-Length: 9000\r\n\r\n" + piece}
	r := function(t, `exports.handler = async (event, context) => { console.log('called'); return event; };`)
	for _, body := range bodies {
		require.Equal(t, 400, send(r, "/invoke", body).StatusCode, "%.50s", body)
	}
	require.NotContains(t, r.stdout.String(), "called")
	for _, limits := range []string{"cloud", "none"} {
		r := streamFunction(t, "GANTRY_HTTP_LIMITS="+limits)
		for _, body := range bodies {
			resp := send(r, "/count", body)
			require.False(t, resp != nil && resp.StatusCode == 200, "%s: %.50s", limits, body)
		}
		require.NotContains(t, r.stdout.String(), "finished: true", "the server answered what it got")
	}
}

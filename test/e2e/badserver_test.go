package e2e

import (
	"fmt"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// badServer speaks as its paths say, byte by byte: what a library would not let a server do.
const badServer = `
const net = require('net');
const seen = {};
const ok = (text) => 'HTTP/1.1 200 OK\r\nContent-Length: ' + text.length + '\r\n\r\n' + text;
const chunked = (chunks) => 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + chunks;
function flood(s, piece, limit) { // until the other side hangs up
  let sent = 0;
  const more = () => { while (sent < limit && !s.destroyed) { sent += piece.length; if (!s.write(piece)) return s.once('drain', more); } };
  s.on('close', () => console.log('flooded ' + (sent < limit ? 'in part' : 'all')));
  more();
}
const answers = {
  '/plain': (s, q) => s.write(ok(q.method + ' ' + q.body.length)),
  '/seen': (s, q) => s.write(ok(String(seen[q.query] || 0))),
  '/close-delimited': (s) => { s.write('HTTP/1.1 200 OK\r\n\r\nall '); setTimeout(() => s.end('of it'), 20); },
  '/closes': (s) => { s.write(ok('bye')); setTimeout(() => s.end(() => console.log('closed it')), 5); },
  '/old': (s) => s.end('HTTP/1.0 200 OK\r\n\r\nold'),
  '/twice': (s) => s.write(ok('first') + ok('second')),
  '/twice-later': (s) => { s.write(ok('first')); setTimeout(() => s.write(ok('second')), 20); },
  '/more': (s) => { s.write(ok('first') + 'and more'); setTimeout(() => s.write('again'), 20); },
  '/head': (s) => { s.write('HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n'); flood(s, Buffer.alloc(1 << 16, 'x'), 1 << 30); },
  '/headers': (s) => { s.write('HTTP/1.1 200 OK\r\n'); flood(s, 'X-Flood: ' + 'y'.repeat(1000) + '\r\n', 1 << 30); },
  '/one-header': (s) => { s.write('HTTP/1.1 200 OK\r\nX-Flood: '); flood(s, Buffer.alloc(1 << 16, 'y'), 1 << 30); },
  '/endless': (s) => { s.write('HTTP/1.1 200 OK\r\n\r\n'); flood(s, Buffer.alloc(1 << 16, 'x'), 1 << 30); },
  '/interim': (s) => { s.write('HTTP/1.1 102 Processing\r\n\r\n'); setTimeout(() => s.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' + ok('final')), 20); },
  '/continue': (s) => s.write('HTTP/1.1 100 Continue\r\n\r\n' + ok('final')),
  '/interim-only': (s) => flood(s, 'HTTP/1.1 103 Early Hints\r\n\r\n', 1 << 30),
  '/switch': (s) => s.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'),
  '/204': (s) => s.write('HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody'),
  '/204-chunked': (s) => s.write('HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n'),
  '/304': (s) => { s.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\nETag: "a"\r\n\r\n'); setTimeout(() => s.write('body'), 20); },
  '/trailers': (s) => s.write('HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Other: 1\r\n\r\n'),
  '/hops': (s) => s.end('HTTP/1.1 200 OK\r\nConnection: X-A\r\nConnection: close\r\nX-A: 1\r\nX-B: 1\r\nContent-Length: 4\r\n\r\nhops'),
  '/chunk-letters': (s) => s.end(chunked('zz\r\nabc\r\n0\r\n\r\n')),
  '/chunk-negative': (s) => s.end(chunked('-3\r\nabc\r\n0\r\n\r\n')),
  '/chunk-huge': (s) => s.end(chunked('fffffffffffffffff\r\nabc\r\n0\r\n\r\n')),
  '/chunk-large': (s) => s.end(chunked('7fffffffffffffff\r\nabc\r\n0\r\n\r\n')),
  '/chunk-unended': (s) => s.end(chunked('3\r\nabcd\r\n0\r\n\r\n')),
  '/chunk-cut': (s) => s.end(chunked('3\r\nabc\r\n')),
  '/two-lengths': (s) => s.end('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd'),
  '/negative': (s) => s.end('HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc'),
  '/framings': (s) => s.end('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n'),
  '/status': (s) => s.end('HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n'),
  '/http2': (s) => s.end('HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n'),
  '/reset-late': (s) => { s.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'); setTimeout(() => s.resetAndDestroy(), 20); },
  '/crash': () => setTimeout(() => process.exit(7), 100),
};
net.createServer((s) => {
  let q = null, data = Buffer.alloc(0), stale = false;
  s.setNoDelay(true); // or a late answer is held back until the next request
  s.on('error', () => {});
  s.on('data', (d) => {
    data = Buffer.concat([data, d]);
    for (;;) {
      if (!q) {
        const end = data.indexOf('\r\n\r\n');
        if (end < 0) return;
        const head = data.subarray(0, end).toString('latin1');
        const [method, url] = head.split(' ');
        const [path, query] = url.split('?');
        q = { method, path, query, length: Number((/content-length: *(\d+)/i.exec(head) || [0, 0])[1]) };
        data = data.subarray(end + 4);
        seen[query] = (seen[query] || 0) + (path !== '/seen');
        if (stale) return s.destroy(); // a kept connection ends as its next request arrives
        if (path === '/early') { s.end('HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno'); return s.destroySoon(); }
        if (path === '/early-open') s.write('HTTP/1.1 401 Who\r\nContent-Length: 3\r\n\r\nwho');
      }
      if (data.length < q.length) return;
      q.body = data.subarray(0, q.length);
      data = data.subarray(q.length);
      if (q.path === '/stale') { stale = true; s.write(ok('kept')); }
      else if (q.path !== '/early-open') (answers[q.path] || answers['/plain'])(s, q);
      const path = q.path;
      setTimeout(() => console.log('sent ' + path), 30);
      q = null;
    }
  });
}).listen(process.env.PORT, '127.0.0.1', () => console.log('serving'));
`

var badFiles = map[string]string{"bootstrap": "sleep $LATE\nexec node server.js", "server.js": badServer}

// badFunction starts a function whose server is bad, late seconds late.
func badFunction(t *testing.T, late string, env ...string) *running {
	t.Helper()
	env = append([]string{"GANTRY_UPSTREAM=127.0.0.1:" + serverPort(t), "LATE=" + late}, env...)
	return start(t, writeFiles(t, badFiles), env...)
}

// works checks that the next call is answered, by its own answer.
func (r *running) works(after string) {
	r.t.Helper()
	a := r.request("POST", r.url+"/plain", "xx")
	require.Equal(r.t, "200 POST 2", fmt.Sprint(a.status, " ", a.body), "after %s", after)
}

// started checks that n servers were started. A server's line may be read after its first answer.
func (r *running) started(n int) {
	r.t.Helper()
	harness.Eventually(r.t, func() bool { return strings.Count(r.stdout.String(), "serving") >= n }, "%d servers", n)
	require.Equal(r.t, n, strings.Count(r.stdout.String(), "serving"))
}

// leavesNothing checks that all descriptors above those of before are closed, and no call is in flight.
func (r *running) leavesNothing(before int) {
	r.t.Helper()
	r.waitMetric("gantry_invocations_in_flight", "0")
	harness.Eventually(r.t, func() bool {
		http.DefaultClient.CloseIdleConnections()
		return r.descriptors() <= before
	}, "%d descriptors", before)
}

// TestServerThatListensLateHasItsCallsWait: none is lost.
func TestServerThatListensLateHasItsCallsWait(t *testing.T) {
	t.Parallel()
	r := badFunction(t, "0.5", "GANTRY_CONCURRENCY=8")
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() { require.Equal(t, "POST 2", r.tryAt("/plain", "xx").body) })
	}
	calls.Wait()
	r.started(1)
}

// tryAt is request for goroutines: a failed one has status 0.
func (r *running) tryAt(path, body string) answer {
	req, err := http.NewRequest("POST", r.url+path, strings.NewReader(body))
	if err != nil {
		return answer{body: err.Error()}
	}
	a, err := do(req)
	if err != nil {
		return answer{body: err.Error()}
	}
	return a
}

// TestServerThatEndsCostsTheCallsInFlight: each says how it ended, and no other server is ended by their repetition.
func TestServerThatEndsCostsTheCallsInFlight(t *testing.T) {
	t.Parallel()
	r := badFunction(t, "0", "GANTRY_CONCURRENCY=8")
	r.stdout.WaitFor(t, "Finish load")
	before := r.descriptors()
	r.works("the start")
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			a := r.tryAt("/crash", "x")
			require.Equal(t, 502, a.status, a.body)
			require.Contains(t, a.body, "exit code 7")
		})
	}
	calls.Wait()
	r.works("the end of the server")
	a := r.request("GET", r.url+"/crash", "") // a safe method, on a kept connection
	require.Equal(t, 502, a.status, a.body)
	require.Contains(t, a.body, "exit code 7")
	r.works("another end")
	r.started(3)
	r.leavesNothing(before)
}

// TestBadAnswerFailsItsCallOnly: what is no answer has a clear error, what can be read is passed on, and in each case
// the next call gets its own answer, on the same instance.
func TestBadAnswerFailsItsCallOnly(t *testing.T) {
	t.Parallel()
	r := badFunction(t, "0", "GANTRY_CONCURRENCY=1")
	r.stdout.WaitFor(t, "Finish load")
	before := r.descriptors()
	const noHTTP, ended = "an answer that is no HTTP, or whose header is over 64 KiB", "ended the connection without an answer"
	for _, c := range []struct {
		path   string
		status int
		says   string
	}{
		{"/close-delimited", 200, "all of it"},
		{"/old", 200, "old"},
		{"/closes", 200, "bye"},
		{"/twice", 200, "first"},
		{"/twice-later", 200, "first"},
		{"/more", 200, "first"},
		{"/interim", 200, "final"},
		{"/continue", 200, "final"},
		{"/204", 204, ""},
		{"/204-chunked", 204, ""},
		{"/304", 304, ""},
		{"/framings", 200, "abcde"}, // RFC 9112, 6.3: Transfer-Encoding overrides
		{"/trailers", 200, "abc"},
		{"/hops", 200, "hops"},
		{"/switch", 502, "answered with 101"},
		{"/chunk-letters", 502, noHTTP},
		{"/chunk-negative", 502, noHTTP},
		{"/chunk-huge", 502, noHTTP},
		{"/chunk-large", 502, noHTTP},
		{"/chunk-unended", 502, noHTTP},
		{"/two-lengths", 502, noHTTP},
		{"/negative", 502, noHTTP},
		{"/status", 502, noHTTP},
		{"/http2", 502, noHTTP},
		{"/chunk-cut", 502, ended},
		{"/reset-late", 502, ended},
	} {
		a := rawRequest(t, r, "POST "+c.path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
		text := bodyOf(t, a)
		require.Equal(t, c.status, a.StatusCode, "%s: %s", c.path, text)
		require.Contains(t, text, c.says, c.path)
		require.Empty(t, a.TransferEncoding, c.path)
		require.Equal(t, "HTTP/1.1", a.Proto, c.path)
		for _, name := range []string{"X-Sum", "X-Other", "X-A", "Trailer"} { // they concern the server's connection
			require.Empty(t, a.Header[name], c.path)
		}
		if c.status == 204 {
			require.Empty(t, a.Header["Content-Length"], c.path)
		}
		if c.path == "/304" {
			require.Equal(t, []string{"4"}, a.Header["Content-Length"], "that of the answer to GET")
		}
		r.stdout.WaitFor(t, "sent "+c.path) // what comes later, too
		r.works(c.path)
	}
	r.started(1) // one server had all calls
	r.leavesNothing(before)
}

// TestFloodOfAServerIsCutOff: neither headers without an end nor a body that nothing asked for are read to their end.
func TestFloodOfAServerIsCutOff(t *testing.T) {
	t.Parallel()
	r := badFunction(t, "0", "GANTRY_CONCURRENCY=1")
	r.stdout.WaitFor(t, "Finish load")
	before := r.descriptors()
	for i, c := range []struct {
		request string
		status  int
	}{{"HEAD /head", 200}, {"POST /headers", 502}, {"POST /one-header", 502}, {"POST /endless", 500}, {"POST /interim-only", 502}} {
		method, path, _ := strings.Cut(c.request, " ")
		a := r.request(method, r.url+path, "")
		require.Equal(t, c.status, a.status, "%s: %s", c.request, a.body)
		harness.Eventually(t, func() bool { return strings.Count(r.stdout.String(), "flooded in part") == i+1 }, "%s to be cut off", path)
		r.works(path)
	}
	require.NotContains(t, r.stdout.String(), "flooded all")
	r.leavesNothing(before)
}

// TestClosedKeptConnectionsRepeatOnlySafeMethods: a server may have seen what it was sent as it closed a connection. One
// that had closed it before gets the request on another.
func TestClosedKeptConnectionsRepeatOnlySafeMethods(t *testing.T) {
	t.Parallel()
	r := badFunction(t, "0", "GANTRY_CONCURRENCY=1")
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"} {
		require.Equal(t, "kept", r.request("POST", r.url+"/stale", "").body)
		a := r.request(method, r.url+"/plain?"+method, "")
		status, times := 502, "1"
		if method == "GET" || method == "HEAD" || method == "OPTIONS" {
			status, times = 200, "2"
		}
		require.Equal(t, status, a.status, "%s: %s", method, a.body)
		require.Equal(t, times, r.request("GET", r.url+"/seen?"+method, "").body, method)
	}
	for i := range 20 {
		require.Equal(t, "bye", r.request("POST", r.url+"/closes", "").body)
		harness.Eventually(t, func() bool { return strings.Count(r.stdout.String(), "closed it") > i }, "the server to close it")
		r.works("the server had closed a kept connection")
	}
}

// TestServerMayAnswerBeforeItHasReadTheBody: its answer gets to the caller, whether it reads the rest or not.
func TestServerMayAnswerBeforeItHasReadTheBody(t *testing.T) {
	t.Parallel()
	r := badFunction(t, "0", "GANTRY_CONCURRENCY=1", "RUNTIME_TIMEOUT=20")
	r.stdout.WaitFor(t, "Finish load")
	before, body := r.descriptors(), strings.Repeat("b", 6_000_000)
	for range 5 {
		a := r.request("POST", r.url+"/early", body) // and closes
		require.Equal(t, "413 no", fmt.Sprint(a.status, " ", a.body))
		r.works("/early")
		a = r.request("POST", r.url+"/early-open", body)
		require.Equal(t, "401 who", fmt.Sprint(a.status, " ", a.body))
		r.works("/early-open")
	}
	r.leavesNothing(before)
}

// narrowServer answers with six million bytes before it reads the body, through buffers that hold little of either, and
// never reads that of /deaf.
const narrowServer = `
import os, socket, threading
def serve(c):
    with c, c.makefile("rb") as f:
        while head := f.readline():
            size, deaf = 0, b"/deaf" in head
            while (line := f.readline().strip()):
                if line.lower().startswith(b"content-length:"): size = int(line.split(b":")[1])
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6000000\r\n\r\n" + b"a" * 6000000)
            if deaf: return threading.Event().wait()
            f.read(size)
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
s.bind(("127.0.0.1", int(os.environ["PORT"])))
s.listen()
while True: threading.Thread(target=serve, args=s.accept()[:1], daemon=True).start()
`

// TestBodyAndAnswerCrossEachOther: agent and server do not wait for each other's reading.
func TestBodyAndAnswerCrossEachOther(t *testing.T) {
	t.Parallel()
	files := map[string]string{"bootstrap": "exec python3 server.py", "server.py": narrowServer}
	r := httpFunction(t, files, "GANTRY_CONCURRENCY=1", "RUNTIME_TIMEOUT=50")
	before, body := r.descriptors(), strings.Repeat("b", 6_000_000)
	for _, path := range []string{"/", "/", "/deaf", "/"} {
		a := r.request("POST", r.url+path, body)
		require.Equal(t, "200 6000000", fmt.Sprint(a.status, " ", len(a.body)), path)
	}
	r.leavesNothing(before)
}

// TestCallerThatNeverReadsHoldsNoCall: the answer is kept for it, and others are served.
func TestCallerThatNeverReadsHoldsNoCall(t *testing.T) {
	t.Parallel()
	r := httpFunction(t, map[string]string{
		"bootstrap": "exec node server.js",
		"server.js": "require('http').createServer((q, s) => s.end(Buffer.alloc(6000000, 'x'))).listen(process.env.PORT, '127.0.0.1')",
	}, "GANTRY_CONCURRENCY=1")
	before := r.descriptors()
	var deaf []net.Conn
	for range 10 {
		conn := connect(t, r)
		require.NoError(t, conn.SetReadBuffer(4096))
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		deaf = append(deaf, conn)
	}
	harness.Eventually(t, func() bool { return strings.Count(r.stdout.String(), "Finish invoke") == 10 }, "all calls to end")
	began := time.Now()
	require.Len(t, r.request("GET", r.url+"/", "").body, 6_000_000)
	require.Less(t, time.Since(began), 10*time.Second)
	for _, conn := range deaf {
		_ = conn.Close()
	}
	r.leavesNothing(before)
}

package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// probeServer is a web server that answers as its path says, and shows what it got.
const probeServer = `
const http = require('http'), zlib = require('zlib');
let n = 0;
http.createServer((q, s) => {
  const body = [];
  q.on('data', (d) => body.push(d));
  q.on('end', () => {
    console.log('got ' + q.method + ' ' + q.url);
    switch (q.url.split('?')[0]) {
      case '/204': s.writeHead(204); return s.end();
      case '/304': s.writeHead(304, { ETag: '"x"' }); return s.end();
      case '/302': s.writeHead(302, { Location: '/elsewhere' }); return s.end();
      case '/503': s.writeHead(503, { 'Content-Type': 'text/html' }); return s.end('<p>later');
      case '/cookies': s.writeHead(200, { 'Set-Cookie': ['a=1; Path=/', 'b=2'], 'X-Twice': ['1', '2'] }); return s.end();
      case '/length': s.writeHead(200, { 'Content-Length': 1000, 'Content-Type': 'a/b' }); return s.end(q.method === 'HEAD' ? undefined : 'x'.repeat(1000));
      case '/gzip': s.writeHead(200, { 'Content-Encoding': 'gzip' }); return s.end(zlib.gzipSync('packed'));
      case '/chunks': s.write('one '); return setTimeout(() => s.end('two'), 10);
      case '/hops': s.writeHead(200, { Connection: 'close, X-Hop', 'X-Hop': 1, 'Keep-Alive': 'timeout=9', Upgrade: 'h2' }); return s.end('x');
      case '/big': return s.end(Buffer.alloc(7 << 20));
      case '/hang': return;
      case '/die': return process.exit(3);
      case '/reset': return q.socket.resetAndDestroy ? q.socket.resetAndDestroy() : q.socket.destroy();
      case '/garbage': q.socket.write('this is no HTTP\r\n\r\n'); return q.socket.end();
      case '/half': s.writeHead(200, { 'Content-Length': 100 }); s.write('x'); return setTimeout(() => q.socket.destroy(), 10);
      case '/trickle': s.writeHead(200, { 'Content-Length': 100 }); return setInterval(() => s.write('x'), 50);
      case '/headers': for (let i = 0; i < 3000; i++) s.setHeader('X-' + i, 'y'.repeat(40)); return s.end();
      case '/deaf': q.socket.server.close(); setInterval(() => {}, 1000); s.setHeader('Connection', 'close'); return s.end('deaf');
      case '/closes': s.end(String(++n)); return setTimeout(() => q.socket.destroy(), 5);
    }
    const b = Buffer.concat(body);
    s.end(JSON.stringify({ version: q.httpVersion, method: q.method, url: q.url, headers: q.headers, raw: q.rawHeaders, size: b.length, body: b.subarray(0, 100).toString('latin1') }));
  });
}).listen(process.env.PORT, '127.0.0.1');
`

// serverPort is a port for the function's server. It lies outside of the range that the kernel takes for connections.
func serverPort(t *testing.T) string {
	t.Helper()
	for port := 20000 + os.Getpid()%5000; port < 32000; port++ {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil || !claim(port) {
			if err == nil {
				_ = ln.Close()
			}
			continue
		}
		require.NoError(t, ln.Close())
		return fmt.Sprint(port)
	}
	t.Fatal("no free port")
	return ""
}

// claimed are the ports that tests of this process have chosen.
var claimed sync.Map

func claim(port int) bool {
	_, taken := claimed.LoadOrStore(port, true)
	return !taken
}

// httpFunction starts an HTTP function.
func httpFunction(t *testing.T, files map[string]string, env ...string) *running {
	t.Helper()
	r := start(t, writeFiles(t, files), append([]string{"GANTRY_UPSTREAM=127.0.0.1:" + serverPort(t)}, env...)...)
	r.stdout.WaitFor(t, "Finish load")
	return r
}

var probeFiles = map[string]string{"bootstrap": "exec node server.js # not on 8000", "server.js": probeServer}

// seen is what the server got.
type seen struct {
	Version, Method, URL, Body string
	Headers                    map[string]string
	Raw                        []string
	Size                       int
}

func see(t *testing.T, a answer) seen {
	t.Helper()
	require.Equal(t, 200, a.status, a.body)
	var s seen
	require.NoError(t, json.Unmarshal([]byte(a.body), &s), a.body)
	return s
}

// connect opens a connection to the function listener.
func connect(t *testing.T, r *running) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// rawRequest sends bytes and reads one answer.
func rawRequest(t *testing.T, r *running, text string) *http.Response {
	t.Helper()
	conn := connect(t, r)
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
	method, _, _ := strings.Cut(text, " ")
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err)
	return answer
}

func bodyOf(t *testing.T, a *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(a.Body)
	require.NoError(t, err)
	return string(b)
}

// TestHTTPFunctionGetsRequestsAsTheyCame: method, target byte for byte, headers and body; the platform's headers in
// place of the caller's, and none that concern one connection only.
func TestHTTPFunctionGetsRequestsAsTheyCame(t *testing.T) {
	t.Parallel()
	r := httpFunction(t, probeFiles, "RUNTIME_FUNC_NAME=web", "RUNTIME_TIMEOUT=10", "GANTRY_SECURITY_ACCESS_KEY=s3cret")
	for _, target := range []string{"/", "//a//../b/./c", "/a%2Fb%2e%2e/%00%5C", "/a?x=1&y=%20z&x=2&&=", "/a?", "/a;b=c/$&+,:=@!'()*", "/a?q=/../?#", "/" + strings.Repeat("p", 8000)} {
		answer := rawRequest(t, r, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.Equal(t, 200, answer.StatusCode, target)
		var s seen
		require.NoError(t, json.Unmarshal([]byte(bodyOf(t, answer)), &s))
		require.Equal(t, strings.TrimSuffix(target, "#"), strings.TrimSuffix(s.URL, "#"))
		require.Zero(t, s.Size)
		require.NotContains(t, s.Headers, "content-length")
		require.NotContains(t, s.Headers, "user-agent")
	}
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"} {
		require.Equal(t, method, see(t, r.request(method, r.url+"/m", "")).Method)
	}
	s := see(t, r.request("POST", r.url+"/init", "a body",
		"X-CFF-Func-Name: evil", "x-cff-security-access-key: evil", "X-CFF-New: evil", "Connection: X-Mine, close", "X-Mine: 1", "Te: trailers", "X-Forwarded-For: 192.0.2.1", "Origin: https://elsewhere.example", "Cookie: a=1; b=2", "Content-Type: text/x"))
	require.Equal(t, "a body", s.Body)
	require.Equal(t, "6", s.Headers["content-length"])
	for name, want := range map[string]string{
		"x-cff-func-name": "web", "x-cff-func-version": "latest", "x-cff-memory": "512", "x-cff-timeout": "10", "x-cff-package": "default",
		"x-cff-region": "local-1", "x-cff-project-id": strings.Repeat("0", 32), "x-forwarded-for": "192.0.2.1, 127.0.0.1",
		"origin": "https://elsewhere.example", "cookie": "a=1; b=2", "content-type": "text/x", "x-forwarded-proto": "http",
	} {
		require.Equal(t, want, s.Headers[name], name)
	}
	require.Len(t, s.Headers["x-cff-request-id"], 36)
	for _, gone := range []string{"x-mine", "te", "x-cff-new", "x-cff-security-access-key"} {
		require.NotContains(t, s.Headers, gone)
	}
	big := strings.Repeat("\x00\xff", 3<<20)
	require.Equal(t, len(big), see(t, r.request("PUT", r.url+"/", big)).Size)
	chunked := rawRequest(t, r, "POST /c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	require.Contains(t, bodyOf(t, chunked), `"size":3`)
	expecting := rawRequest(t, r, "POST /e HTTP/1.0\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
	require.Contains(t, bodyOf(t, expecting), `"size":3`)
}

// TestHTTPFunctionAnswersAsItsServerDid: status, headers and body of every kind.
func TestHTTPFunctionAnswersAsItsServerDid(t *testing.T) {
	t.Parallel()
	r := httpFunction(t, probeFiles)
	at := func(method, path string) *http.Response {
		return rawRequest(t, r, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	for path, status := range map[string]int{"/204": 204, "/304": 304, "/302": 302, "/503": 503} {
		a := at("GET", path)
		require.Equal(t, status, a.StatusCode)
		require.Len(t, a.Header.Get("X-Cff-Request-Id"), 36)
		require.Equal(t, map[int]string{503: "<p>later"}[status], bodyOf(t, a))
		require.Equal(t, fmt.Sprint(status == 503), a.Header.Get("X-Is-Func-Err"))
	}
	require.Equal(t, "/elsewhere", at("GET", "/302").Header.Get("Location"))
	require.Equal(t, `"x"`, at("GET", "/304").Header.Get("Etag"))
	cookies := at("GET", "/cookies")
	require.Equal(t, []string{"a=1; Path=/", "b=2"}, cookies.Header["Set-Cookie"])
	require.Equal(t, []string{"1", "2"}, cookies.Header["X-Twice"])
	require.Empty(t, cookies.Header["Content-Type"])
	head := at("HEAD", "/length")
	require.Equal(t, int64(1000), head.ContentLength)
	require.Equal(t, "a/b", head.Header.Get("Content-Type"))
	require.Len(t, bodyOf(t, at("GET", "/length")), 1000)
	packed := at("GET", "/gzip")
	require.Equal(t, "gzip", packed.Header.Get("Content-Encoding"))
	require.True(t, strings.HasPrefix(bodyOf(t, packed), "\x1f\x8b"))
	require.Equal(t, "one two", bodyOf(t, at("GET", "/chunks")))
	hops := at("GET", "/hops")
	for _, name := range []string{"X-Hop", "Keep-Alive", "Upgrade", "Connection"} {
		require.Empty(t, hops.Header[name], name)
	}
	r.stdout.WaitFor(t, "status: 503, bytes: 8")
}

// TestHTTPFunctionSurvivesWhatItsServerDoes: each fault has a clear answer, and the next request works.
func TestHTTPFunctionSurvivesWhatItsServerDoes(t *testing.T) {
	t.Parallel()
	r := httpFunction(t, probeFiles, "RUNTIME_TIMEOUT=1")
	for _, c := range []struct {
		path   string
		status int
		says   string
	}{
		{"/big", 500, "exceeds the limit of 6291456"},
		{"/hang", 504, "call invoke timeout 1s"},
		{"/die", 502, "exit code 3"},
		{"/reset", 502, "ended the connection without an answer"},
		{"/garbage", 502, "an answer that is no HTTP"},
		{"/half", 502, "ended the connection without an answer"},
		{"/trickle", 504, "call invoke timeout 1s"},
		{"/headers", 502, "an answer that is no HTTP"},
	} {
		method := "POST" // which is not sent again
		a := r.request(method, r.url+c.path, "x")
		require.Equal(t, c.status, a.status, "%s: %s", c.path, a.body)
		require.Contains(t, a.body, c.says, c.path)
		require.Equal(t, 200, r.request("POST", r.url+"/next", "x").status, "after %s", c.path)
	}
	deaf := httpFunction(t, probeFiles)
	require.Equal(t, 200, deaf.request("POST", deaf.url+"/deaf", "").status)
	harness.Eventually(t, func() bool { // once the kept connection is gone
		a := deaf.request("POST", deaf.url+"/", "x")
		return a.status == 502 && strings.Contains(a.body, "does not listen on")
	}, "the end of listening to be named")
	for i := range 40 { // kept connections that the server closes meanwhile
		require.Equal(t, 200, r.request("GET", r.url+"/closes", "").status, i)
	}
}

// TestHTTPFunctionIsNotReachedByWhatIsNoRequest: framing that two readers could read differently, tunnels, upgrades,
// bodies over the limit.
func TestHTTPFunctionIsNotReachedByWhatIsNoRequest(t *testing.T) {
	t.Parallel()
	r := httpFunction(t, probeFiles)
	for name, c := range map[string]struct {
		text   string
		status int
		says   string
	}{
		"two framings":                {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "both Content-Length and Transfer-Encoding"},
		"two lengths":                 {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400, ""},
		"WebSocket":                   {"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", 400, "takes no upgrade to"},
		"WebSocket, in a second line": {"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 400, "takes no upgrade to"},
		"a tunnel":                    {"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n", 400, ""},
		"no path":                     {"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "is not a path"},
		"too large":                   {"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6291457\r\n\r\n", 413, "beyond maximum:6291456"},
		"another host":                {"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", 403, "not a loopback name"},
	} {
		a := rawRequest(t, r, c.text)
		require.Equal(t, c.status, a.StatusCode, name)
		require.Contains(t, bodyOf(t, a), c.says, name)
	}
	require.NotContains(t, r.stdout.String(), "got ", "nothing reached the server")
	ignored := rawRequest(t, r, "GET /h2 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
	text := bodyOf(t, ignored)
	require.Equal(t, 200, ignored.StatusCode)
	require.NotContains(t, text, "h2c")
	require.NotContains(t, text, "http2-settings")
}

// TestHTTPFunctionIsStartedByItsText: with or without execute bit and first line, in the code folder, with the
// interpreter that is here, and with names and numbers of lines as in the file.
func TestHTTPFunctionIsStartedByItsText(t *testing.T) {
	t.Parallel()
	serve := "\nexec \\\n  node \\\n    $RUNTIME_CODE_ROOT/server.js"
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		says string
	}{
		"a text":                 {"export A=1" + serve, 0o644, ""},
		"executable":             {"export A=1" + serve, 0o755, ""},
		"a first line":           {"#!/bin/sh" + serve, 0o644, ""},
		"another interpreter":    {"#!/usr/bin/env node\nrequire('./server.js')", 0o644, ""},
		"another, executable":    {"#!/usr/bin/env node\nrequire('./server.js')", 0o755, ""},
		"an option of its line":  {"#!/bin/sh -f\necho glob *" + serve, 0o644, "glob *\n"},
		"bash, not as sh":        {"case $SHELLOPTS in *posix*) echo as sh;; *) echo whole bash;; esac" + serve, 0o644, "whole bash\n"},
		"the code folder":        {"test -f server.js && test \"$PWD\" = \"$RUNTIME_CODE_ROOT\" && cd / && exec node \"$RUNTIME_CODE_ROOT\"/server.js", 0o644, ""},
		"the platform's path":    {"/opt/function/runtime/nodejs20.15/rtsp/nodejs/bin/node $RUNTIME_CODE_ROOT/server.js", 0o644, "/opt/function/runtime/nodejs20.15/rtsp/nodejs/bin/node is not here: "},
		"its name and its lines": {"/opt/function/runtime/nodejs20.15/rtsp/nodejs/bin/node -e 0\necho \"at $0:$LINENO\"" + serve, 0o644, "bootstrap:2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeFiles(t, map[string]string{"server.js": probeServer})
			require.NoError(t, os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(c.text), c.mode))
			r := start(t, dir, "GANTRY_RUNTIME=http", "GANTRY_UPSTREAM=127.0.0.1:"+serverPort(t))
			require.Equal(t, "/x", see(t, r.request("GET", r.url+"/x", "")).URL)
			harness.Eventually(t, func() bool { return strings.Contains(r.stdout.String()+r.stderr.String(), c.says) }, "%s", c.says)
		})
	}
}

// TestHTTPFunctionThatDoesNotListenIsDiagnosed: the start fails within the initializer's limit and says what was seen.
func TestHTTPFunctionThatDoesNotListenIsDiagnosed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, says string }{
		"another port":  {"exec node -e 'require(\"http\").createServer(() => {}).listen(0, \"127.0.0.1\")'", "the function listens on 127.0.0.1:"},
		"no server":     {"exec sleep 100", "no process of the function listens on GANTRY_UPSTREAM"},
		"the end":       {"exit 5", "exit code 5"},
		"a bad command": {"exec /opt/function/runtime/java17/rtsp/jre/bin/nothing", "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeFiles(t, map[string]string{"bootstrap": c.text})
			got := runInvoke(t, dir, []string{"--runtime", "http", "--init-timeout", "1", "--upstream", "127.0.0.1:" + serverPort(t), "--event", "{}"})
			require.Equal(t, 1, got.code)
			require.Contains(t, got.stdout+got.stderr, c.says)
		})
	}
	t.Run("another program", func(t *testing.T) {
		t.Parallel()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		dir := writeFiles(t, map[string]string{"bootstrap": "exec sleep 100"})
		got := runInvoke(t, dir, []string{"--runtime", "http", "--init-timeout", "4", "--upstream", ln.Addr().String(), "--event", "{}"})
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stdout, ln.Addr().String()+" is taken by another program")
	})
}

// TestReloadStartsTheNextServerWhenTheLastHasEnded: calls wait meanwhile, and none is lost.
func TestReloadStartsTheNextServerWhenTheLastHasEnded(t *testing.T) {
	t.Parallel()
	r := httpFunction(t, probeFiles, "GANTRY_CONCURRENCY=4")
	for range 3 {
		starts := strings.Count(r.stdout.String(), "Finish load")
		require.NoError(t, r.cmd.Process.Signal(syscall.SIGHUP))
		r.stderr.WaitFor(t, "reload")
		for range 5 {
			require.Equal(t, 200, r.request("GET", r.url+"/", "").status)
		}
		harness.Eventually(t, func() bool { return strings.Count(r.stdout.String(), "Finish load") > starts }, "the next server")
	}
	require.NotContains(t, r.stdout.String(), "EADDRINUSE")
	require.NotContains(t, r.stdout.String(), "load Failed")
	r.stdout.WaitFor(t, "got GET /shutdown")
}

// TestHTTPFunctionTakesEventsOfAPIGateway: on the platform API and with invoke, where a call is an event.
func TestHTTPFunctionTakesEventsOfAPIGateway(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, probeFiles)
	run := func(event string) ran {
		return runInvoke(t, dir, []string{"--runtime", "http", "--upstream", "127.0.0.1:" + serverPort(t), "--event", event})
	}
	got := run(`{"httpMethod":"POST","path":"/a b/ü","queryStringParameters":{"x":"1 2","y":["3","4"]},"headers":{"Host":"h.example","content-length":"99","x-a":"b"},
		"body":"aGVsbG8=","isBase64Encoded":true,"requestContext":{"apiId":"api","sourceIp":"192.0.2.1"}}`)
	require.Zero(t, got.code, got.stderr)
	var answer struct {
		Body            string
		Headers         map[string][]string
		StatusCode      int
		IsBase64Encoded bool
	}
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &answer), got.stdout)
	require.True(t, answer.IsBase64Encoded)
	require.Equal(t, 200, answer.StatusCode)
	text, err := base64.StdEncoding.DecodeString(answer.Body)
	require.NoError(t, err)
	var s seen
	require.NoError(t, json.Unmarshal(text, &s))
	require.Equal(t, "POST /a%20b/%C3%BC?x=1+2&y=3&y=4 hello", s.Method+" "+s.URL+" "+s.Body)
	require.Equal(t, []string{"h.example", "b", "api", "192.0.2.1"}, []string{s.Headers["host"], s.Headers["x-a"], s.Headers["x-apig-api-id"], s.Headers["x-apig-source-ip"]})
	for event, says := range map[string]string{
		`{}`: `\"httpMethod\" is missing`, `{"httpMethod":"GET","path":"x"}`: "does not begin with", `{"httpMethod":"get x","path":"/"}`: "want capital letters",
		`{"httpMethod":"GET","path":"/","headers":{"a b":"c"}}`: "characters that no header can have", `{"httpMethod":"GET","path":"/","isBase64Encoded":true,"body":"?"}`: "is not Base64",
	} {
		got := run(event)
		require.Equal(t, 1, got.code, event)
		require.Contains(t, got.stdout, says)
		require.NotContains(t, got.stdout, "got ", "nothing reached the server")
	}
}

// TestCallersOfHTTP10GetWholeAnswers: the server is asked with HTTP/1.1, also for a caller without a Host.
func TestCallersOfHTTP10GetWholeAnswers(t *testing.T) {
	t.Parallel()
	r := httpFunction(t, probeFiles)
	answer := rawRequest(t, r, "GET /chunks HTTP/1.0\r\n\r\n")
	require.Equal(t, int64(7), answer.ContentLength)
	require.Equal(t, "one two", bodyOf(t, answer))
}

// TestLogNamesTheLimitThatARequestMet: each with what has no such limit.
func TestLogNamesTheLimitThatARequestMet(t *testing.T) {
	t.Parallel()
	for request, limit := range map[string]string{
		"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6291457\r\n\r\n":                   "beyond maximum:6291456",
		"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n": "no upgrade to",
		"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n":                                           `"limit": 6291456`,
	} {
		r := httpFunction(t, probeFiles)
		require.GreaterOrEqual(t, rawRequest(t, r, request).StatusCode, 400)
		r.stderr.WaitFor(t, limit)
		r.stderr.WaitFor(t, "GANTRY_HTTP_LIMITS=none has no such limit")
	}
}

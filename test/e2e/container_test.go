package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// eventServer is the server of an image: POST /init and POST /invoke, as its variables say.
const eventServer = `
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self): self.answer(404, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/init":
            print("init", body.decode(), flush=True)
            return self.answer(int(os.environ.get("INIT", 200)), b'{"errorType":"NotNow"}')
        event = json.loads(body)
        names = sorted(n for n in self.headers.keys() if n.lower().startswith(("x-cff-", "trace")))
        self.answer(event.get("status", 200), json.dumps({"path": self.path, "event": event, "names": names, "token": self.headers.get("X-CFF-Auth-Token")}).encode())
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): print(self.command, self.path, "in", os.getcwd(), flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
`

// image runs invoke on the server of an image.
func image(t *testing.T, event string, env ...string) ran {
	t.Helper()
	dir := writeFiles(t, map[string]string{"server.py": eventServer})
	return runInvoke(t, dir, []string{"--runtime", "container", "--upstream", "127.0.0.1:" + serverPort(t), "--event", event, "--", "python3", dir + "/server.py"}, env...)
}

func TestServerOfAnImageGetsEvents(t *testing.T) {
	t.Parallel()
	got := image(t, `{"a":1}`, "GANTRY_AUTH_TOKEN=t0ken")
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stdout, `{"path": "/invoke", "event": {"a": 1}, "names": [`)
	require.Contains(t, got.stdout, `"token": null}`)
	require.Contains(t, got.stderr, "init {}")
	require.Contains(t, got.stderr, "GET /shutdown")
	wd, err := os.Getwd()
	require.NoError(t, err)
	require.Contains(t, got.stderr, "in "+wd, "the working directory is the agent's")
	got = image(t, `{}`, "GANTRY_AUTH_TOKEN=t0ken", "GANTRY_INCLUDE_KEYS=true")
	require.Contains(t, got.stdout, `"token": "t0ken"}`)
	require.Contains(t, got.stdout, `X-Cff-Security-Token`)
}

func TestAnswerOfAnImageThatIsNoSuccessFailsTheCall(t *testing.T) {
	t.Parallel()
	got := image(t, `{"status":503}`)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stdout, `"event": {"status": 503}`, "the caller gets the server's answer")
	require.Contains(t, got.stderr, "invoke Failed")
}

func TestInitOfAnImageDecidesAboutItsStart(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"404", "405", "501", "202"} {
		require.Zero(t, image(t, `{}`, "INIT="+status).code, status)
	}
	got := image(t, `{}`, "INIT=500")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stdout, "NotNow")
	require.Contains(t, got.stderr, "4009")
}

func TestCommandLineNeedsAServersRuntime(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": okFunction})
	for want, args := range map[string][]string{
		"set GANTRY_RUNTIME=http for any requests":                   {"--", "node", "x.js"},
		"it needs GANTRY_RUNTIME=http or container, not nodejs":      {"--runtime", "nodejs", "--", "node", "x.js"},
		`begins with "no-such-program", which is no program in PATH`: {"--runtime", "http", "--", "no-such-program"},
		`has no file "bootstrap" that starts the server`:             {"--runtime", "http"},
		"GANTRY_WORKERS is 2, and a server has one port":             {"--runtime", "http", "--workers", "2", "--", "node"},
		"cannot both have port 9000":                                 {"--runtime", "http", "--addr", ":9000", "--upstream", "127.0.0.1:9000", "--", "node"},
		"GANTRY_UPSTREAM is 192.0.2.1:80, want a port on loopback":   {"--runtime", "http", "--upstream", "192.0.2.1:80", "--", "node"},
	} {
		got := runInvoke(t, dir, args)
		require.Equal(t, exitUsage, got.code, got.stderr)
		require.Contains(t, got.stderr, want)
		require.Equal(t, 1, strings.Count(got.stderr, "\n"))
	}
}

// TestServerOfAnImageGetsTheTraceOfTheCaller: as functions in every language do.
func TestServerOfAnImageGetsTheTraceOfTheCaller(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"server.py": eventServer})
	r := prepare(t, dir, "GANTRY_RUNTIME=container", "GANTRY_UPSTREAM=127.0.0.1:"+serverPort(t))
	r.cmd.Args = append(r.cmd.Args, "--", "python3", dir+"/server.py")
	r.launch()
	r.findAddresses()
	require.NotContains(t, r.invoke(`{}`).body, "Traceparent")
	traced := r.invoke(`{}`, "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate: a=b")
	require.Contains(t, traced.body, "Traceparent")
	require.Contains(t, traced.body, "Tracestate")
}

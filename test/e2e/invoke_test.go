package e2e

import (
	"bytes"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ran is what a command printed, and how it ended.
type ran struct {
	code           int
	stdout, stderr string
}

// runInvoke runs bootstrap invoke on a code folder.
func runInvoke(t *testing.T, dir string, args []string, env ...string) ran {
	t.Helper()
	return runCommand(t, dir, append([]string{"invoke"}, args...), env...)
}

// runCommand runs a command of the program to its end.
func runCommand(t *testing.T, dir string, args []string, env ...string) ran {
	t.Helper()
	cmd := exec.Command(program(t), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "RUNTIME_CODE_ROOT=" + dir, "RUNTIME_MEMORY=512", "GORACE=atexit_sleep_ms=0"}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// TestInvokeSaysWhatServeSaysOfSettings: what serve says about the settings, invoke says as well.
func TestInvokeSaysWhatServeSaysOfSettings(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": okFunction})
	got := runInvoke(t, dir, []string{"--initializer", "nothere", "--prestop", "nothere"}, "GANTRY_CONCURENCY=10")
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stderr, "WARN RUNTIME_INITIALIZER_HANDLER=nothere means none, as on the platform: write file.function")
	require.Contains(t, got.stderr, "WARN RUNTIME_PRESTOP_HANDLER=nothere means none")
	require.Contains(t, got.stderr, "WARN GANTRY_CONCURENCY is no setting, and has no effect; did you mean GANTRY_CONCURRENCY?")
	got = runInvoke(t, writeFiles(t, map[string]string{"app.js": okFunction}), nil)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "WARN the code folder has no index.js, but app.js: if that has the handler, set --handler app.handler")
}

// TestInvokeStartsNoOtherWorkerAfterItsCall: after the one call no other worker is needed, however the call's own
// ended.
func TestInvokeStartsNoOtherWorkerAfterItsCall(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"a deadline": "exports.handler = (e, c, cb) => {}", "a death": "exports.handler = (e, c, cb) => process.exit(3)",
		"a death after the answer": "exports.handler = async (e, c) => { setImmediate(() => process.exit(3)); return 1; }",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := runInvoke(t, writeFiles(t, map[string]string{"index.js": source}), []string{"--timeout", "0.2"})
			require.Equal(t, 1, strings.Count(got.stderr, "Start load"), got.stderr)
			require.NotContains(t, got.stderr, "worker replaced")
		})
	}
}

// TestInvokeEndsWithCode2WhereServeDoes: what ends serve with code 2 ends invoke with it.
func TestInvokeEndsWithCode2WhereServeDoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bootstrap"), []byte("#!/no/such/thing\n"), 0o755))
	got := runInvoke(t, dir, nil, "GANTRY_RUNTIME=custom")
	require.Equal(t, 2, got.code)
	require.Contains(t, got.stdout, "the interpreter of its first line (#!/no/such/thing) does not exist")
	require.NotContains(t, got.stderr, "a reload (SIGHUP) tries again")
	require.Contains(t, got.stderr, "bootstrap: start worker: ")
	require.Equal(t, 1, strings.Count(got.stderr, "no such file"), got.stderr)
}

// slowSubscriber registers, is busy for longer than the function's call takes, and subscribes only then.
const slowSubscriber = `#!/usr/bin/env python3
import http.server, json, os, signal, threading, time, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/t":
            with open(os.environ["OUT"], "a") as f:
                f.writelines(e["name"] + "\n" for e in json.loads(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
def post(path, body=b"", **headers):
    urllib.request.urlopen(urllib.request.Request("http://" + os.environ["EXTENSION_API_ADDR"] + path, body, headers, method="POST")).close()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8081), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
post("/extension/register", **{"FunctionGraph-Extension-Name": "extensionSlow", "FunctionGraph-Extension-Address": "127.0.0.1:8081"})
end = time.process_time() + float(os.environ["BUSY"])
while time.process_time() < end: pass
if os.environ["BUSY"] != "0":
    post("/telemetry", json.dumps({"subscriber": {"protocol": "POST", "uri": "http://127.0.0.1:8081/t"}, "types": ["platform"]}).encode())
signal.sigwait([signal.SIGTERM])
`

// TestInvokeWaitsForASubscription: an extension has to register before it subscribes, and the call does not wait for
// that; it gets everything all the same. One that does not subscribe is waited for until it is idle.
func TestInvokeWaitsForASubscription(t *testing.T) {
	harness.FixedPorts(t)
	out := filepath.Join(t.TempDir(), "out")
	dir := writeFiles(t, map[string]string{"index.js": okFunction, "extension/extensionSlow": slowSubscriber})
	got := runInvoke(t, dir, nil, "GANTRY_EXTENSION_ENV=OUT,BUSY", "OUT="+out, "BUSY=0.4", "GANTRY_EXTENSION_WAIT=60")
	require.Equal(t, 0, got.code, got.stderr)
	text, err := os.ReadFile(out)
	require.NoError(t, err, got.stderr)
	for _, name := range []string{"platform.initReport", "platform.start", "platform.RuntimeDone", "platform.report"} {
		require.Contains(t, strings.Fields(string(text)), name)
	}
	got = runInvoke(t, dir, nil, "GANTRY_EXTENSION_ENV=OUT,BUSY", "OUT="+out, "BUSY=0", "GANTRY_EXTENSION_WAIT=60")
	require.Equal(t, 0, got.code, got.stderr)
	require.NotContains(t, got.stderr, "telemetry subscribed")
}

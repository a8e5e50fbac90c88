package otlp

import (
	"bytes"
	"encoding/json"
	"gantry/test/harness"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// patience bounds every wait, often is how often a condition is looked at; this machine may be busy.
	patience, often = 60 * time.Second, 10 * time.Millisecond

	// functionCode does what the event says.
	functionCode = `
console.log('loaded');
exports.handler = async (event, context) => {
    const log = context.getLogger();
    for (const [level, text] of event.lines || []) level ? log[level](text) : console.log(text);
    for (let i = 0; i < (event.flood || 0); i++) console.log('line ' + i);
    if (event.fail) throw new TypeError('asked to fail');
    if (event.exit) process.exit(7);
    if (event.hang) await new Promise(() => {});
    return context.getRequestID();
};
`
)

// programs is the folder of the programs under test.
var programs string

func TestMain(m *testing.M) {
	harness.OwnNetwork(".test")
	os.Exit(func() int {
		var err error
		if programs, err = os.MkdirTemp("", "otlp"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(programs)
		for name, pkg := range map[string]string{"bootstrap": "./bootstrap", "extensionOtlp": "./examples/extensions/otlp"} {
			cmd := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", filepath.Join(programs, name), pkg)...)
			cmd.Dir = "../.."
			if out, err := cmd.CombinedOutput(); err != nil {
				panic(string(out))
			}
		}
		return m.Run()
	}())
}

// agent is an agent under test with the extension.
type agent struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr *recorder
	url            string
	extension      string // its file
	ended          chan struct{}
}

type recorder struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

func startAgent(t *testing.T, endpoint string, env ...string) *agent {
	t.Helper()
	harness.FixedPorts(t)
	dir := t.TempDir()
	extension := filepath.Join(dir, "extension", "extensionOtlp")
	require.NoError(t, os.Mkdir(filepath.Dir(extension), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(programs, "extensionOtlp"), extension))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.js"), []byte(functionCode), 0o644))
	a := &agent{t: t, stdout: &recorder{}, stderr: &recorder{}, extension: extension, ended: make(chan struct{})}
	a.cmd = exec.Command(filepath.Join(programs, "bootstrap"), "serve")
	a.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "RUNTIME_CODE_ROOT=" + dir, "RUNTIME_FUNC_NAME=shop", "RUNTIME_FUNC_VERSION=v3", "RUNTIME_MEMORY=512", "RUNTIME_TIMEOUT=60",
		"GANTRY_ADDR=127.0.0.1:0", "GANTRY_OPS_ADDR=127.0.0.1:0", "EXTENSION_API_ADDR=127.0.0.1:0", "GANTRY_LOG_FORMAT=text", "GANTRY_EXTENSION_WAIT=60",
		"GANTRY_EXTENSION_ENV=OTEL_*", "OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_EXPORTER_OTLP_HEADERS=api-key=a%20b",
	}, env...)
	a.cmd.Stdout, a.cmd.Stderr = a.stdout, a.stderr
	require.NoError(t, a.cmd.Start())
	go func() {
		_ = a.cmd.Wait() // the exit code is looked at by stop
		close(a.ended)
	}()
	t.Cleanup(func() {
		a.stop()
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", tailOf(a.stdout), tailOf(a.stderr))
		}
	})
	a.url = a.listening()
	return a
}

func tailOf(r *recorder) string {
	s := r.String()
	return strings.ToValidUTF8(s[max(0, len(s)-4000):], "?")
}

func (a *agent) listening() (url string) {
	a.t.Helper()
	a.wait(func() bool {
		for line := range strings.Lines(a.stderr.String()) {
			var fields struct{ Function string }
			if strings.Contains(line, "listening") && strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line[strings.IndexByte(line, '{'):]), &fields) == nil {
				url = "http://" + fields.Function
			}
		}
		return url != ""
	})
	return url
}

// wait waits for a condition, which may use require.
func (a *agent) wait(condition func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(often) {
		require.True(a.t, time.Now().Before(deadline), "it does not come true")
	}
}

// invoke calls the function and returns status and request id.
func (a *agent) invoke(event, traceparent string) (status int, id string) {
	a.t.Helper()
	req, err := http.NewRequest("POST", a.url+"/invoke", strings.NewReader(event))
	require.NoError(a.t, err)
	if traceparent != "" {
		req.Header.Set("Traceparent", traceparent)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(a.t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(a.t, err)
	return resp.StatusCode, resp.Header.Get("X-Cff-Request-Id")
}

// stop ends the agent in the orderly way; again is no error. The extension must not have been killed.
func (a *agent) stop() {
	_ = a.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-a.ended:
	case <-time.After(patience):
		_ = a.cmd.Process.Kill()
		<-a.ended
		a.t.Error("the agent did not stop")
	}
	if strings.Contains(a.stdout.String()+a.stderr.String(), "DATA RACE") {
		a.t.Error("a race")
	}
	if a.cmd.ProcessState.ExitCode() != 0 || strings.Contains(a.stderr.String(), "extension killed") {
		a.t.Errorf("the agent did not stop well: %s", a.cmd.ProcessState)
	}
}

// peakMemory is the extension's, in KiB.
func (a *agent) peakMemory() (kib int) {
	a.t.Helper()
	want, err := filepath.EvalSymlinks(a.extension)
	require.NoError(a.t, err)
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(a.t, err)
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil && exe == want {
			status, err := os.ReadFile(filepath.Join(filepath.Dir(link), "status"))
			require.NoError(a.t, err)
			_, rest, _ := strings.Cut(string(status), "VmHWM:")
			for _, c := range strings.TrimLeft(rest, " \t") {
				if c < '0' || c > '9' {
					break
				}
				kib = 10*kib + int(c-'0')
			}
		}
	}
	require.NotZero(a.t, kib, "no process of the extension")
	return kib
}

// run runs the extension alone, to its end.
func run(t *testing.T, env ...string) (output string, code int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "extensionOtlp"))
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	return string(out), exit.ExitCode()
}

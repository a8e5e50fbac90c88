package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"gantry/test/harness"
	"io"
	"net"
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

// patience bounds every wait of these tests; they wait for conditions, and this machine may be busy.
const patience = 60 * time.Second

// running is one agent under test, with its own ports.
type running struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr *harness.Output
	dir            string
	url, ops, ext  string
	api            string // empty without a platform API
	ended          chan struct{}
	state          *os.ProcessState
}

// writeFiles puts a function's files into a new folder.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
	}
	return dir
}

// function starts an agent for a one-file function and waits until it listens.
func function(t *testing.T, source string, env ...string) *running {
	t.Helper()
	return start(t, writeFiles(t, map[string]string{"index.js": source}), env...)
}

// prepare builds the command of an agent: clean environment, own ports.
func prepare(t *testing.T, dir string, env ...string) *running {
	t.Helper()
	r := &running{t: t, dir: dir, stdout: &harness.Output{}, stderr: &harness.Output{}, ended: make(chan struct{})}
	r.cmd = exec.Command(program(t), "serve")
	r.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "RUNTIME_CODE_ROOT=" + dir, "GANTRY_ADDR=127.0.0.1:0", "GANTRY_OPS_ADDR=127.0.0.1:0",
		"EXTENSION_API_ADDR=127.0.0.1:0", "GANTRY_LOG_FORMAT=text", "RUNTIME_MEMORY=512",
		"GORACE=atexit_sleep_ms=0", // the race detector waits a second before each exit, and stops are measured here
	}, env...)
	r.cmd.Stdout, r.cmd.Stderr = r.stdout, r.stderr
	return r
}

func start(t *testing.T, dir string, env ...string) *running {
	t.Helper()
	r := prepare(t, dir, env...)
	r.launch()
	r.findAddresses()
	return r
}

func (r *running) launch() {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Start())
	go func() {
		_ = r.cmd.Wait()
		r.state = r.cmd.ProcessState
		close(r.ended)
	}()
	r.t.Cleanup(func() {
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.ended:
		case <-time.After(patience):
			_ = r.cmd.Process.Kill()
			r.t.Errorf("the agent did not stop")
			<-r.ended
		}
		if strings.Contains(r.stderr.String(), "DATA RACE") || strings.Contains(r.stderr.String(), "panic:") {
			r.t.Errorf("the agent has a race or panicked:\n%s", r.stderr)
		}
		if r.t.Failed() {
			r.t.Logf("stdout:\n%s\nstderr:\n%s", r.stdout.Tail(), r.stderr.Tail())
		}
	})
}

// findAddresses reads the chosen ports from the "listening" line.
func (r *running) findAddresses() {
	r.t.Helper()
	var lines []map[string]any
	require.Eventually(r.t, func() bool {
		select {
		case <-r.ended:
			r.t.Fatalf("the agent ended: %s\n%s", r.state, r.stderr)
		default:
		}
		lines = r.stderr.Logged("listening")
		return len(lines) > 0
	}, patience, time.Millisecond)
	fields := lines[len(lines)-1]
	r.url, r.ops, r.ext = "http://"+fields["function"].(string), "http://"+fields["ops"].(string), "http://"+fields["extension"].(string)
	if platform, ok := fields["platform"].(string); ok {
		r.api = "http://" + platform
	}
}

// answer is an HTTP answer, read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (r *running) request(method, url, body string, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(r.t, err)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	got, err := do(req)
	require.NoError(r.t, err)
	return got
}

// do sends a request and reads the answer.
func do(req *http.Request) (answer, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

func (r *running) invoke(event string, header ...string) answer {
	r.t.Helper()
	return r.request("POST", r.url+"/invoke", event, header...)
}

// try is invoke for goroutines: it reports a failed request as status 0.
func (r *running) try(event string) answer {
	resp, err := http.Post(r.url+"/invoke", "application/json", strings.NewReader(event))
	if err != nil {
		return answer{body: err.Error()}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{body: err.Error()}
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// rawPost is a request with a body, as raw and rawTo send it.
func rawPost(path, body string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

// raw sends bytes to the function listener and reads one answer: for what a client library does not send, and for
// bodies that the agent refuses before it has read them, of which a client library may report a failed write instead.
func (r *running) raw(request string) answer { r.t.Helper(); return r.rawTo(r.url, request) }

// rawTo is raw for the listener at url.
func (r *running) rawTo(url, request string) answer {
	r.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(r.t, err)
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(patience)))
	var writing sync.WaitGroup
	// An early answer cuts it off, which is no failure.
	writing.Go(func() { _, _ = io.WriteString(conn, request) })
	defer writing.Wait()
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (r *running) ready() answer { r.t.Helper(); return r.request("GET", r.ops+"/readyz", "") }

// metric returns the value of one sample.
func (r *running) metric(name string) string {
	r.t.Helper()
	for line := range strings.Lines(r.request("GET", r.ops+"/metrics", "").body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func (r *running) waitMetric(name, value string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.metric(name) == value }, patience, 10*time.Millisecond, "%s is %s, want %s", name, r.metric(name), value)
}

func (r *running) signal(sig syscall.Signal) {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(sig))
}

// wait waits for the end and returns the exit code.
func (r *running) wait() int {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatal("the agent did not end")
	}
	return r.state.ExitCode()
}

// force signals TERM until the agent has ended, and returns the exit code: one that follows the first too fast is the
// same.
func (r *running) force() int {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		_ = r.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended
		select {
		case <-r.ended:
			return true
		default:
			return false
		}
	}, patience, 20*time.Millisecond, "the agent did not end")
	return r.state.ExitCode()
}

// worker returns the pid of the worker.
func (r *running) worker() string {
	r.t.Helper()
	tasks, err := filepath.Glob("/proc/" + itoa(r.cmd.Process.Pid) + "/task/*/children")
	require.NoError(r.t, err)
	for _, task := range tasks {
		if b, err := os.ReadFile(task); err == nil && len(bytes.Fields(b)) > 0 {
			return string(bytes.Fields(b)[0])
		}
	}
	r.t.Fatal("no worker")
	return ""
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

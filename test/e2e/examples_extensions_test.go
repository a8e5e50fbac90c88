package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"gantry/test/harness"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The examples in examples/extensions, each against a real agent and a real server.

// exampleScript returns the text of an example that is a script.
func exampleScript(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples/extensions", path))
	require.NoError(t, err)
	return string(text)
}

// withExample makes a code folder with an example extension, a script or a Go package, in it.
func withExample(t *testing.T, source, example string) string {
	t.Helper()
	if strings.Contains(example, ".") {
		return writeFiles(t, map[string]string{"index.js": source, "extension/" + filepath.Base(example): exampleScript(t, example)})
	}
	dir := writeFiles(t, map[string]string{"index.js": source, "extension/README": "the extension is built here"})
	compile(t, "gantry/examples/extensions/"+example, filepath.Join(dir, "extension", "extension"+strings.ToUpper(example[:1])+example[1:]))
	return dir
}

// stopWell stops the agent; no extension had to be killed.
func (r *running) stopWell() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	require.Equal(r.t, 0, r.wait())
	require.NotContains(r.t, r.stderr.String(), "extension killed")
	require.NotContains(r.t, r.stderr.String(), "shutdown notice not answered")
}

// freeAddress returns an address where no process listens now.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

type telemetryEvent struct{ Name, TraceID, Record, Status string }

// events reads files of lines of JSON, in order.
func events(t *testing.T, files ...string) (all []telemetryEvent) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.True(t, bytes.HasSuffix(text, []byte("\n")))
		for line := range bytes.Lines(text) {
			var e telemetryEvent
			require.NoError(t, json.Unmarshal(line, &e), "%s", line)
			all = append(all, e)
		}
	}
	return all
}

const printingFunction = `exports.handler = async (e, c) => { for (let i = 0; i < e.lines; i++) console.log(e.text + ' ' + i); return c.getRequestID(); }`

func TestTelemetryFileExampleWritesEveryEventAndRotates(t *testing.T) {
	harness.FixedPorts(t)
	t.Run("has everything", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "out.ndjson")
		r := start(t, withExample(t, printingFunction, "telemetry-file/extensionTelemetryFile.py"),
			"GANTRY_EXTENSION_ENV=TELEMETRY_FILE*", "TELEMETRY_FILE="+file, "GANTRY_EXTENSION_WAIT=60", "HTTP_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1")
		var want []string
		for i := range 3 {
			a := r.invoke(`{"lines":2,"text":"größe \" ` + itoa(i) + `"}`)
			require.Equal(t, 200, a.status, a.body)
			id := strings.Trim(a.body, `"`)
			want = append(want, "platform.start "+id+" ", `function `+id+` größe " `+itoa(i)+" 0", `function `+id+` größe " `+itoa(i)+" 1", "platform.RuntimeDone "+id+" ", "platform.report "+id+" ")
		}
		r.stopWell()
		var got, before []string
		for _, e := range events(t, file) {
			switch e.Name {
			case "platform.start", "function", "platform.RuntimeDone", "platform.report":
				got = append(got, e.Name+" "+e.TraceID+" "+e.Record)
			default:
				before = append(before, e.Name)
			}
		}
		require.Equal(t, want, got)
		for _, name := range []string{"platform.initStart", "platform.initRuntimeDone", "platform.initReport", "platform.extension", "extension"} {
			require.Contains(t, before, name)
		}
	})
	t.Run("rotates", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "out.ndjson")
		r := start(t, withExample(t, printingFunction, "telemetry-file/extensionTelemetryFile.py"),
			"GANTRY_EXTENSION_ENV=TELEMETRY_FILE*", "TELEMETRY_FILE="+file, "TELEMETRY_FILE_MAX_BYTES=20000", "TELEMETRY_FILE_KEEP=2", "GANTRY_EXTENSION_WAIT=60")
		require.Equal(t, 200, r.invoke(`{"lines":1000,"text":"`+strings.Repeat("x", 50)+`"}`).status)
		r.stopWell()
		left, err := filepath.Glob(file + "*")
		require.NoError(t, err)
		require.Equal(t, []string{file, file + ".1", file + ".2"}, left)
		for _, f := range left {
			info, err := os.Stat(f)
			require.NoError(t, err)
			require.LessOrEqual(t, info.Size(), int64(20000))
		}
		next := -1
		for _, e := range events(t, file+".2", file+".1", file) {
			if e.Name != "function" {
				continue
			}
			var n int
			_, err := fmt.Sscan(e.Record[strings.IndexByte(e.Record, ' '):], &n)
			require.NoError(t, err)
			require.True(t, next == -1 || n == next, "line %d, want %d", n, next)
			next = n + 1
		}
		require.Equal(t, 1000, next)
	})
	t.Run("full disk", func(t *testing.T) {
		r := start(t, withExample(t, printingFunction, "telemetry-file/extensionTelemetryFile.py"),
			"GANTRY_EXTENSION_ENV=TELEMETRY_FILE*", "TELEMETRY_FILE=/dev/full", "GANTRY_EXTENSION_WAIT=60")
		require.Equal(t, 200, r.invoke(`{"lines":10,"text":"x"}`).status)
		wait(t, func() bool { return r.metric(`gantry_telemetry_drops_total{reason="undelivered"}`) != "0" })
		require.Equal(t, 200, r.invoke(`{"lines":10,"text":"x"}`).status)
		r.stdout.WaitFor(t, "[extensionTelemetryFile.py] /dev/full cannot be written")
		require.Equal(t, 1, strings.Count(r.stdout.String(), "cannot be written"))
	})
}

// datadog is a server that takes metrics as Datadog does: one value for a series and a time.
type datadog struct {
	*httptest.Server
	mu     sync.Mutex
	points map[string]int64
	posts  int
	// misbehave may answer in place of the server; the point counts if it returns true.
	misbehave func(w http.ResponseWriter, post int) (taken, answered bool)
}

func newDatadog(t *testing.T, misbehave func(w http.ResponseWriter, post int) (taken, answered bool)) *datadog {
	d := &datadog{points: map[string]int64{}, misbehave: misbehave}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if r.Method != "POST" || r.URL.Path != "/api/v2/series" || r.Header.Get("DD-API-KEY") != "key" || r.Header.Get("Content-Type") != "application/json" {
			http.Error(w, `{"errors":["no"]}`, http.StatusForbidden)
			return
		}
		d.posts++
		taken, answered := true, false
		if d.misbehave != nil {
			taken, answered = d.misbehave(w, d.posts)
		}
		if taken {
			d.take(t, r.Body)
		}
		if !answered {
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"errors":[]}`)
		}
	}))
	t.Cleanup(d.Close)
	return d
}

// take reads a body of POST /api/v2/series, and takes no member that is not in the API.
func (d *datadog) take(t *testing.T, body io.Reader) {
	var b struct {
		Series []struct {
			Metric string `json:"metric"`
			Type   int    `json:"type"`
			Points []struct {
				Timestamp int64    `json:"timestamp"`
				Value     *float64 `json:"value"`
			} `json:"points"`
			Interval  int64 `json:"interval"`
			Resources []struct {
				Name string `json:"name"`
				Type string `json:"type"`
			} `json:"resources"`
			Tags []string `json:"tags"`
		} `json:"series"`
	}
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&b); err != nil {
		t.Error(err)
		return
	}
	for _, s := range b.Series {
		if s.Metric != "functiongraph.invoke.count" || s.Type != 1 || s.Interval < 1 || len(s.Resources) != 1 || s.Resources[0].Type != "host" || s.Resources[0].Name == "" ||
			!slices.Contains(s.Tags, "function:shop") || !slices.Contains(s.Tags, "version:v3") || !slices.Contains(s.Tags, "env:test") || !slices.Contains(s.Tags, "team:a") {
			t.Errorf("series %+v", s)
		}
		for _, p := range s.Points {
			d.points[fmt.Sprint(p.Timestamp, s.Metric, s.Tags, s.Resources)] = int64(*p.Value)
		}
	}
}

func (d *datadog) sum() (n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for v := range maps.Values(d.points) {
		n += v
	}
	return n
}

func TestDatadogExampleCountsCallsExactly(t *testing.T) {
	harness.FixedPorts(t)
	env := []string{"GANTRY_EXTENSION_ENV=DD_*", "DD_API_KEY=key", "DD_TAGS=env:test, team:a", "DD_INTERVAL=20ms", "GANTRY_EXTENSION_WAIT=60", "RUNTIME_FUNC_NAME=shop", "RUNTIME_FUNC_VERSION=v3", "GANTRY_CONCURRENCY=4"}
	code := withExample(t, okFunction, "datadog")
	t.Run("counts exactly", func(t *testing.T) {
		d := newDatadog(t, func(w http.ResponseWriter, post int) (taken, answered bool) {
			switch post % 4 {
			case 1: // not taken
				http.Error(w, "busy", http.StatusServiceUnavailable)
				return false, true
			case 2: // taken, but without an answer
				panic(http.ErrAbortHandler)
			}
			return true, false
		})
		r := start(t, code, append(env, "DD_URL="+d.URL)...)
		const callers, calls = 4, 50
		var working sync.WaitGroup
		var failures atomic.Int32
		for range callers {
			working.Go(func() {
				for range calls {
					if r.try("{}").status != 200 {
						failures.Add(1)
					}
				}
			})
		}
		working.Wait()
		require.Zero(t, failures.Load())
		r.stopWell()
		r.stdout.WaitFor(t, "[extensionDatadog] 200 calls counted and posted\n")
		require.Equal(t, int64(callers*calls), d.sum())
	})
	t.Run("frozen between calls", func(t *testing.T) {
		d := newDatadog(t, nil)
		r := start(t, code, append(env, "DD_URL="+d.URL, "GANTRY_FREEZE=true", "GANTRY_LOG_LEVEL=debug")...)
		for i := range 3 {
			require.Equal(t, 200, r.invoke("{}").status)
			wait(t, func() bool { return strings.Count(r.stderr.String(), "freeze rehearsal: stopped") == i+1 })
		}
		r.stopWell()
		r.stdout.WaitFor(t, "[extensionDatadog] 3 calls counted and posted\n")
		require.Equal(t, int64(3), d.sum())
	})
	t.Run("says what it could not post", func(t *testing.T) {
		d := newDatadog(t, func(w http.ResponseWriter, _ int) (taken, answered bool) {
			http.Error(w, "down", http.StatusInternalServerError)
			return false, true
		})
		r := start(t, code, append(env, "DD_URL="+d.URL, "GANTRY_SHUTDOWN_TIMEOUT=10")...)
		for range 3 {
			require.Equal(t, 200, r.invoke("{}").status)
		}
		r.signal(syscall.SIGTERM)
		require.Equal(t, 0, r.wait())
		require.NotContains(t, r.stderr.String(), "extension killed")
		r.stdout.WaitFor(t, "[extensionDatadog] 3 of 3 calls were counted and not posted: the server answers 500 Internal Server Error: down\n")
		require.Equal(t, 1, strings.Count(r.stdout.String(), "it is posted again"), "said once a minute")
	})
}

// configServer serves one document, as its members say.
type configServer struct {
	*httptest.Server
	mu         sync.Mutex
	body, etag string
	cache      string
	hang       chan struct{} // not nil: nothing is answered until it is closed
	status     int
	asked      int
	unchanged  int
}

func newConfigServer(t *testing.T) *configServer {
	s := &configServer{status: 200}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked++
		hang, status, body, etag, cache := s.hang, s.status, s.body, s.etag, s.cache
		same := etag != "" && r.Header.Get("If-None-Match") == etag
		if same {
			s.unchanged++
		}
		s.mu.Unlock()
		if hang != nil {
			<-hang
		}
		if r.Header.Get("Authorization") != "Bearer secret" {
			status, body = http.StatusUnauthorized, ""
		}
		w.Header().Set("Cache-Control", cache)
		w.Header().Set("ETag", etag)
		if same && status == 200 {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *configServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *configServer) counts() (asked, unchanged int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked, s.unchanged
}

func TestConfigExampleKeepsTheDocumentUpToDate(t *testing.T) {
	harness.FixedPorts(t)
	const reading = `const fs = require('fs'), file = process.env.CONFIG_FILE; let first;
exports.initializer = (c, callback) => { first = JSON.parse(fs.readFileSync(file)).v; callback(null); };
exports.handler = async (e, c) => first + ' ' + JSON.parse(fs.readFileSync(file)).v;`
	s := newConfigServer(t)
	s.set(func() { s.body, s.etag, s.cache = `{"v":1}`, `"one"`, "max-age=3600" })
	folder := t.TempDir()
	file := filepath.Join(folder, "config.json")
	env := []string{
		"GANTRY_EXTENSION_ENV=CONFIG_*", "CONFIG_FILE=" + file, "CONFIG_TOKEN=secret", "GANTRY_EXTENSION_WAIT=60",
		"RUNTIME_INITIALIZER_HANDLER=index.initializer", "RUNTIME_INITIALIZER_TIMEOUT=60", "RUNTIME_TIMEOUT=60",
	}
	code := withExample(t, reading, "config/extensionConfig.js")
	t.Run("cache time", func(t *testing.T) {
		r := start(t, code, append(env, "CONFIG_URL="+s.URL+"/app")...)
		for range 3 {
			require.Equal(t, "1 1", r.invoke("{}").body, "the initializer and the first call see it")
		}
		asked, _ := s.counts()
		require.Equal(t, 1, asked)
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		r.stopWell()
	})
	t.Run("frozen between calls", func(t *testing.T) {
		s.set(func() { s.cache, s.asked, s.unchanged = "no-cache", 0, 0 })
		r := start(t, code, append(env, "CONFIG_URL="+s.URL+"/app", "GANTRY_FREEZE=true", "GANTRY_LOG_LEVEL=debug")...)
		for i := range 3 {
			require.Equal(t, "1 1", r.invoke("{}").body)
			wait(t, func() bool { return strings.Count(r.stderr.String(), "freeze rehearsal: stopped") == i+1 })
		}
		asked, unchanged := s.counts()
		require.Equal(t, []int{4, 3}, []int{asked, unchanged})
		r.stopWell()
	})
	t.Run("changes", func(t *testing.T) {
		s.set(func() { s.cache, s.asked, s.unchanged = "no-cache", 0, 0 })
		r := start(t, code, append(env, "CONFIG_URL="+s.URL+"/app")...)
		require.Equal(t, "1 1", r.invoke("{}").body)
		require.Equal(t, "1 1", r.invoke("{}").body)
		asked, unchanged := s.counts()
		require.Equal(t, []int{3, 2}, []int{asked, unchanged}, "once for the start, then each call asks whether it changed")
		s.set(func() { s.body, s.etag = `{"v":2}`, `"two"` })
		require.Equal(t, "1 2", r.invoke("{}").body, "the call waits for the new document")

		// Whatever the server does, calls go on with what there is.
		eventually := func(want string) {
			t.Helper()
			before, _ := s.counts()
			wait(t, func() bool {
				require.Equal(t, want, r.invoke("{}").body)
				asked, _ := s.counts()
				return asked > before
			})
		}
		s.set(func() { s.body, s.etag = `{"v":`, `"broken"` })
		eventually("1 2")
		r.stdout.WaitFor(t, "configuration not fetched")
		s.set(func() { s.status = 500 })
		eventually("1 2")
		hang := make(chan struct{})
		s.set(func() { s.status, s.hang = 200, hang })
		eventually("1 2")
		r.stdout.WaitFor(t, "no answer within 1500 ms")
		close(hang)
		s.set(func() { s.body, s.etag, s.hang = `{"v":3}`, `"three"`, nil })
		wait(t, func() bool { return r.invoke("{}").body == "1 3" })
		require.Equal(t, "0", r.metric(`gantry_notification_failures_total{slot="8087"}`))
		require.NotContains(t, r.stderr.String(), "without the answer of an extension in sync mode")
		r.stopWell()
		left, err := os.ReadDir(folder)
		require.NoError(t, err)
		require.Len(t, left, 1, "no temporary file is left")
	})
}

// TestOtlpExampleSendsSpansAndLogsAsJSON looks at the messages as plain JSON; test/otlp decodes them with
// OpenTelemetry's own types.
func TestOtlpExampleSendsSpansAndLogsAsJSON(t *testing.T) {
	harness.FixedPorts(t)
	bodies := map[string]*harness.Output{"/v1/logs": {}, "/v1/traces": {}}
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || bodies[r.URL.Path] == nil {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		_, _ = bodies[r.URL.Path].Write(append(b, '\n'))
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(collector.Close)
	r := start(t, withExample(t, `exports.handler = async (e, c) => { c.getLogger().info('order accepted'); return 1; }`, "otlp"),
		"GANTRY_EXTENSION_ENV=OTEL_*", "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL+"/", "OTEL_RESOURCE_ATTRIBUTES=cloud.provider=huawei%20cloud", "GANTRY_EXTENSION_WAIT=60", "GANTRY_FREEZE=true")
	a := r.invoke("{}", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	require.Equal(t, 200, a.status, a.body)
	// The instance is frozen after the call, so all this was sent before.
	bodies["/v1/traces"].WaitFor(t, "\n")
	var spans struct {
		ResourceSpans []struct {
			Resource   struct{ Attributes []any }
			ScopeSpans []struct {
				Spans []struct {
					TraceID, SpanID, ParentSpanID string
					Kind                          int
					EndTimeUnixNano               string
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(bodies["/v1/traces"].String()), &spans))
	span := spans.ResourceSpans[0].ScopeSpans[0].Spans[0]
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", span.TraceID)
	require.Equal(t, "b7ad6b7169203331", span.ParentSpanID)
	require.Equal(t, 2, span.Kind)
	require.Len(t, span.EndTimeUnixNano, 19)
	require.Contains(t, fmt.Sprint(spans.ResourceSpans[0].Resource.Attributes), "huawei cloud")
	bodies["/v1/logs"].WaitFor(t, "order accepted")
	var line string
	for l := range strings.Lines(bodies["/v1/logs"].String()) {
		if strings.Contains(l, "order accepted") {
			line = l
		}
	}
	require.Contains(t, line, `"severityNumber":9`)
	require.Contains(t, line, `"spanId":"`+span.SpanID+`"`)
	r.stopWell()
}

// TestExampleExtensionsEndWithCode0OnTerm: every example ends on TERM with exit code 0, even with work left and a
// receiver that refuses connections; without its variables it ends with one line that says so.
func TestExampleExtensionsEndWithCode0OnTerm(t *testing.T) {
	harness.FixedPorts(t)
	nobody := "http://" + freeAddress(t)
	for example, env := range map[string][]string{
		"telemetry-file/extensionTelemetryFile.py": {"TELEMETRY_FILE=" + filepath.Join(t.TempDir(), "out")},
		"config/extensionConfig.js":                {"CONFIG_URL=" + nobody, "CONFIG_FILE=" + filepath.Join(t.TempDir(), "config.json")},
		"datadog":                                  {"DD_API_KEY=key", "DD_URL=" + nobody},
		"otlp":                                     {"OTEL_EXPORTER_OTLP_ENDPOINT=" + nobody},
	} {
		t.Run(example, func(t *testing.T) {
			found, err := filepath.Glob(filepath.Join(withExample(t, okFunction, example), "extension", "extension*"))
			require.NoError(t, err)
			require.Len(t, found, 1)
			r := function(t, okFunction)
			run := func(env ...string) (*exec.Cmd, *harness.Output) {
				cmd, output := exec.Command(found[0]), &harness.Output{}
				cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
				cmd.Stdout, cmd.Stderr = output, output
				require.NoError(t, cmd.Start())
				t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, unless the test failed
				return cmd, output
			}
			without, output := run()
			var exit *exec.ExitError
			require.ErrorAs(t, without.Wait(), &exit)
			require.Equal(t, 1, exit.ExitCode(), output)
			require.Equal(t, 1, strings.Count(output.String(), "\n"), "one line: %s", output)

			cmd, output := run(append(env, "EXTENSION_API_ADDR="+strings.TrimPrefix(r.ext, "http://"))...)
			wait(t, func() bool { return r.metric("gantry_extensions_registered") == "1" })
			require.Equal(t, 200, r.invoke("{}").status)
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			killed := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
			require.NoError(t, cmd.Wait(), output)
			killed.Stop()
		})
	}
}

// wait waits for a condition, which may use require.
func wait(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "it does not come true")
	}
}

// TestIdleConnectionsAreClosed: a server that closes an idle connection while a notification is on its way would lose
// it, and most servers close after a few seconds, Node.js after five. So the agent closes first.
func TestIdleConnectionsAreClosed(t *testing.T) {
	harness.FixedPorts(t)
	paths, closed := make(chan string, 10), make(chan struct{}, 10)
	server := &http.Server{
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.URL.Path }),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				closed <- struct{}{}
			}
		},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:8081")
	require.NoError(t, err)
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	r := function(t, okFunction)
	require.Equal(t, 200, r.register("extensionIdle", "127.0.0.1:8081").status)
	for range 2 {
		require.Equal(t, 200, r.invoke("{}").status)
		select {
		case path := <-paths:
			require.Equal(t, "/extension/invoke", path)
		case <-time.After(patience):
			t.Fatal("the extension got no notice")
		}
		select {
		case <-closed:
		case <-time.After(patience):
			t.Fatal("the connection stays open")
		}
	}
	require.Equal(t, "0", r.metric(`gantry_notification_failures_total{slot="8081"}`))
}

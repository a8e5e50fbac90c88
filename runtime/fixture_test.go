package runtime

import (
	"context"
	"encoding/json"
	"gantry/fault"
	"gantry/logger"
	"gantry/process"
	"gantry/runtime/language"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	fncontext "gantry/context"
)

// supervisor is shared by all tests of this package, as there is one per process.
var supervisor = process.NewSupervisor(false)

// fixture is a worker under test.
type fixture struct {
	*Worker
	t    *testing.T
	cfg  *Config
	out  *harness.Output
	sink *logger.Sink
}

type option func(*Config)

func withConcurrency(n int) option { return func(c *Config) { c.Concurrency, c.Several = n, n > 1 } }

// withJSON has the log written as JSON objects, which always name their request; see owners.
func withJSON() option { return func(c *Config) { c.Sink = nil } }

// owners returns the request ids of the log's lines by their messages; empty for a line without one.
func (f *fixture) owners() map[string]string {
	f.t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(f.out.String()) {
		var l struct {
			Message   string `json:"message"`
			RequestID string `json:"request_id"`
		}
		require.NoError(f.t, json.Unmarshal([]byte(line), &l), line)
		found[l.Message] = l.RequestID
	}
	return found
}

func withEnv(env ...string) option { return func(c *Config) { c.Env = append(c.Env, env...) } }

func withInitializer(s string) option {
	return func(c *Config) {
		c.Function.Initializer = s
		c.Env = append(c.Env, "RUNTIME_INITIALIZER_HANDLER="+s)
	}
}

func withHandler(s string) option {
	return func(c *Config) {
		h, err := fncontext.ParseHandler(s)
		if err != nil {
			panic(err)
		}
		c.Function.Handler = h
		for i, kv := range c.Env {
			if strings.HasPrefix(kv, "RUNTIME_HANDLER=") {
				c.Env[i] = "RUNTIME_HANDLER=" + s
			}
		}
	}
}

// startWorker writes files into a code folder and starts a worker on it.
func startWorker(t *testing.T, files map[string]string, opts ...option) *fixture {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	lang, err := language.ByName("nodejs")
	require.NoError(t, err)
	out := &harness.Output{}
	cfg := &Config{
		Language: lang, Concurrency: 1, UID: -1, GID: -1, Dir: filepath.Dir(root), Supervisor: supervisor, Sink: logger.NewSink(out, false, nil), Log: zaptest.NewLogger(t),
		Function: &fncontext.Function{
			Name: "hello", Version: "latest", Package: "default", Project: "p", CodeRoot: root, MemoryMB: 1024,
			Timeout: 20 * time.Second, InitTimeout: 20 * time.Second, MaxResponse: 6291456, Handler: fncontext.Handler{File: "index", Symbol: "handler"},
		},
		Env: []string{
			"PATH=" + os.Getenv("PATH"), "RUNTIME_CODE_ROOT=" + root, "RUNTIME_HANDLER=index.handler", "RUNTIME_FUNC_NAME=hello", "RUNTIME_PACKAGE=default",
			"RUNTIME_PROJECT_ID=p", "RUNTIME_FUNC_VERSION=latest", "RUNTIME_MEMORY=128", "RUNTIME_CPU=300", "RUNTIME_TIMEOUT=20", `RUNTIME_USERDATA={"k":"v"}`, "RUNTIME_MAX_RESP_BODY_SIZE=6291456",
		},
	}
	cfg.Program = nodes(t)["path"]
	for _, o := range opts {
		o(cfg)
	}
	if cfg.Sink == nil { // withJSON
		cfg.Sink = logger.NewSink(out, true, nil)
	}
	w, err := Start(cfg, 1)
	require.NoError(t, err)
	f := &fixture{Worker: w, t: t, cfg: cfg, out: out, sink: cfg.Sink}
	t.Cleanup(func() {
		w.Stop(time.Now().Add(5 * time.Second))
		cfg.Sink.Close(time.Now().Add(5 * time.Second))
	})
	return f
}

func (f *fixture) ready() *fixture {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(f.t, f.WaitLoaded(ctx))
	require.True(f.t, f.SetReady())
	return f
}

func (f *fixture) loadError() *fault.Error {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var e *fault.Error
	require.ErrorAs(f.t, f.WaitLoaded(ctx), &e)
	return e
}

func (f *fixture) invocation() *fncontext.Call {
	return &fncontext.Call{Invocation: &fncontext.Invocation{RequestID: uuid.NewString(), Function: f.cfg.Function}, Deadline: time.Now().Add(20 * time.Second)}
}

func (f *fixture) call(inv *fncontext.Call, event string) (Result, error) {
	log := logger.NewRequest(f.sink, inv.RequestID, f.cfg.Several, true)
	r, err := f.Invoke(context.Background(), inv, []byte(event), log)
	log.Flush(time.Now())
	return r, err
}

func (f *fixture) invoke(event string) (Result, error) { return f.call(f.invocation(), event) }

// logHas waits until the log holds text.
func (f *fixture) logHas(text string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return strings.Contains(f.out.String(), text) }, 10*time.Second, time.Millisecond, "log lacks %q:\n%s", text, f.out)
}

func itoa(i int) string {
	b, _ := json.Marshal(i)
	return string(b)
}

// withPreStop sets the pre-stop hook.
func withPreStop(s string) option {
	return func(c *Config) {
		c.Function.PreStop, c.Function.PreStopTimeout = s, 20*time.Second
		c.Env = append(c.Env, "RUNTIME_PRESTOP_HANDLER="+s)
	}
}

// preStop runs the hook as Stop would, and returns its request id and its answer.
func (f *fixture) preStop() (string, error) {
	f.t.Helper()
	inv := f.invocation()
	inv.Alias = "prod"
	inv.Credentials = fncontext.NewCredentials(fncontext.Secrets{AuthToken: "s3cr3t"})
	log := logger.NewRequest(f.sink, inv.RequestID, false, false)
	err := f.transport.PreStop(context.Background(), inv, log)
	log.Flush(time.Now())
	return inv.RequestID, err
}

// initialize runs the initializer.
func (f *fixture) initialize() error {
	return f.Init(context.Background(), f.invocation(), logger.NewRequest(f.sink, "i", false, false))
}

// hookFailed looks at the answer of an initializer or pre-stop hook that failed.
func hookFailed(t *testing.T, err error, code int, message, errorType string, stack bool) {
	t.Helper()
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code)
	require.Equal(t, code == 4009, e.Kind == fault.Init)
	require.Equal(t, errorType, e.Type)
	var body struct {
		ErrorMessage, ErrorType string
		StackTrace              []string
	}
	require.NoError(t, json.Unmarshal(e.Body, &body))
	require.Equal(t, message, body.ErrorMessage)
	require.Equal(t, errorType, body.ErrorType)
	require.Equal(t, stack, body.StackTrace != nil, "only what was raised has a stack")
	require.True(t, strings.HasPrefix(string(e.Body), "{\n    \""), "four blanks of indentation")
}

// loadFails waits for a load that fails with these words.
func (f *fixture) loadFails(errorType, wants string) *fault.Error {
	f.t.Helper()
	e := f.loadError()
	require.Equal(f.t, fault.Init, e.Kind)
	require.Equal(f.t, 4001, e.Code)
	var body struct{ ErrorMessage, ErrorType string }
	require.NoError(f.t, json.Unmarshal(e.Body, &body), string(e.Body))
	require.Equal(f.t, errorType, body.ErrorType)
	require.Contains(f.t, body.ErrorMessage, wants)
	require.True(f.t, strings.HasPrefix(string(e.Body), "{\n    \""), "four blanks of indentation")
	return e
}

// timesOut makes a call that does not end within limit.
func (f *fixture) timesOut(limit time.Duration, hint string) {
	f.t.Helper()
	inv := f.invocation()
	inv.Deadline = time.Now().Add(limit)
	_, err := f.call(inv, "{}")
	var e *fault.Error
	require.ErrorAs(f.t, err, &e)
	require.Equal(f.t, fault.Timeout, e.Kind)
	require.Equal(f.t, 4010, e.Code)
	require.Contains(f.t, e.Hint, hint)
	require.Contains(f.t, e.Message, "call invoke timeout 20s")
}

// secretsStay makes a call whose handler answers all it finds where processes leave things for others.
func (f *fixture) secretsStay() {
	f.t.Helper()
	inv := f.invocation()
	inv.Credentials = fncontext.NewCredentials(fncontext.Secrets{SecurityToken: "s3cr3t-token"})
	r, err := f.call(inv, "{}")
	require.NoError(f.t, err)
	require.NotEmpty(f.t, r.Body)
	require.NotContains(f.t, string(r.Body), "s3cr3t-token")
}

// linesNameTheirCalls makes that many calls at once, each of which writes that many lines of three words, the last of
// them its request id.
func (f *fixture) linesNameTheirCalls(calls, linesEach int) {
	f.t.Helper()
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			r, err := f.invoke(`{"n":` + itoa(i) + `}`)
			if err != nil || string(r.Body) != itoa(i) {
				f.t.Errorf("call %d: %q, %v", i, r.Body, err)
			}
		})
	}
	wg.Wait()
	require.Eventually(f.t, func() bool { return strings.Count(f.out.String(), "\n") >= linesEach*calls }, 30*time.Second, time.Millisecond)
	for line := range strings.Lines(f.out.String()) {
		fields := strings.Fields(line)
		require.Len(f.t, fields, 5, line)
		require.Equal(f.t, fields[1], fields[4], "the line names another request than the one that wrote it: %s", line)
	}
}

// dies makes that many calls at once, each of which writes "before the end"; the last one ends the worker that way,
// under all.
func (f *fixture) dies(calls int, how, message, stderr string) {
	f.t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, calls)
	for i := range errs {
		wg.Go(func() {
			event := `{"how":"wait"}`
			if i == calls-1 {
				require.Eventually(f.t, func() bool { return strings.Count(f.out.String(), "before the end") >= calls-1 }, 30*time.Second, time.Millisecond)
				event = `{"how":"` + how + `"}`
			}
			inv := f.invocation()
			inv.Deadline = time.Now().Add(60 * time.Second)
			_, errs[i] = f.call(inv, event)
		})
	}
	wg.Wait()
	for _, err := range errs {
		var e *fault.Error
		require.ErrorAs(f.t, err, &e)
		require.Equal(f.t, fault.Crash, e.Kind)
		require.Equal(f.t, 4204, e.Code)
		require.Contains(f.t, e.Message, message)
		require.Contains(f.t, strings.Join(e.Stderr, "\n"), stderr)
	}
	<-f.Gone()
	require.Equal(f.t, Gone, f.State())
	_, err := f.invoke("{}")
	require.ErrorIs(f.t, err, ErrNotSent, "a call that never reached the worker may go to another one")
	require.Eventually(f.t, func() bool { return strings.Count(f.out.String(), "before the end") == calls }, 10*time.Second, time.Millisecond, "what was logged before the end is not lost")
}

// nodeVersion asks a Node.js for its version, once.
func nodeVersion(t *testing.T, node string) string {
	t.Helper()
	out, err := exec.Command(node, "-p", "process.versions.node").Output()
	require.NoError(t, err)
	return string(out)
}

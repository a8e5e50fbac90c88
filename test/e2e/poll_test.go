package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// pulled is a function in Python that the agent runs as a custom runtime.
const pulled = `import os, time
def handler(event, context):
    if 'ms' in event: time.sleep(event['ms'] / 1000)
    if event.get('fail'): raise ValueError('no luck')
    return {'n': event.get('n'), 'agent': os.getppid(), 'keys': context.getSecurityAccessKey() + context.getToken(), 'id': context.getRequestID(), 'alias': context.getAlias()}
`

// runtimeFolder is a code folder with the agent itself as bootstrap: a script notes its process id and runs the
// agent.
func runtimeFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := writeFiles(t, files)
	script := "#!/bin/sh\necho $$ >> " + dir + "/pids\nexport GORACE=atexit_sleep_ms=0\nexec " + program(t) + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(script), 0o755))
	return dir
}

// pids lists the agents that were started in a runtimeFolder.
func pids(t *testing.T, dir string) (all []int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "pids"))
	require.NoError(t, err)
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		require.NoError(t, err)
		all = append(all, pid)
	}
	return all
}

// TestPollStopLosesNoCallAndKillFailsThem: one agent is the platform, another its custom runtime, which is stopped in
// order and killed under load. A stop loses nothing; a kill makes the calls in flight fail with an error.
func TestPollStopLosesNoCallAndKillFailsThem(t *testing.T) {
	t.Parallel()
	const callers = 8
	for name, how := range map[string]syscall.Signal{"stop": syscall.SIGTERM, "kill": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := runtimeFolder(t, map[string]string{"index.py": pulled})
			r := start(t, dir, "GANTRY_RUNTIME=custom", "GANTRY_CONCURRENCY="+itoa(callers), "RUNTIME_TIMEOUT=30", "GANTRY_QUEUE_WAIT=60",
				`RUNTIME_USERDATA={"GANTRY_RUNTIME":"python"}`)
			require.Equal(t, 200, r.invoke("{}").status)
			var done atomic.Bool
			var good, lost atomic.Int64
			var all sync.WaitGroup
			for k := range callers {
				all.Go(func() {
					for n := 0; !done.Load(); n++ {
						want := fmt.Sprintf(`{"n": %d,`, k*1000000+n)
						got := r.try(fmt.Sprintf(`{"n":%d,"ms":%d}`, k*1000000+n, n%3))
						switch {
						case got.status == 200 && strings.HasPrefix(got.body, want):
							good.Add(1)
						case got.status == 502 && strings.Contains(got.body, "runtime process is exited") && how == syscall.SIGKILL:
							lost.Add(1)
						default:
							t.Errorf("want %s, got %d %s", want, got.status, got.body)
							return
						}
					}
				})
			}
			for round := range 3 {
				before := good.Load()
				require.Eventually(t, func() bool { return good.Load() > before+200 || t.Failed() }, patience, time.Millisecond)
				agents := pids(t, dir)
				require.Len(t, agents, round+1)
				require.NoError(t, syscall.Kill(agents[round], how))
				require.Eventually(t, func() bool { return len(pids(t, dir)) == round+2 || t.Failed() }, patience, time.Millisecond)
			}
			before := good.Load()
			require.Eventually(t, func() bool { return good.Load() > before+200 || t.Failed() }, patience, time.Millisecond)
			done.Store(true)
			all.Wait()
			t.Logf("%d answered, %d cut off", good.Load(), lost.Load())
			require.LessOrEqual(t, lost.Load(), int64(3*callers))
			r.signal(syscall.SIGTERM)
			require.Equal(t, 0, r.wait())
			for _, pid := range pids(t, dir) {
				require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "an agent is left")
			}
		})
	}
}

// fakeAPI is a platform's runtime API, as far as one event at a time.
type fakeAPI struct {
	*httptest.Server
	t      *testing.T
	events chan fakeEvent
	posts  chan fakePost
}

type fakeEvent struct {
	header http.Header
	body   string
}

type fakePost struct{ path, body string }

func newFakeAPI(t *testing.T) *fakeAPI {
	f := &fakeAPI{t: t, events: make(chan fakeEvent), posts: make(chan fakePost, 10)}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v1/runtime/invocation/request" {
			select {
			case e := <-f.events:
				for name, values := range e.header {
					w.Header()[name] = values
				}
				_, _ = io.WriteString(w, e.body)
			case <-req.Context().Done():
			}
			return
		}
		body, err := io.ReadAll(req.Body)
		if err == nil {
			f.posts <- fakePost{req.URL.Path, string(body)}
		}
	}))
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *fakeAPI) addr() string { return strings.TrimPrefix(f.URL, "http://") }

func (f *fakeAPI) event(id, body string, header ...string) fakeEvent {
	e := fakeEvent{http.Header{"X-Cff-Request-Id": {id}}, body}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		e.header[name] = []string{value}
	}
	return e
}

func (f *fakeAPI) send(e fakeEvent) {
	f.t.Helper()
	select {
	case f.events <- e:
	case <-time.After(patience):
		f.t.Fatal("nobody asks for events")
	}
}

func (f *fakeAPI) post() fakePost {
	f.t.Helper()
	select {
	case p := <-f.posts:
		return p
	case <-time.After(patience):
		f.t.Fatal("no answer was posted")
		return fakePost{}
	}
}

// poller starts an agent as a custom runtime.
func poller(t *testing.T, files map[string]string, env ...string) *running {
	t.Helper()
	r := prepare(t, writeFiles(t, files), env...)
	r.cmd.Args = r.cmd.Args[:1] // the environment says what it is
	r.launch()
	r.stderr.WaitFor(t, "polling")
	return r
}

// TestPollRunsEventsAndPostsTheirAnswers: what comes from the platform reaches the function, and what the function
// answers comes back.
func TestPollRunsEventsAndPostsTheirAnswers(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t)
	r := poller(t, map[string]string{"index.py": pulled}, "RUNTIME_API_ADDR="+api.addr(), "RUNTIME_HANDLER=bootstrap", "EXTENSION_API_ADDR=127.0.0.1:1", "RUNTIME_TIMEOUT=30")
	r.stderr.WaitFor(t, "EXTENSION_API_ADDR=127.0.0.1:1 is the platform's, and is not listened on")
	require.Contains(t, r.stderr.String(), `"because": "index.py is in the code folder"`)
	id := uuid.NewString()
	api.send(api.event(id, `{"n":1}`, "X-Cff-Security-Access-Key: sak", "X-Cff-Auth-Token: token", "X-Cff-Secret-Key: null", "X-Cff-Origin-Version-Tag: !blue"))
	p := api.post()
	require.Equal(t, "/v1/runtime/invocation/response/"+id, p.path)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.body), &got))
	require.Equal(t, "saktoken", got["keys"])
	require.Equal(t, id, got["id"])
	require.Equal(t, "blue", got["alias"])
	r.stdout.WaitFor(t, "Finish invoke request '"+id+"'")

	api.send(api.event("not a UUID", `{"fail":1}`))
	p = api.post()
	require.Equal(t, "/v1/runtime/invocation/error/not a UUID", p.path)
	require.Contains(t, p.body, `"errorMessage": "function invocation exception, error: no luck"`)

	api.send(api.event("large", strings.Repeat(" ", 6<<20)+"1"))
	p = api.post()
	require.Equal(t, "/v1/runtime/invocation/error/large", p.path)
	require.Contains(t, p.body, "is larger than 6291456 bytes")

	api.send(api.event(id, `{"n":2,"ms":500}`)) // under way when the stop comes
	r.stdout.WaitFor(t, "Start invoke request '"+id+"'")
	r.signal(syscall.SIGTERM)
	require.Contains(t, api.post().body, `"n": 2`)
	require.Equal(t, 0, r.wait())
	select {
	case api.events <- fakeEvent{}:
		t.Fatal("a stopped agent asks for events")
	default:
	}
}

// TestPollPostsWhyTheFunctionCannotLoad: the platform's callers get the reason.
func TestPollPostsWhyTheFunctionCannotLoad(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t)
	poller(t, map[string]string{"index.js": "throw new RangeError('boom')"}, "RUNTIME_API_ADDR="+api.addr())
	api.send(api.event("x", "{}"))
	p := api.post()
	require.Equal(t, "/v1/runtime/invocation/error/x", p.path)
	require.Contains(t, p.body, "function entry exception, error: boom")
}

// TestPollNotifiesExtensionsOfItsCalls: telemetry and notifications as anywhere; the extension finds the agent's own
// address.
func TestPollNotifiesExtensionsOfItsCalls(t *testing.T) {
	harness.FixedPorts(t)
	api := newFakeAPI(t)
	counter, err := os.ReadFile("../../examples/extensions/counter/counter.py")
	require.NoError(t, err)
	script, err := os.ReadFile("../../examples/extensions/counter/extensionCounter.sh")
	require.NoError(t, err)
	r := poller(t, map[string]string{"index.py": pulled, "extension/counter.py": string(counter), "extension/extensionCounter.sh": string(script)},
		"RUNTIME_API_ADDR="+api.addr(), "EXTENSION_API_ADDR=127.0.0.1:1", "GANTRY_OPS_ADDR=127.0.0.1:0")
	api.send(api.event("x", `{"n":1}`))
	require.Contains(t, api.post().body, `"n": 1`)
	r.stdout.WaitFor(t, "[extensionCounter.sh]")
}

// TestPollGoesOnAfterARuntimeAPIOutage: the runtime API goes away and comes back.
func TestPollGoesOnAfterARuntimeAPIOutage(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t)
	front := httptest.NewUnstartedServer(api.Config.Handler)
	addr := front.Listener.Addr().String()
	front.Start()
	r := poller(t, map[string]string{"index.py": pulled}, "RUNTIME_API_ADDR="+addr)
	api.send(api.event("x", `{"n":1}`))
	require.Contains(t, api.post().body, `"n": 1`)
	require.NoError(t, front.Listener.Close()) // first: the agent comes back at once
	front.CloseClientConnections()
	front.Close()
	r.stderr.WaitFor(t, "the runtime API cannot be reached")
	again := httptest.NewUnstartedServer(api.Config.Handler)
	require.NoError(t, again.Listener.Close())
	require.Eventually(t, func() bool {
		ln, err := net.Listen("tcp", addr)
		again.Listener = ln
		return err == nil
	}, patience, 10*time.Millisecond)
	again.Start()
	t.Cleanup(again.Close)
	t.Cleanup(func() { // which ends its question
		r.signal(syscall.SIGTERM)
		r.wait()
	})
	api.send(api.event("y", `{"n":2}`))
	p := api.post()
	if strings.Contains(p.body, `"n": 1`) { // the word that it was taken was lost with the connection
		p = api.post()
	}
	require.Contains(t, p.body, `"n": 2`)
	r.stderr.WaitFor(t, "the runtime API can be reached again")
	require.Equal(t, 1, bytes.Count([]byte(r.stderr.String()), []byte("the runtime API cannot be reached")), "not at every try")
}

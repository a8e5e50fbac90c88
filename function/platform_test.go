package function_test

import (
	"encoding/json"
	"gantry/function/internal/require"
	"gantry/function/poll"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// platform is the runtime API as the platform serves it.
type platform struct {
	*httptest.Server
	events chan platformEvent
	posts  chan post
	asking atomic.Int32
	left   atomic.Int32
	status atomic.Int32 // of the answers to posts
}

type platformEvent struct {
	id, body string
	header   map[string]string
}

type post struct{ path, kind, body string }

func newPlatform(t *testing.T) *platform {
	p := &platform{events: make(chan platformEvent), posts: make(chan post, 100)}
	p.status.Store(http.StatusOK)
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		body, _ := io.ReadAll(r.Body)
		p.posts <- post{strings.TrimPrefix(r.URL.Path, "/v1/runtime/invocation/"), r.Header.Get("Content-Type"), string(body)}
		w.WriteHeader(int(p.status.Load()))
		return
	}
	p.asking.Add(1)
	defer p.asking.Add(-1)
	select {
	case e := <-p.events:
		for name, value := range e.header {
			w.Header().Set(name, value)
		}
		w.Header().Set("X-Cff-Request-Id", e.id)
		_, _ = io.WriteString(w, e.body)
	case <-r.Context().Done():
		p.left.Add(1)
	}
}

// start starts a function as the platform does.
func (p *platform) start(t *testing.T, function string, env ...string) *process {
	return launch(t, function, nil, append(env, "RUNTIME_API_ADDR="+strings.TrimPrefix(p.URL, "http://"))...)
}

func (p *platform) call(event platformEvent) post {
	p.events <- event
	return <-p.posts
}

// TestPlatformEventsGetResponsesOrErrors: events and answers of a custom runtime.
func TestPlatformEventsGetResponsesOrErrors(t *testing.T) {
	api := newPlatform(t)
	p := api.start(t, "typed", "RUNTIME_MAX_RESP_BODY_SIZE=1000")
	const document, octets = "application/json", "application/octet-stream"
	for event, want := range map[string]post{
		``:                            {"response/r 1", document, `{"none":true,"text":""}`},
		`{"Do":"string","Text":"x<"}`: {"response/r 1", octets, "x<"},
		`{"Do":"bytes"}`:              {"response/r 1", octets, ""},
		`{"Do":"error","Text":"t"}`:   {"error/r 1", document, "{\n    \"errorMessage\": \"t: coded\",\n    \"errorType\": \"FunctionReturnError\"\n}"},
		`{`:                           {"error/r 1", document, "{\n    \"errorMessage\": \"unexpected end of JSON input\",\n    \"errorType\": \"SyntaxError\"\n}"},
		`{"Do":"long","Number":1001}`: {"error/r 1", document, "{\n    \"errorMessage\": \"Response body size '1001' larger than max value '1000'.\",\n    \"errorType\": \"FunctionResponseTooLarge\"\n}"},
	} {
		require.Equal(t, want, api.call(platformEvent{id: "r 1", body: event}), event)
	}
	for event, kind := range map[string]string{`{"Do":"panic","Text":"t"}`: "panic", `{"Do":"goexit"}`: "Goexit"} {
		got := api.call(platformEvent{id: "r2", body: event})
		var body errorBody
		require.NoError(t, json.Unmarshal([]byte(got.body), &body))
		require.Equal(t, "error/r2", got.path)
		require.Equal(t, kind, body.Type)
		require.True(t, len(body.Stack) > 0)
	}
	line := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z r2 ERROR t\n`)
	within(t, "the line of the panic", func() bool { return line.MatchString(p.stdout.String()) })

	large := api.call(platformEvent{id: "big", body: strings.Repeat("x", poll.MaxEvent+1)})
	require.Equal(t, "error/big", large.path)
	require.Contains(t, large.body, "FunctionRequestTooLarge")
	require.Equal(t, "response/r3", api.call(platformEvent{id: "r3"}).path)
	require.Empty(t, p.stderr.String())

	api.status.Store(http.StatusGone)
	api.call(platformEvent{id: "r4"})
	within(t, "a word about the lost answer", func() bool { return strings.Contains(p.stderr.String(), "request r4 is lost") })
}

// TestPlatformContextComesFromTheHeaders: the facts of a call come from the headers.
func TestPlatformContextComesFromTheHeaders(t *testing.T) {
	api := newPlatform(t)
	api.start(t, "context", "RUNTIME_ALIAS=fallback", "RUNTIME_TIMEOUT=60", `RUNTIME_USERDATA={"user":"u"}`)
	header := map[string]string{
		"X-CFF-Access-Key": "a", "X-CFF-Secret-Key": "b", "X-CFF-Security-Access-Key": "c", "X-CFF-Security-Secret-Key": "d", "X-CFF-Security-Token": "e",
		"X-CFF-Auth-Token": "f", "X-Cff-Origin-Version-Tag": "!live", "X-Cff-Workflow-Id": "1", "X-Cff-Workflow-Run-Id": "2", "X-Cff-Workflow-State-Id": "3",
	}
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(api.call(platformEvent{id: "r1", header: header}).body), &got))
	for name, want := range map[string]any{
		"RequestID": "r1", "AccessKey": "a", "SecretKey": "b", "SecurityAccessKey": "c", "SecuritySecretKey": "d", "SecurityToken": "e", "Token": "f",
		"Alias": "live", "WorkflowID": "1", "WorkflowRunID": "2", "WorkflowStateID": "3", "remaining": true, "RunningTime": 60.0, "user": "u",
	} {
		require.Equal(t, want, got[name], name)
	}
	require.NoError(t, json.Unmarshal([]byte(api.call(platformEvent{id: "r1", header: map[string]string{"X-Cff-Origin-Version-Tag": "latest"}}).body), &got))
	require.Equal(t, "fallback", got["Alias"])
}

// TestPollersAskForAsManyEventsAsConfigured: how many events are asked for at once.
func TestPollersAskForAsManyEventsAsConfigured(t *testing.T) {
	for n, start := range map[int32]func(api *platform){
		1: func(api *platform) { api.start(t, "typed") },
		2: func(api *platform) { api.start(t, "typed", "GANTRY_CONCURRENCY=2") },
		3: func(api *platform) { api.start(t, "pollers", "GANTRY_CONCURRENCY=7") },
	} {
		api := newPlatform(t)
		start(api)
		within(t, "all pollers", func() bool { return api.asking.Load() == n })
	}
}

// TestTermEndsPollingAndTheLastEventIsAnswered: after TERM the program polls no more, and the last event is answered.
func TestTermEndsPollingAndTheLastEventIsAnswered(t *testing.T) {
	api := newPlatform(t)
	p := api.start(t, "gate", "GANTRY_CONCURRENCY=2", "RUNTIME_TIMEOUT=1000")
	within(t, "both pollers", func() bool { return api.asking.Load() == 2 })
	api.events <- platformEvent{id: "r1"}
	within(t, "the handler", func() bool { return strings.Contains(p.stdout.String(), "r1 INFO waiting") })
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	within(t, "the idle poller's end", func() bool { return api.left.Load() == 1 })
	require.NoError(t, p.stdin.Close())
	require.Equal(t, post{"response/r1", "application/octet-stream", "done"}, <-api.posts)
	require.Equal(t, 0, p.exit())
	require.EqualValues(t, 1, api.left.Load())
	require.Empty(t, p.stderr.String())
}

// TestSecondTermEndsWithoutTheLastAnswer: a second TERM ends the program without waiting for the last call.
func TestSecondTermEndsWithoutTheLastAnswer(t *testing.T) {
	api := newPlatform(t)
	p := api.start(t, "waits", "RUNTIME_TIMEOUT=1000", "GANTRY_CONCURRENCY=2")
	within(t, "both pollers", func() bool { return api.asking.Load() == 2 })
	api.events <- platformEvent{id: "r1"}
	within(t, "the handler", func() bool { return strings.Contains(p.stdout.String(), "r1 INFO waiting") })
	within(t, "the end", func() bool {
		require.NoError(t, ignoreEnded(p.Process.Signal(syscall.SIGTERM)))
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	require.Equal(t, -1, p.exit())
}

func ignoreEnded(err error) error {
	if err != nil && strings.Contains(err.Error(), "already finished") {
		return nil
	}
	return err
}

// TestPlatformStartInitializesOrExitsWithTheReason: what happens before the first event.
func TestPlatformStartInitializesOrExitsWithTheReason(t *testing.T) {
	api := newPlatform(t)
	p := api.start(t, "initializer")
	require.Equal(t, `"" true`, api.call(platformEvent{id: "r1"}).body)
	line := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO initializing\n$`)
	within(t, "the initializer's line", func() bool { return line.MatchString(p.stdout.String()) })
	for function, want := range map[string]string{
		"bad initializer":       "function initialization exception, error: no database at",
		"panicking initializer": "function initialization exception, error: no\n",
		"exiting initializer":   "runtime.Goexit",
		"nil":                   "function.Start was given no handler",
	} {
		p := api.start(t, function)
		require.Equal(t, 1, p.exit(), function)
		require.Contains(t, p.stderr.String(), want)
	}
	p = api.start(t, "typed", "GANTRY_CONCURRENCY=many")
	require.Equal(t, 2, p.exit())
	require.Contains(t, p.stderr.String(), `GANTRY_CONCURRENCY is "many"`)
}

// TestFunctionOutlivesAnOutageOfThePlatform: a function outlives the runtime API, and says so.
func TestFunctionOutlivesAnOutageOfThePlatform(t *testing.T) {
	api := newPlatform(t)
	p := api.start(t, "typed")
	within(t, "the poller", func() bool { return api.asking.Load() == 1 })
	require.NoError(t, api.Listener.Close())
	api.CloseClientConnections()
	within(t, "a word about the outage", func() bool { return strings.Contains(p.stderr.String(), "cannot be used") })
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 0, p.exit())
}

package async

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	fncontext "gantry/context"
)

// configure sets destinations for the version "latest".
// TestOutcomeMessageIsUTF8: JSON whose strings hold other bytes becomes JSON for everyone, and what is no JSON a
// string.
func TestOutcomeMessageIsUTF8(t *testing.T) {
	f := &testFunction{result: "{\"r\":\"na\xefve\"}"}
	folder := t.TempDir()
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.Folder = folder })
	configure(t, q, &Destination{"DIS", `{"stream_name":"s"}`}, nil)
	for event, want := range map[string]any{
		"{\"a\":\"caf\xe9\"}": map[string]any{"a": "caf\uFFFD"}, "\"\xff\xfe\xfd end\"": "\uFFFD end", "{\"a\":\"é\"}": map[string]any{"a": "é"},
	} {
		id := accept(t, q, event)
		n := sent(t, filepath.Join(folder, "notifications/DIS/s", id+".json"))
		text, err := os.ReadFile(filepath.Join(folder, "notifications/DIS/s", id+".json"))
		require.NoError(t, err)
		require.True(t, utf8.Valid(text), "%q", text)
		require.Equal(t, want, n["request_payload"])
		require.Equal(t, map[string]any{"r": "na\uFFFDve"}, n["response_payload"])
	}
}

func configure(t *testing.T, q *Queue, success, failure *Destination) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"max_async_retry_attempts": 0, "destination_config": destinations{success, failure}})
	require.NoError(t, err)
	c, err := ParseConfiguration(text)
	require.NoError(t, err)
	_, err = q.SetConfiguration(t.Context(), "latest", "", "urn", c)
	require.NoError(t, err)
}

// sent waits for the file that an outcome message without an endpoint became.
func sent(t *testing.T, pattern string) map[string]any {
	t.Helper()
	var files []string
	require.Eventually(t, func() bool { files, _ = filepath.Glob(pattern); return len(files) == 1 }, patience, 5*time.Millisecond, "no file %s", pattern)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	n := map[string]any{}
	require.NoError(t, json.Unmarshal(text, &n), "%s", text)
	return n
}

func TestOutcomeMessageCarriesRequestResultAndCondition(t *testing.T) {
	f := &testFunction{answer: func(_ int, _ *fncontext.Invocation, event string) *fault.Error {
		if strings.Contains(event, "fail") {
			return &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation, Body: []byte(`{"errorMessage":"asked to"}`)}
		}
		return nil
	}, result: `"hello world!"`}
	folder := t.TempDir()
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.Folder = folder })
	configure(t, q, &Destination{"OBS", `{"bucket":"b","prefix":"/good","expires":5}`}, &Destination{"SMN", `{"topic_urn":"urn:smn:r:p:t"}`})
	id := accept(t, q, `{"k":1,"html":"<&>"}`)
	pattern := filepath.Join(folder, "notifications/OBS/b/good/hello/*/*/*", id+".json")
	n := sent(t, pattern)
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.Contains(t, string(text), `"request_payload":{"k":1,"html":"<&>"}`)
	_, err = time.Parse(time.RFC3339, n["timestamp"].(string))
	require.NoError(t, err)
	delete(n, "timestamp")
	require.Equal(t, map[string]any{
		"request_context":  map[string]any{"request_id": id, "function_urn": "urn:fss:r:p:function:default:hello:latest", "condition": "", "approximate_invoke_count": 1.0},
		"request_payload":  map[string]any{"k": 1.0, "html": "<&>"},
		"response_context": map[string]any{"status_code": 200.0, "function_error": ""},
		"response_payload": "hello world!",
	}, n)
	require.Eventually(t, func() bool {
		e, err := q.engine(t.Context())
		require.NoError(t, err)
		r, _, err := e.record(t.Context(), id)
		return err == nil && r.Pending == nil
	}, patience, time.Millisecond, "what is in its queue is off the record")

	id = accept(t, q, `fail`)
	n = sent(t, filepath.Join(folder, "notifications/SMN/urn:smn:r:p:t", id+".json"))
	require.Equal(t, "fail", n["request_payload"], "what is no JSON is a string")
	require.Equal(t, "RetriesExhausted", n["request_context"].(map[string]any)["condition"])
	require.Equal(t, map[string]any{"status_code": 200.0, "function_error": `{"errorMessage":"asked to"}`}, n["response_context"])
	require.Equal(t, map[string]any{"errorMessage": "asked to"}, n["response_payload"])
	require.Equal(t, Fail, one(t, q, id).Status)
}

func TestOutcomeMessageLeavesOutPayloadsThatAreTooLarge(t *testing.T) {
	f := &testFunction{result: `"` + strings.Repeat("x", maxResult) + `"`}
	folder := t.TempDir()
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.Folder = folder })
	configure(t, q, &Destination{"DIS", `{"stream_name":"s"}`}, nil)
	n := sent(t, filepath.Join(folder, "notifications/DIS/s", accept(t, q, `{}`)+".json"))
	require.Empty(t, n["response_payload"])
	n = sent(t, filepath.Join(folder, "notifications/DIS/s", accept(t, q, strings.Repeat("\x01", MaxEvent))+".json"))
	require.Empty(t, n["request_payload"], "six times as long as JSON: more than a message may have")
}

// TestOutcomeMessageOfAnySizeEndsTheRequest: the size as JSON, the size of the param, and the server's limit all
// count; whatever the outcome message is, the request ends.
func TestOutcomeMessageOfAnySizeEndsTheRequest(t *testing.T) {
	markup := `{"xml":"` + strings.Repeat("<>", 125_000) + `"}`
	escaped := `{"k":"` + strings.Repeat(`\"`, 125_000) + `"}`
	for name, c := range map[string]struct {
		event, param string
		payload      int32 // of the server
		kept         bool
	}{
		"escaped for HTML": {markup, "", 1 << 20, true},
		"no JSON":          {strings.Repeat("<>", 125_000), "", 1 << 20, true},
		"a long param":     {escaped, strings.Repeat(`\"`, 25_000), 1 << 20, true},
		"a strict server":  {markup, strings.Repeat(`\"`, 25_000), 300 << 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			folder, f := t.TempDir(), &testFunction{result: c.event}
			if !json.Valid([]byte(c.event)) {
				f.answer = func(int, *fncontext.Invocation, string) *fault.Error {
					return &fault.Error{Kind: fault.Event, Code: fault.CodeInvocation, Body: []byte("no JSON")}
				}
			}
			s := startServer(t, t.TempDir(), func(o *server.Options) { o.MaxPayload = c.payload })
			q := open(t, s, f, func(cfg *Config) { cfg.Folder = folder })
			d := &Destination{"DIS", `{"stream_name":"s","more":"` + c.param + `"}`}
			configure(t, q, d, d)
			id := accept(t, q, c.event)
			n := sent(t, filepath.Join(folder, "notifications/DIS/s", id+".json"))
			require.Equal(t, c.kept, n["request_payload"] != "")
			require.Equal(t, 1, one(t, q, id).Attempts.Started)
		})
	}
}

// TestEndedRequestWaitsForRoomForItsOutcomeMessage: a request that has ended waits until there is room for its
// outcome message, longer each time, and does not run again.
func TestEndedRequestWaitsForRoomForItsOutcomeMessage(t *testing.T) {
	answer := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-answer }))
	defer service.Close()
	core, logs := observer.New(zap.WarnLevel)
	f := &testFunction{result: `"` + strings.Repeat("x", 250_000) + `"`}
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) {
		c.Endpoints, c.MaxBytes, c.Log = &destination.Endpoints{OBS: destination.Endpoint{URL: service.URL}}, 1<<20, zap.New(core)
	})
	d := &Destination{"OBS", `{"bucket":"b"}`}
	configure(t, q, d, d)
	const requests = 7
	for range requests {
		waitStatus(t, q, accept(t, q, "{}"), Success)
	}
	delays := map[any][]time.Duration{}
	require.Eventually(t, func() bool {
		clear(delays)
		for _, l := range logs.FilterMessageSnippet("its outcome message cannot be stored").All() {
			m := l.ContextMap()
			delays[m["request_id"]] = append(delays[m["request_id"]], m["delay"].(time.Duration))
		}
		for _, d := range delays {
			if len(d) > 1 {
				return d[0] == sendDelay && d[1] == 2*sendDelay
			}
		}
		return false
	}, patience, 10*time.Millisecond)
	require.Zero(t, logs.FilterMessageSnippet("will be redelivered").Len())
	close(answer)
	require.Eventually(t, func() bool { return q.Counts()["notified"] == requests }, patience, 10*time.Millisecond)
	require.Equal(t, requests, f.calls())
}

// TestRecordTooLargeLosesPayloadsThenItsOutcomeMessage: what a server refuses for its size loses its payloads, then
// the outcome message; the outcome stays.
func TestRecordTooLargeLosesPayloadsThenItsOutcomeMessage(t *testing.T) {
	q := open(t, startServer(t, t.TempDir()), &testFunction{}, func(c *Config) { c.Folder, c.Log = t.TempDir(), zap.NewNop() })
	require.NoError(t, q.Start(t.Context()))
	e, large := q.open, strings.Repeat("x", 1<<20)
	text := func(payload, message string) []byte {
		n := &OutcomeMessage{RequestPayload: json.RawMessage(`"` + payload + `"`), ResponsePayload: json.RawMessage(`""`)}
		n.Response.Error = message
		text, err := plainJSON(n)
		require.NoError(t, err)
		return text
	}
	for name, c := range map[string]struct {
		text  []byte
		stays bool
	}{"payloads": {text(large, "why"), true}, "anything else": {text("", large), false}} {
		t.Run(name, func(t *testing.T) {
			r := &Record{RequestID: newID(), Status: Success, Pending: &pending{Destination: Destination{"DIS", `{"stream_name":"s"}`}, Text: c.text}}
			_, err := e.write(t.Context(), r, 0)
			require.NoError(t, err)
			stored, _, err := e.record(t.Context(), r.RequestID)
			require.NoError(t, err)
			require.Equal(t, Success, stored.Status)
			require.Equal(t, c.stays, stored.Pending != nil)
			require.Equal(t, c.stays, stored.Pending != nil && strings.Contains(string(stored.Pending.Text), "why"))

			r.Pending = &pending{Destination: Destination{"DIS", `{"stream_name":"s"}`}, Text: c.text}
			require.NoError(t, e.hand(t.Context(), r))
			require.Equal(t, c.stays, r.Pending != nil)
		})
	}
	require.EqualValues(t, 2, q.Counts()["notification_failures"])
}

// TestCancelledRequestsNotifyTheFailureDestination: a request that is cancelled, waiting or running, has failed.
func TestCancelledRequestsNotifyTheFailureDestination(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	f := &testFunction{}
	f.answer = func(_ int, inv *fncontext.Invocation, _ string) *fault.Error { return f.block(inv, end) }
	folder := t.TempDir()
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.Folder, c.Parallel = folder, 1 })
	configure(t, q, nil, &Destination{"DIS", `{"stream_name":"s"}`})
	running := accept(t, q, "{}")
	waitStatus(t, q, running, Running)
	waiting := accept(t, q, "{}")
	require.NoError(t, q.Cancel(t.Context(), waiting, false))
	require.Eventually(t, func() bool { return q.Cancel(t.Context(), running, false) == nil }, patience, time.Millisecond)
	for _, id := range []string{running, waiting} {
		n := sent(t, filepath.Join(folder, "notifications/DIS/s", id+".json"))
		require.Equal(t, "Canceled", n["request_context"].(map[string]any)["condition"])
	}
}

// TestServicesGetSignedMessagesAndRefusalsAreRetried: what is sent to the services, and what happens when they are
// slow, refuse, or are away.
func TestServicesGetSignedMessagesAndRefusalsAreRetried(t *testing.T) {
	type received struct {
		path, authorization, expires, hash, date, hops, body string
	}
	var mu sync.Mutex
	var all []received
	var refusals atomic.Int32
	refusals.Store(2)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusals.Add(-1) >= 0 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "later", http.StatusTooManyRequests)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, received{r.URL.EscapedPath(), r.Header.Get("Authorization"), r.Header.Get("X-Obs-Expires"), r.Header.Get("X-Amz-Content-Sha256"), r.Header.Get("X-Sdk-Date"), r.Header.Get(HeaderHops), string(body)})
		w.WriteHeader(http.StatusAccepted)
	}))
	defer service.Close()
	endpoint := destination.Endpoint{URL: service.URL + "/base", Access: "AK", Secret: "SK"}
	const other = "urn:fss:r:p:function:default:other"
	q := open(t, startServer(t, t.TempDir()), &testFunction{result: `{"a":1}`}, func(c *Config) {
		c.Endpoints = &destination.Endpoints{OBS: endpoint, SMN: endpoint, DIS: endpoint, Functions: map[string]destination.Endpoint{other: endpoint}}
		c.Sign = func(method, path string, body []byte, access, secret string) (string, string, error) {
			return "20261123T000000Z", fmt.Sprintf("%s %s %d %s %s", method, path, len(body), access, secret), nil
		}
		c.Folder, c.Log = t.TempDir(), zap.NewNop()
	})
	next := func(d *Destination) received {
		t.Helper()
		configure(t, q, d, nil)
		mu.Lock()
		n := len(all)
		mu.Unlock()
		accept(t, q, `{}`)
		require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(all) == n+1 }, patience, time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		return all[n]
	}
	r := next(&Destination{"OBS", `{"bucket":"b","prefix":"a b/ü","expires":7}`})
	require.Contains(t, r.path, "/base/b/a%20b/%C3%BC/hello/")
	require.Equal(t, "7", r.expires)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(r.body))), r.hash)
	require.Contains(t, r.authorization, "AWS4-HMAC-SHA256 Credential=AK/")
	require.True(t, json.Valid([]byte(r.body)))

	r = next(&Destination{"SMN", `{"topic_urn":"urn:smn:r:p:t"}`})
	require.Equal(t, "/base/v2/p/notifications/topics/urn:smn:r:p:t/publish", r.path)
	require.Contains(t, r.authorization, "POST /base/v2/p/notifications/topics/urn:smn:r:p:t/publish")
	var message map[string]string
	require.NoError(t, json.Unmarshal([]byte(r.body), &message))
	require.Contains(t, message["message"], `"response_payload":{"a":1}`)

	r = next(&Destination{"DIS", `{"stream_name":"s"}`})
	require.Equal(t, "/base/v2/p/records", r.path)
	var records struct {
		Stream  string `json:"stream_name"`
		Records []struct{ Data string }
	}
	require.NoError(t, json.Unmarshal([]byte(r.body), &records))
	text, err := base64.StdEncoding.DecodeString(records.Records[0].Data)
	require.NoError(t, err)
	require.Contains(t, string(text), "request_context")

	r = next(&Destination{"FunctionGraph", `{"func_urn":"` + other + `:latest"}`})
	require.Equal(t, "/base/v2/p/fgs/functions/"+other+":latest/invocations-async", r.path)
	require.Equal(t, "20261123T000000Z", r.date)
	require.Equal(t, "1", r.hops)
	require.Contains(t, r.body, `"request_payload":{}`)

	service.Close()
	configure(t, q, &Destination{"SMN", `{"topic_urn":"t"}`}, nil)
	require.Equal(t, Success, waitStatus(t, q, accept(t, q, `{}`), Success).Status, "a service that is away changes no record")
}

// TestOutcomeBecomesAnEventOfItsDestinationFunction: an outcome becomes an event, of this function or of another one
// on the same server; functions that are each other's destinations do not go on for ever.
func TestOutcomeBecomesAnEventOfItsDestinationFunction(t *testing.T) {
	s := startServer(t, t.TempDir())
	folder := t.TempDir()
	other := &testFunction{}
	q2 := open(t, s, other, func(c *Config) {
		fn := *c.Function
		fn.Name = "other"
		c.Function, c.Folder, c.Log = &fn, folder, zap.NewNop()
	})
	require.NoError(t, q2.Start(t.Context()))
	first := &testFunction{}
	q := open(t, s, first, func(c *Config) { c.Folder, c.Log = folder, zap.NewNop() })
	configure(t, q, &Destination{"FunctionGraph", `{"func_urn":"urn:fss:r:p:function:default:other"}`}, nil)
	id := accept(t, q, `{"k":1}`)
	require.Eventually(t, func() bool { return other.calls() == 1 }, patience, time.Millisecond)
	require.Contains(t, other.events[0], `"request_id":"`+id+`"`)
	require.Contains(t, other.events[0], `"request_payload":{"k":1}`)
	require.Eventually(t, func() bool { // or what is set now would count for it
		p, err := q2.Records(t.Context(), &Filter{Status: Success, Limit: 1})
		return err == nil && p.Count == 1
	}, patience, time.Millisecond)

	configure(t, q2, &Destination{"FunctionGraph", `{"func_urn":"hello"}`}, nil)
	accept(t, q, `"round"`)
	require.Eventually(t, func() bool { return q.Counts()["notification_failures"]+q2.Counts()["notification_failures"] == 1 }, patience, time.Millisecond, "the loop ends")
	require.LessOrEqual(t, first.calls()+other.calls(), maxHops+3)

	configure(t, q, &Destination{"FunctionGraph", `{"func_urn":"nobody"}`}, nil)
	sent(t, filepath.Join(folder, "notifications/FunctionGraph/nobody", accept(t, q, `{}`)+".json"))
}

// TestUnsentOutcomeMessageIsSentByTheNextAgent: an outcome that was recorded while its outcome message was not handed
// over yet.
func TestUnsentOutcomeMessageIsSentByTheNextAgent(t *testing.T) {
	folder := t.TempDir()
	f := &testFunction{}
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.Folder = folder })
	q.Pause() // before it is opened: nothing is ever fetched
	e, err := q.engine(t.Context())
	require.NoError(t, err)
	id := accept(t, q, "{}")
	_, err = e.write(t.Context(), &Record{RequestID: id, Status: Success, Pending: &pending{Destination: Destination{"DIS", `{"stream_name":"s"}`}, Text: []byte(`{"n":1}`)}}, 0)
	require.NoError(t, err)
	q2 := open(t, nil, f, func(c *Config) { c.Folder, c.Connect = folder, q.cfg.Connect })
	require.NoError(t, q2.Start(t.Context()))
	require.Equal(t, 1.0, sent(t, filepath.Join(folder, "notifications/DIS/s", id+".json"))["n"])
	require.Zero(t, f.calls())
}

func TestReadEndpointsRefusesBadFilesWithoutShowingSecrets(t *testing.T) {
	name := filepath.Join(t.TempDir(), "endpoints.json")
	read := func(text string) error {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		_, err := destination.ReadEndpoints(name)
		return err
	}
	require.NoError(t, read(`{"obs": {"url": "https://obs.example.com", "access": "a", "secret": "s"}, "functions": {"urn:fss:r:p:function:default:f": {"url": "http://f:8079"}}}`))
	require.NoError(t, read("\xef\xbb\xbf{}"), "editors on Windows put a byte order mark before the text")
	for text, says := range map[string]string{
		`{`:                               "is not JSON of the form",
		`{"kafka": {}}`:                   "is not JSON of the form",
		`{"obs": {"secret": "hidden"}}`:   `obs needs "url"`,
		`{"obs": {"url": "hidden:22"}}`:   `obs needs "url"`,
		`{"functions": {"x": {"url":""}}`: "is not JSON",

		`{} and more`:              "something follows the JSON object",
		`{"functions": {"x": {}}}`: `x needs "url"`,
		`{"functions": {"nonsense here": {"url": "http://f"}}}`:         `functions: the function URN "nonsense here" has a field`,
		`{"smn": {"url": "http://f", "access": "hidden"}}`:              `smn has one of "access" and "secret"`,
		`{"functions": {"f": {"url": "http://f", "secret": "hidden"}}}`: `f has one of "access" and "secret"`,
	} {
		err := read(text)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "hidden")
	}
}

// TestCloseDoesNotWaitForAHangingDestination: the stop does not wait for it, and the outcome message is sent at the
// next start, not later.
func TestCloseDoesNotWaitForAHangingDestination(t *testing.T) {
	asked, answer := make(chan struct{}, 2), make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-answer
	}))
	defer service.Close()
	s, f := startServer(t, t.TempDir()), &testFunction{}
	change := func(c *Config) {
		c.Endpoints = &destination.Endpoints{SMN: destination.Endpoint{URL: service.URL}}
		c.Log = zap.NewNop()
	}
	q := open(t, s, f, change)
	configure(t, q, &Destination{"SMN", `{"topic_urn":"t"}`}, nil)
	accept(t, q, "{}")
	<-asked
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), destination.Timeout)
	defer cancel()
	q.Close(ctx)
	require.Less(t, time.Since(began), destination.Timeout*2/3)
	close(answer)
	q2 := open(t, s, f, change)
	require.NoError(t, q2.Start(t.Context()))
	select {
	case <-asked:
	case <-time.After(sendAckWait * 2 / 3):
		t.Fatal("it was not handed back")
	}
	require.Eventually(t, func() bool { return q2.Counts()["notified"] == 1 }, patience, time.Millisecond)
}

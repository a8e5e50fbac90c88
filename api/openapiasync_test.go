package api

import (
	"context"
	"encoding/json"
	"gantry/async"
	"gantry/auth"
	"gantry/fault"
	"gantry/instance"
	"gantry/runtime"
	"gantry/runtime/language"
	"go/ast"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// openAPIFunction plays the function: it answers some events, and keeps others until they are canceled or the test
// ends.
type openAPIFunction struct {
	running sync.Map // request id: chan struct{}
	end     context.Context
}

func (f *openAPIFunction) invoke(inv *fncontext.Invocation, started func() error, event []byte) ([]byte, *fault.Error) {
	started()
	switch string(event) {
	case `"good"`:
		return []byte(`"done"`), nil
	case `"bad"`:
		return nil, &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation, Body: []byte(`{"errorMessage":"m","errorType":"Error"}`)}
	}
	canceled := make(chan struct{})
	f.running.Store(inv.RequestID, canceled)
	select {
	case <-canceled:
	case <-f.end.Done():
	}
	return nil, &fault.Error{Kind: fault.Canceled, Type: fault.TypeCanceled, Code: fault.CodeCanceled, Message: "function invocation canceled"}
}

func (f *openAPIFunction) cancel(id string) bool {
	canceled, ok := f.running.LoadAndDelete(id)
	if ok {
		close(canceled.(chan struct{}))
	}
	return ok
}

// openAPIQueue is a queue for that many events, on a server in this process. It runs one at a time.
func openAPIQueue(t *testing.T, fn *fncontext.Function, events int64) (*async.Queue, *openAPIFunction) {
	t.Helper()
	s, err := server.NewServer(&server.Options{JetStream: true, StoreDir: t.TempDir(), DontListen: true, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(openAPIPatience))
	f := &openAPIFunction{end: t.Context()}
	q := async.New(&async.Config{
		Function: fn, Replicas: 1, MaxEvents: events, MaxBytes: 64 << 20, Parallel: 1, Retention: time.Hour, UserDelay: time.Millisecond,
		Connect: func(_ context.Context, options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect("", append(options, nats.InProcessServer(s))...)
		},
		Invoke: f.invoke, Cancel: f.cancel, Log: zap.NewNop(),
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), openAPIPatience)
		defer cancel()
		q.Close(ctx)
		s.Shutdown()
		s.WaitForShutdown()
	})
	return q, f
}

// asyncAnswers is the platform API with its queue, and what it answered.
type asyncAnswers struct {
	t   *testing.T
	doc openAPI
	*platformAPI
	fn    *openAPIFunction
	token string
	// seen has the codes by route and status; answers that are no refusals have an empty one.
	seen map[string]map[int]map[string]bool
}

const asyncEvents = recordLimit + 10

func newAsyncAnswers(t *testing.T) *asyncAnswers {
	t.Helper()
	a := &asyncAnswers{t: t, platformAPI: openAPIPlatform(t), seen: map[string]map[int]map[string]bool{}}
	a.doc, _ = readOpenAPI(t)
	a.Function.Aliases = []string{"prod"}
	nodejs, err := language.ByName("nodejs")
	require.NoError(t, err)
	a.Instance = instance.New(&instance.Config{Runtime: &runtime.Config{Language: nodejs}}) // never started
	a.Queue, a.fn = openAPIQueue(t, a.Function, asyncEvents)
	a.token = a.login("ci", "correct horse")
	return a
}

func (a *asyncAnswers) login(user, password string) string {
	a.t.Helper()
	ctx := openAPIRequest(a.platformAPI, "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"`+user+`","password":"`+password+`"}}},"scope":{"project":{"name":"local-1"}}}}`)
	require.Equal(a.t, fasthttp.StatusCreated, ctx.Response.StatusCode(), "%s", ctx.Response.Body())
	return string(ctx.Response.Header.Peek(headerSubjectToken))
}

// see holds an answer against the document.
func (a *asyncAnswers) see(method, path string, ctx *fasthttp.RequestCtx, status int) *fasthttp.RequestCtx {
	a.t.Helper()
	require.Equal(a.t, status, ctx.Response.StatusCode(), "%s %s %s: %s", method, path, ctx.URI().QueryString(), ctx.Response.Body())
	requireAnswer(a.t, a.doc, method, path, ctx, true)
	route := method + " " + path
	if a.seen[route] == nil {
		a.seen[route] = map[int]map[string]bool{}
	}
	if a.seen[route][status] == nil {
		a.seen[route][status] = map[string]bool{}
	}
	a.seen[route][status][codeOf(ctx)] = true
	return ctx
}

// send sends a request for the existing function, by an authorised user; more are headers.
func (a *asyncAnswers) send(status int, method, path, query, body string, more ...string) *fasthttp.RequestCtx {
	a.t.Helper()
	return a.see(method, path, openAPIRequest(a.platformAPI, method, a.uri(path, "hello")+"?"+query, body, append(more, "X-Auth-Token", a.token)...), status)
}

func (a *asyncAnswers) uri(path, urn string) string {
	return strings.NewReplacer("{project_id}", a.Function.Project, "{function_urn}", urn).Replace(path)
}

// Routes of the queue.
const (
	asyncAccept  = functionPath + "/invocations-async"
	asyncConfig  = functionPath + "/async-invoke-config"
	asyncConfigs = functionPath + "/async-invoke-configs"
	asyncRecords = functionPath + "/async-invocations"
	asyncActive  = functionPath + "/active-async-invocations"
	asyncCancel  = functionPath + "/cancel"
)

// accept sends an event and returns its request id.
func (a *asyncAnswers) accept(event string) string {
	a.t.Helper()
	ctx := a.send(202, "POST", asyncAccept, "", event)
	var body struct {
		RequestID string `json:"request_id"`
	}
	require.NoError(a.t, json.Unmarshal(ctx.Response.Body(), &body))
	require.Equal(a.t, body.RequestID, string(ctx.Response.Header.Peek(headerRequestID)))
	require.Equal(a.t, body.RequestID, string(ctx.Response.Header.Peek(headerGatewayID)))
	return body.RequestID
}

// openAPIPage is an answer of a list.
type openAPIPage struct {
	Records        []recordJSON          `json:"invocations"`
	Configurations []async.Configuration `json:"async_invoke_configs"`
	Count          int                   `json:"count"`
	Next           int                   `json:"next_marker"`
	Info           pageInfo              `json:"page_info"`
}

func (p *openAPIPage) size() int { return len(p.Records) + len(p.Configurations) }

func (a *asyncAnswers) list(path, query string) (page openAPIPage) {
	a.t.Helper()
	require.NoError(a.t, json.Unmarshal(a.send(200, "GET", path, query, "").Response.Body(), &page))
	return page
}

func (a *asyncAnswers) await(id string, status async.Status) {
	a.t.Helper()
	require.Eventually(a.t, func() bool {
		page, err := a.Queue.Records(a.Instance.Base(), &async.Filter{IDs: []string{id}, Limit: 1})
		return err == nil && len(page.Records) == 1 && page.Records[0].Status == status
	}, openAPIPatience, 5*time.Millisecond, "%s %s", id, status)
}

// TestOpenAPIFitsEveryAsynchronousAnswer: each answer of the asynchronous routes fits the document, and each status
// and code in the document occurs.
func TestOpenAPIFitsEveryAsynchronousAnswer(t *testing.T) {
	a := newAsyncAnswers(t)
	a.records()
	a.configurations()
	a.queries()
	a.refusals()

	for _, r := range platformRoutes() {
		if r.target.action != auth.InvokeAsync {
			continue
		}
		name := r.method + " " + r.pattern
		want := map[int]map[string]bool{}
		for key, response := range members(member(member(member(a.doc["paths"], r.pattern), strings.ToLower(r.method)), "responses")) {
			status, err := strconv.Atoi(key)
			require.NoError(t, err)
			want[status] = map[string]bool{}
			for _, c := range apiCode.FindAllString(member(a.doc.resolve(response), "description").(string), -1) {
				want[status][c] = true
			}
			if status < fasthttp.StatusBadRequest {
				want[status][""] = true
			}
		}
		require.Equal(t, want, a.seen[name], name)
	}
}

// records leaves requests in every status, and a full queue.
func (a *asyncAnswers) records() {
	t := a.t
	good, bad := a.accept(`"good"`), a.accept(`"bad"`)
	a.await(good, async.Success)
	a.await(bad, async.Fail)
	long := a.accept(`"long"`)
	running := func() bool {
		_, ok := a.fn.running.Load(long)
		return ok
	}
	require.Eventually(t, running, openAPIPatience, time.Millisecond)
	a.await(long, async.Running)
	waiting, gone := a.accept("{}"), a.accept("")
	cancel := func(status int, body any) *fasthttp.RequestCtx {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		return a.send(status, "POST", asyncCancel, "", string(text))
	}
	kinds := list(member(member(member(a.doc.component("schemas", "Cancel"), "properties"), "type"), "enum"))
	require.NotEmpty(t, kinds)
	for _, kind := range kinds {
		body := map[string]any{"request_id": a.accept("{}"), "type": kind}
		text, err := json.Marshal(body)
		require.NoError(t, err)
		requireFits(t, a.doc, a.doc.component("schemas", "Cancel"), text)
		require.Equal(t, "{}", string(cancel(200, body).Response.Body()))
	}
	cancel(200, map[string]any{"request_id": gone})
	cancel(400, map[string]any{"request_id": gone})
	cancel(400, map[string]any{"request_id": waiting, "type": "other"})
	cancel(400, map[string]any{})
	media := member(member(member(member(member(a.doc["paths"], asyncCancel), "post"), "requestBody"), "content"), contentJSON)
	cancel(400, member(media, "example")) // a good request for what is not there

	ids := []string{good, bad, long, waiting, gone}
	page := a.list(asyncRecords, "requests=x&request_id=") // the one is not read here, the other is empty
	require.Equal(t, len(ids)+len(kinds), page.Count)
	var statuses []async.Status
	for i, r := range page.Records[:len(ids)] {
		require.Equal(t, ids[i], r.RequestID)
		require.Equal(t, r.Status == async.Wait || r.Status == async.Running, r.End == "", r.Status)
		statuses = append(statuses, r.Status)
	}
	require.Equal(t, []async.Status{async.Success, async.Fail, async.Running, async.Wait, async.Discard}, statuses)
	require.Equal(t, [2]int{fault.CodeInvocation, fault.CodeCanceled}, [2]int{page.Records[1].ErrorCode, page.Records[4].ErrorCode})

	require.Equal(t, bad, a.list(asyncRecords, "request_id="+bad).Records[0].RequestID)
	require.Equal(t, 2, a.list(asyncActive, "requests="+long+","+bad+","+waiting).Count, "one has ended")
	require.Equal(t, 1, a.list(asyncActive, "status=RUNNING").Count)
	require.Zero(t, a.list(asyncActive, "status=FAIL").Count)

	for range asyncEvents - 2 { // long and waiting are in the queue
		a.accept("{}")
	}
	a.send(429, "POST", asyncAccept, "", "{}")
	cancel(200, map[string]any{"request_id": long})
	a.await(long, async.Fail)
	require.Equal(t, fault.CodeCanceled, a.list(asyncRecords, "request_id="+long).Records[0].ErrorCode)
}

// configurations leaves more than one page of them.
func (a *asyncAnswers) configurations() {
	t := a.t
	a.send(404, "GET", asyncConfig, "", "")
	a.send(404, "DELETE", asyncConfig, "", "")
	empty := a.list(asyncConfigs, "")
	require.NotNil(t, empty.Configurations)
	require.Zero(t, empty.Count)

	// The document's own request is a good one.
	media := member(member(member(member(member(a.doc["paths"], asyncConfig), "put"), "requestBody"), "content"), contentJSON)
	example, err := json.Marshal(member(media, "example"))
	require.NoError(t, err)
	requireFits(t, a.doc, member(media, "schema"), example)
	var sent, stored map[string]any
	require.NoError(t, json.Unmarshal(example, &sent))
	require.NoError(t, json.Unmarshal(a.send(200, "PUT", asyncConfig, "", string(example)).Response.Body(), &stored))
	for name := range sent {
		require.Equal(t, sent[name], stored[name], name)
	}
	a.send(400, "PUT", asyncConfig, "", `{"max_async_retry_attempts":4}`)
	shown := a.send(200, "GET", asyncConfig, "", "").Response.Body()
	require.Contains(t, string(shown), a.Function.URN())
	gone := a.send(204, "DELETE", asyncConfig, "", "")
	require.Empty(t, gone.Response.Header.ContentType())
	a.send(404, "GET", asyncConfig, "", "")

	for i := range 110 {
		_, err := a.Queue.SetConfiguration(a.Instance.Base(), "", strconv.Itoa(i), a.Function.URN(), &async.Configuration{AgeSeconds: 1})
		require.NoError(t, err)
	}
	page := a.list(asyncConfigs, "marker=20&limit=15")
	require.Equal(t, pageInfo{Next: 35, Previous: 5, Current: 15}, page.Info)
	require.Equal(t, 110, page.Count)
	last := a.list(asyncConfigs, "marker=105")
	require.Equal(t, pageInfo{Previous: 95, Current: 5}, last.Info)
}

// queries tries each query parameter of each list with values that it may have and others; those that the document does
// not have for a list are not read there.
func (a *asyncAnswers) queries() {
	t := a.t
	wrong := map[string]string{
		"marker": "x", "limit": "x", "status": "x", "query_begin_time": "x", "query_end_time": "x",
		"requests": strings.Repeat("x,", maxIDs), "request_id": "x",
	}
	require.ElementsMatch(t, queryNames(t), slices.Collect(maps.Keys(wrong)))
	for _, path := range []string{asyncConfigs, asyncRecords, asyncActive} {
		whole := a.list(path, "")
		read := map[string]bool{}
		for _, p := range list(member(member(member(a.doc["paths"], path), "get"), "parameters")) {
			p = a.doc.resolve(p)
			if member(p, "in") != "query" {
				continue
			}
			name := member(p, "name").(string)
			read[name] = true
			good, bad := queryValues(p)
			for _, v := range good {
				a.list(path, name+"="+v)
			}
			for _, v := range bad {
				require.Equal(t, fault.APIQuery, codeOf(a.send(400, "GET", path, name+"="+v, "")))
			}
			if name == "limit" {
				a.pages(path, member(p, "schema"))
			}
		}
		for name, v := range wrong {
			if !read[name] {
				require.Equal(t, whole.Count, a.list(path, name+"="+v).Count, "%s reads %s", path, name)
			}
		}
	}

	var statuses []any
	for _, s := range async.Statuses() {
		statuses = append(statuses, string(s))
	}
	require.ElementsMatch(t, statuses, member(member(a.doc.component("parameters", "status"), "schema"), "enum"))
	require.ElementsMatch(t, statuses, member(member(member(a.doc.component("schemas", "Record"), "properties"), "status"), "enum"))
}

// pages tries the limit: without one, with none, with the largest and beyond.
func (a *asyncAnswers) pages(path string, schema any) {
	fallback, most := int(member(schema, "default").(float64)), int(member(schema, "maximum").(float64))
	for query, want := range map[string]int{"": fallback, "limit=0": fallback, "limit=3": 3, "limit=" + strconv.Itoa(most): most} {
		page := a.list(path, query)
		require.Greater(a.t, page.Count, fallback)
		require.Equal(a.t, min(want, page.Count), page.size(), "%s %s", path, query)
	}
	over := "limit=" + strconv.Itoa(most+1)
	if path == asyncConfigs { // counts as the largest
		page := a.list(path, over)
		require.Greater(a.t, page.Count, most)
		require.Equal(a.t, most, page.size())
		return
	}
	a.send(400, "GET", path, over, "")
}

// queryValues returns values that a query parameter may and may not have.
func queryValues(p any) (good, bad []string) {
	schema := member(p, "schema")
	switch name := member(p, "name").(string); {
	case member(schema, "type") == "integer":
		least := int(member(schema, "minimum").(float64))
		return []string{"", strconv.Itoa(least)}, []string{strconv.Itoa(least - 1), "x", "1.5"}
	case member(schema, "enum") != nil:
		for _, v := range list(member(schema, "enum")) {
			good = append(good, v.(string))
		}
		return append(good, ""), []string{"x"}
	case member(schema, "type") == "array":
		id := list(member(p, "example"))[0].(string)
		most := int(member(schema, "maxItems").(float64))
		ids := strings.TrimSuffix(strings.Repeat(id+",", most), ",")
		return []string{"", id, ids}, []string{ids + "," + id}
	case strings.HasSuffix(name, "_time"):
		at := member(p, "example").(string)
		return []string{"", at, at + "Z", at + "-08:00"}, []string{"x", "1769903999"}
	}
	return []string{"", member(p, "example").(string)}, nil
}

// queryNames returns the query parameters that the asynchronous routes read, from the source.
func queryNames(t *testing.T) []string {
	t.Helper()
	names := map[string]bool{}
	ast.Inspect(source(t, "asynchronous.go"), func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		at := -1
		switch f := call.Fun.(type) {
		case *ast.Ident:
			if f.Name == "number" || f.Name == "moment" {
				at = 1
			}
		case *ast.SelectorExpr:
			if f.Sel.Name == "Peek" {
				at = 0
			}
		}
		if at >= 0 && at < len(call.Args) {
			if _, ok := call.Args[at].(*ast.BasicLit); ok {
				names[literal(t, call.Args[at])] = true
			}
		}
		return true
	})
	return slices.Collect(maps.Keys(names))
}

// refusals has what each route refuses, and the two of the status log, which need no queue.
func (a *asyncAnswers) refusals() {
	t := a.t
	idle := a.login("idle", "battery staple")
	ungated, without := *a.PlatformConfig, *a.PlatformConfig
	gate, err := auth.Open(&auth.Config{ProjectID: a.Function.Project, Project: a.Function.Region, Log: zap.NewNop()})
	require.NoError(t, err)
	ungated.Gate, without.Queue, without.NoQueue = gate, nil, "there is none"
	for _, r := range platformRoutes() {
		if r.target.action != auth.InvokeAsync {
			continue
		}
		ask := func(status int, uri, body string, headers ...string) {
			t.Helper()
			a.see(r.method, r.pattern, openAPIRequest(a.platformAPI, r.method, uri, body, headers...), status)
		}
		uri := a.uri(r.pattern, "hello")
		ask(401, uri, "")
		ask(403, uri, "", "X-Auth-Token", idle)
		ask(413, uri, strings.Repeat(" ", r.target.limit+1), "X-Auth-Token", a.token)
		for _, kind := range []fault.Kind{fault.Invalid, fault.Internal} {
			x := openAPIExchange(&fasthttp.Request{})
			a.refuse(x, &fault.Error{Kind: kind, Message: "m"})
			a.see(r.method, r.pattern, x.ctx, apiAnswers[kind].status)
		}
		if strings.Contains(r.pattern, "{function_urn}") {
			ask(400, a.uri(r.pattern, "a:b:c:d:e"), "", "X-Auth-Token", a.token)
			for _, urn := range []string{"other", a.Function.Project + ":default:hello:other", a.Function.Project + ":default:hello:!other"} {
				ask(404, a.uri(r.pattern, urn), "", "X-Auth-Token", a.token)
			}
			a.see(r.method, r.pattern, openAPIRequest(newPlatformAPI(&without, false), r.method, uri, "", "X-Auth-Token", a.token), 503)
			continue
		}
		ask(400, strings.Replace(uri, a.Function.Project, "%zz", 1), "", "X-Auth-Token", a.token)
		ask(200, uri, "", "X-Auth-Token", a.token)
		other := strings.Replace(uri, a.Function.Project, "other", 1)
		a.see(r.method, r.pattern, openAPIRequest(newPlatformAPI(&ungated, false), r.method, other, ""), 404)
	}
	a.send(400, "POST", asyncAccept, "", "{}", headerMemory, "1")
}

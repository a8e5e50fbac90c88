package api

import (
	"encoding/json"
	"fmt"
	"gantry/async"
	"gantry/auth"
	"gantry/fault"
	"gantry/instance"
	"gantry/metrics"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

const openAPIFile = "../docs/openapi.json"

// apiCode finds the platform's codes in a text.
var apiCode = regexp.MustCompile(`(FSS|APIGW)\.\d{4}`)

// openAPI is docs/openapi.json, parsed.
type openAPI map[string]any

func readOpenAPI(t *testing.T) (doc openAPI, text string) {
	t.Helper()
	raw, err := os.ReadFile(openAPIFile)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &doc))
	return doc, string(raw)
}

// resolve follows the reference that v may be. A reference that leads nowhere is nil.
func (d openAPI) resolve(v any) any {
	for {
		target, ok := member(v, "$ref").(string)
		if !ok {
			return v
		}
		v = map[string]any(d)
		for name := range strings.SplitSeq(strings.TrimPrefix(target, "#/"), "/") {
			v = member(v, name)
		}
	}
}

// member is v's member, or nil if there is none.
func member(v any, name string) any {
	m, _ := v.(map[string]any)
	return m[name]
}

func members(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// component returns what lies in one of the folders of components; nil if nothing does.
func (d openAPI) component(folder, name string) any {
	return member(member(d["components"], folder), name)
}

// operations visits every operation of the document.
func (d openAPI) operations(visit func(method, path string, op map[string]any)) {
	for path, item := range members(d["paths"]) {
		for method, op := range members(item) {
			visit(strings.ToUpper(method), path, members(op))
		}
	}
}

// response returns what the document says of an answer with this status.
func (d openAPI) response(method, path string, status int) any {
	op := member(member(d["paths"], path), strings.ToLower(method))
	return d.resolve(member(member(op, "responses"), strconv.Itoa(status)))
}

// TestOpenAPIHasExactlyTheRoutesOfTheTable: the document has the routes of the table, and no others.
func TestOpenAPIHasExactlyTheRoutesOfTheTable(t *testing.T) {
	doc, _ := readOpenAPI(t)
	var want, got []string
	open, limit := map[string]bool{}, map[string]int{}
	for _, r := range platformRoutes() {
		name := r.method + " " + r.pattern
		want = append(want, name)
		open[name], limit[name] = r.target.open, r.target.limit
	}
	ids := map[string]bool{}
	name := regexp.MustCompile(`\{([^}]*)\}`)
	doc.operations(func(method, path string, op map[string]any) {
		route := method + " " + path
		got = append(got, route)
		id, _ := op["operationId"].(string)
		require.NotEmpty(t, id, route)
		require.False(t, ids[id], "operationId %s is there twice", id)
		ids[id] = true

		security := []any{map[string]any{"token": []any{}}, map[string]any{"signature": []any{}}}
		if open[route] {
			security = []any{}
		}
		require.Equal(t, any(security), op["security"], route)
		for _, s := range security {
			for scheme := range members(s) {
				require.NotNil(t, doc.component("securitySchemes", scheme), scheme)
			}
		}

		if body := op["requestBody"]; body != nil {
			require.Contains(t, member(body, "description"), fmt.Sprintf("p to %d bytes", limit[route]), route)
		}

		var inPath, declared []string
		for _, m := range name.FindAllStringSubmatch(path, -1) {
			inPath = append(inPath, m[1])
		}
		for _, p := range list(op["parameters"]) {
			if p = doc.resolve(p); member(p, "in") == "path" {
				require.Equal(t, true, member(p, "required"), route)
				declared = append(declared, member(p, "name").(string))
			}
		}
		require.ElementsMatch(t, inPath, declared, route)
	})
	require.ElementsMatch(t, want, got)
}

// TestOpenAPIReferencesResolveAndComponentsAreUsed: every reference can be resolved, and every component is referenced.
func TestOpenAPIReferencesResolveAndComponentsAreUsed(t *testing.T) {
	doc, _ := readOpenAPI(t)
	used := map[string]bool{"#/components/responses/Conflict": true} // waits for the first route that has it
	var walk func(v any)
	walk = func(v any) {
		if target, ok := member(v, "$ref").(string); ok {
			used[target] = true
			require.True(t, strings.HasPrefix(target, "#/"), target)
			require.NotNil(t, doc.resolve(v), target)
		}
		for _, item := range members(v) {
			walk(item)
		}
		for _, item := range list(v) {
			walk(item)
		}
	}
	walk(map[string]any(doc))
	for _, folder := range []string{"parameters", "headers", "responses", "schemas"} {
		require.NotEmpty(t, member(doc["components"], folder))
		for name := range members(member(doc["components"], folder)) {
			require.True(t, used["#/components/"+folder+"/"+name], "%s of %s is not used", name, folder)
		}
	}
}

// TestOpenAPIParametersMatchWhatTheCodeReads: the headers have the names and the values that the code reads and writes.
func TestOpenAPIParametersMatchWhatTheCodeReads(t *testing.T) {
	doc, _ := readOpenAPI(t)
	schema := func(folder, name string) any { return member(doc.component(folder, name), "schema") }
	sizes := []any{}
	for _, n := range memorySizes {
		sizes = append(sizes, float64(n))
	}
	require.Equal(t, any(sizes), member(schema("parameters", "X-Cff-Instance-Memory"), "enum"))
	versions := any([]any{versionText, versionJSON})
	require.Equal(t, versions, member(schema("parameters", "X-CFF-Request-Version"), "enum"))
	require.Equal(t, versions, member(schema("headers", "X-Cff-Response-Version"), "enum"))

	var got []string
	for key, p := range members(member(doc["components"], "parameters")) {
		name, _, _ := strings.Cut(key, ".") // limit is there twice
		require.Equal(t, name, member(p, "name"))
		if member(p, "in") == "header" {
			got = append(got, strings.ToLower(name))
		}
	}
	want := []string{headerRequestVersion, headerLogType, headerMemory, headerSubjectToken, headerProject, headerDomain, "Traceparent", "Tracestate"}
	for i := range want {
		want[i] = strings.ToLower(want[i])
	}
	require.ElementsMatch(t, want, got)

	require.EqualValues(t, fncontext.MaxURN, member(schema("parameters", "function_urn"), "maxLength"))
	forms := map[int]bool{}
	for name, example := range members(member(doc.component("parameters", "function_urn"), "examples")) {
		urn := member(example, "value").(string)
		_, err := fncontext.ParseURN(urn)
		require.NoError(t, err)
		fields := strings.Count(urn, ":") + 1
		require.True(t, strings.HasPrefix(name, strconv.Itoa(fields)+" field"), "%s: %s", name, urn)
		forms[fields] = true
	}
	require.Equal(t, map[int]bool{1: true, 2: true, 3: true, 4: true, 7: true, 8: true}, forms)
}

// TestOpenAPIErrorCodesMatchThoseOfTheCode: the document knows the statuses and codes of the code, and no other codes.
func TestOpenAPIErrorCodesMatchThoseOfTheCode(t *testing.T) {
	doc, text := readOpenAPI(t)
	known := constants(t, "../fault/fault.go", "API")
	require.Contains(t, known, fault.APINoRoute)
	statusOf := map[string]int{}
	for _, a := range apiAnswers {
		if a.code != "" {
			known = append(known, a.code)
			statusOf[a.code] = a.status
		}
	}
	for _, c := range known {
		require.True(t, strings.Contains(text, c), "the document does not mention %s", c)
	}
	for _, c := range apiCode.FindAllString(text, -1) {
		require.Contains(t, known, c)
	}

	used := map[int]bool{}
	doc.operations(func(method, path string, op map[string]any) {
		for key, r := range members(op["responses"]) {
			status, err := strconv.Atoi(key)
			require.NoError(t, err)
			used[status] = true
			if status < fasthttp.StatusBadRequest {
				continue
			}
			says, _ := member(doc.resolve(r), "description").(string)
			codes := apiCode.FindAllString(says, -1)
			require.NotEmpty(t, codes, "%s %s %s names no code", method, path, key)
			for _, c := range codes {
				if want, general := statusOf[c]; general {
					require.Equal(t, want, status, "%s %s %s names %s", method, path, key, c)
				}
			}
		}
	})
	for kind, a := range apiAnswers {
		switch {
		case kind == fault.Conflict: // no route has it yet
			require.NotNil(t, doc.component("responses", "Conflict"))
		case a.refused:
			require.True(t, used[a.status], "no route has status %d", a.status)
		}
	}
	require.True(t, used[apiAnswers[fault.Timeout].status], "the gateway's own time limit")
}

// constants returns the values of the constants of a file whose names begin with prefix. They are read from the source:
// a list here would miss the next one.
func constants(t *testing.T, file, prefix string) (values []string) {
	t.Helper()
	ast.Inspect(source(t, file), func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, prefix) {
			values = append(values, literal(t, spec.Values[0]))
		}
		return true
	})
	require.NotEmpty(t, values)
	return values
}

// tags returns the names in JSON of the members of a struct type, also read from the source.
func tags(t *testing.T, file, typ string) (names []string) {
	t.Helper()
	ast.Inspect(source(t, file), func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != typ {
			return true
		}
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			name, _, _ := strings.Cut(reflect.StructTag(literal(t, field.Tag)).Get("json"), ",")
			names = append(names, name)
		}
		return false
	})
	require.NotEmpty(t, names)
	return names
}

func source(t *testing.T, file string) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	return parsed
}

func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	text, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	require.NoError(t, err)
	return text
}

// openAPIPlatform is a platform API that has users, and no agent: what it answers before a call begins is real.
func openAPIPlatform(t *testing.T) *platformAPI {
	t.Helper()
	fn := &fncontext.Function{Project: "00000000000000000000000000000000", Region: "local-1", Package: "default", Name: "hello", Version: "latest"}
	file := filepath.Join(t.TempDir(), "users.json")
	require.NoError(t, os.WriteFile(file, []byte(openAPIUsers), 0o600))
	gate, err := auth.Open(&auth.Config{UsersFile: file, ProjectID: fn.Project, Project: fn.Region, Secure: true, Log: zap.NewNop()})
	require.NoError(t, err)
	return newPlatformAPI(&PlatformConfig{Function: fn, Gate: gate, Metrics: metrics.NewMetrics(instance.Outcomes()), Log: zap.NewNop()}, true)
}

// openAPIRequest hands the platform API a request. headers are names and values in turn.
func openAPIRequest(p *platformAPI, method, uri, body string, headers ...string) *fasthttp.RequestCtx {
	var request fasthttp.Request
	request.Header.SetMethod(method)
	request.SetRequestURI(uri)
	request.Header.SetHost("127.0.0.1:8079")
	request.SetBodyString(body)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	x := openAPIExchange(&request)
	p.serve(x.ctx)
	return x.ctx
}

func openAPIExchange(request *fasthttp.Request) *exchange {
	x := &exchange{ctx: &fasthttp.RequestCtx{}, id: uuid.NewString()}
	x.ctx.Init(request, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil)
	x.ctx.Response.Header.SetNoDefaultContentType(true) // as the server does
	return x
}

// TestRealAnswersFitTheOpenAPISchemas: real answers of the routes fit what the document says of them.
func TestRealAnswersFitTheOpenAPISchemas(t *testing.T) {
	doc, _ := readOpenAPI(t)
	p := openAPIPlatform(t)
	const tokens, projects, domains, invocations = "/v3/auth/tokens", "/v3/projects", "/v3/auth/domains", functionPath + "/invocations"
	call := func(urn string) string { return "/v2/" + p.Function.Project + "/fgs/functions/" + urn + "/invocations" }
	login := func(user, password, scope string) string {
		return `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"` + user + `","password":"` + password + `"}}},"scope":` + scope + `}}`
	}
	token := func(body string) string {
		ctx := openAPIRequest(p, fasthttp.MethodPost, tokens, body)
		require.Equal(t, fasthttp.StatusCreated, ctx.Response.StatusCode(), "%s", ctx.Response.Body())
		requireAnswer(t, doc, fasthttp.MethodPost, tokens, ctx, true)
		return string(ctx.Response.Header.Peek(headerSubjectToken))
	}

	// The document's own request is a good one.
	media := member(member(member(member(member(doc["paths"], tokens), "post"), "requestBody"), "content"), contentJSON)
	example, err := json.Marshal(member(media, "example"))
	require.NoError(t, err)
	requireFits(t, doc, member(media, "schema"), example)
	good := token(string(example))
	ofDomain, unscoped := token(login("ci", "correct horse", `{"domain":{"name":"local"}}`)), token(login("ci", "correct horse", `{}`))
	idle := token(login("idle", "battery staple", `{"project":{"name":"local-1"}}`))

	for _, c := range []struct {
		status            int
		method, path, uri string
		body, token       string
		headers           []string
	}{
		{status: 400, method: "POST", path: tokens, body: `{}`},
		{status: 401, method: "POST", path: tokens, body: login("ci", "wrong", `{}`)},
		{status: 404, method: "POST", path: tokens, body: login("ci", "correct horse", `{"project":{"name":"other"}}`)},
		{status: 413, method: "POST", path: tokens, body: strings.Repeat(" ", identityBodyLimit+1)},
		{status: 200, method: "GET", path: tokens, token: good, headers: []string{headerSubjectToken, good}},
		{status: 200, method: "GET", path: tokens, uri: tokens + "?nocatalog=true", token: good, headers: []string{headerSubjectToken, good}},
		{status: 200, method: "GET", path: tokens, token: good, headers: []string{headerSubjectToken, ofDomain}},
		{status: 200, method: "HEAD", path: tokens, token: good, headers: []string{headerSubjectToken, unscoped}},
		{status: 400, method: "GET", path: tokens, token: good},
		{status: 401, method: "GET", path: tokens, headers: []string{headerSubjectToken, good}},
		{status: 404, method: "GET", path: tokens, token: good, headers: []string{headerSubjectToken, "wrong"}},
		{status: 413, method: "GET", path: tokens, body: strings.Repeat(" ", identityBodyLimit+1)},
		{status: 200, method: "GET", path: domains, token: good},
		{status: 401, method: "GET", path: domains},
		{status: 200, method: "GET", path: projects, token: good},
		{status: 200, method: "GET", path: projects, uri: projects + "?name=other", token: good},
		{status: 401, method: "GET", path: projects},
		{status: 400, method: "POST", path: invocations, uri: call("a:b:c:d:e"), token: good},
		{status: 400, method: "POST", path: invocations, uri: call("hello"), token: good, headers: []string{headerMemory, "1"}},
		{status: 400, method: "POST", path: invocations, uri: call("hello"), token: good, headers: []string{headerRequestVersion, "v2"}},
		{status: 401, method: "POST", path: invocations, uri: call("hello")},
		{status: 403, method: "POST", path: invocations, uri: call("hello"), token: idle},
		{status: 403, method: "POST", path: invocations, uri: call("hello"), token: ofDomain},
		{status: 404, method: "POST", path: invocations, uri: call("other"), token: good},
		{status: 413, method: "POST", path: invocations, uri: call("hello"), body: strings.Repeat(" ", MaxEvent+1)},
	} {
		if c.token != "" {
			c.headers = append(c.headers, "X-Auth-Token", c.token)
		}
		if c.uri == "" {
			c.uri = c.path
		}
		ctx := openAPIRequest(p, c.method, c.uri, c.body, c.headers...)
		require.Equal(t, c.status, ctx.Response.StatusCode(), "%s %s: %s", c.method, c.uri, ctx.Response.Body())
		requireAnswer(t, doc, c.method, c.path, ctx, false)
	}

	// What any route may answer, before it is looked for or by a panic.
	doc.operations(func(method, path string, _ map[string]any) {
		for _, kind := range []fault.Kind{fault.Invalid, fault.Forbidden, fault.TooLarge, fault.Internal} {
			x := openAPIExchange(&fasthttp.Request{})
			p.refuse(x, &fault.Error{Kind: kind, Message: "m"})
			requireAnswer(t, doc, method, path, x.ctx, false)
		}
	})

	// Every member that the code reads of a login is in the document.
	var whole loginBody
	whole.Auth.Identity.Methods = []string{"password"}
	whole.Auth.Scope.Project, whole.Auth.Scope.Domain = &named{}, &named{}
	body, err := json.Marshal(whole)
	require.NoError(t, err)
	requireFits(t, doc, doc.component("schemas", "Login"), body)
}

// TestOpenAPIFitsEveryOutcomeOfAnInvocation: however a call ends, its answer fits in both forms.
func TestOpenAPIFitsEveryOutcomeOfAnInvocation(t *testing.T) {
	doc, _ := readOpenAPI(t)
	p := openAPIPlatform(t)
	const path = functionPath + "/invocations"
	tail := []byte("a line\n")
	// A function may put more into its errors; those here have what the document names.
	failure := maps.Clone(members(doc.component("schemas", "FunctionError")))
	delete(failure, "additionalProperties")
	results := []instance.Result{
		{Body: []byte(`{"a":1}`), Tail: tail, Summary: instance.Summary{Duration: 1500 * time.Microsecond, Billed: 2 * time.Millisecond, MemoryMB: 128, MemoryUsed: 41.5}},
		{Body: []byte("text"), Text: true, Tail: tail},
		{Tail: tail}, // undefined
		{Fault: &fault.Error{Kind: fault.Function, Code: fault.CodeEntry, Body: []byte("bare text")}, Tail: tail},
		{Fault: &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation, Body: []byte(`{"errorMessage":"m","errorType":"Error","stackTrace":["at f"]}`)}, Tail: tail},
	}
	for _, kind := range fault.Kinds() {
		switch kind {
		case fault.TooLarge, fault.Unauthorized, fault.Forbidden, fault.NotFound, fault.Conflict: // never a call's
		case fault.Throttled: // before there is a log
			results = append(results, instance.Result{Fault: &fault.Error{Kind: kind, Code: fault.CodeMaxInstances, Message: "m"}})
		case fault.Canceled:
			results = append(results, instance.Result{Tail: tail, Fault: &fault.Error{Kind: kind, Type: fault.TypeCanceled, Code: fault.CodeCanceled, Message: "m"}})
		default:
			results = append(results, instance.Result{Tail: tail, Fault: &fault.Error{
				Kind: kind, Type: "Some.Type", Code: fault.CodeExited, Message: "m", Hint: "h", Stderr: []string{"line"}, Body: workerBody(kind),
			}})
		}
	}
	statuses, codes := map[float64]bool{}, map[string]bool{} // of v1 bodies
	for i := range results {
		r := &results[i]
		for _, version := range []string{versionText, versionJSON} {
			for _, p.local = range []bool{false, true} {
				x := openAPIExchange(&fasthttp.Request{})
				p.writeInvocation(x, version, r)
				requireAnswer(t, doc, fasthttp.MethodPost, path, x.ctx, true)

				// Any JSON is an answer of v0, so the document's schema of the body says too little here.
				answer := x.ctx.Response.Body()
				isJSON := string(x.ctx.Response.Header.ContentType()) == contentJSON
				switch {
				case x.ctx.Response.StatusCode() != fasthttp.StatusOK:
				case version == versionJSON:
					requireFits(t, doc, doc.component("schemas", "Invocation"), answer)
					var v any
					require.NoError(t, json.Unmarshal(answer, &v))
					code, _ := member(v, "error_code").(string)
					statuses[member(v, "status").(float64)], codes[code] = true, true
				case r.Fault != nil && isJSON:
					requireFits(t, doc, failure, answer)
				}
			}
		}
	}

	status := member(member(doc.component("schemas", "Invocation"), "properties"), "status")
	require.Len(t, statuses, len(list(member(status, "enum"))), "each status of a v1 body can come")
	canceled := strconv.Itoa(fault.CodeCanceled)
	require.True(t, codes[canceled], "a canceled call is an answer")
	require.Contains(t, member(doc.component("headers", "X-Func-Err-Code"), "description"), canceled)

	requireFits(t, doc, doc.component("schemas", "Error"), appendError(nil, fault.APINoRoute, "m"))
	requireFits(t, doc, doc.component("schemas", "Summary"), appendSummary(nil, &results[0].Summary))
}

// workerBody is what the worker says of a failure that it reports itself.
func workerBody(kind fault.Kind) []byte {
	if kind == fault.Function || kind == fault.Event {
		return []byte(`{"errorMessage":"m","errorType":"SyntaxError"}`)
	}
	return nil
}

// TestOpenAPIConfigurationsMatchWhatTheCodeParses: the document has the members of a configuration that the code
// reads and writes, with their ranges and defaults, and the kinds of destinations with what each needs.
func TestOpenAPIConfigurationsMatchWhatTheCodeParses(t *testing.T) {
	doc, _ := readOpenAPI(t)
	schema := func(name string) any { return doc.component("schemas", name) }
	properties := func(schema any) map[string]any { return members(member(schema, "properties")) }
	for name, typ := range map[string][2]string{
		"ConfigurationRequest": {"../async/configuration.go", "request"},
		"Configuration":        {"../async/configuration.go", "Configuration"},
		"Destinations":         {"../async/configuration.go", "destinations"},
		"Record":               {"asynchronous.go", "recordJSON"},
		"PageInfo":             {"asynchronous.go", "pageInfo"},
	} {
		require.ElementsMatch(t, tags(t, typ[0], typ[1]), slices.Collect(maps.Keys(properties(schema(name)))), name)
	}

	// hold compares what the code says of a body with what the document says, and with what it should be.
	hold := func(fine bool, body any) *async.Configuration {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		c, parseErr := async.ParseConfiguration(text)
		var v any
		require.NoError(t, json.Unmarshal(text, &v))
		docErr := doc.check("", schema("ConfigurationRequest"), v)
		require.Equal(t, fine, parseErr == nil, "%s: %v", text, parseErr)
		require.Equal(t, fine, docErr == nil, "%s: %v", text, docErr)
		return c
	}
	// ranges tries the ends of the range of each number, and what lies beyond them.
	ranges := func(schema any, put func(name string, n any) any) (numbers int) {
		for name, p := range properties(schema) {
			if member(p, "type") != "integer" {
				continue
			}
			numbers++
			least, most := member(p, "minimum").(float64), member(p, "maximum").(float64)
			hold(true, put(name, least))
			hold(true, put(name, most))
			hold(false, put(name, least-1))
			hold(false, put(name, most+1))
			hold(false, put(name, "1"))
		}
		return numbers
	}
	require.Equal(t, 2, ranges(schema("ConfigurationRequest"), func(name string, n any) any { return map[string]any{name: n} }))

	text, err := json.Marshal(hold(true, map[string]any{}))
	require.NoError(t, err)
	var defaults map[string]any
	require.NoError(t, json.Unmarshal(text, &defaults))
	for name, p := range properties(schema("ConfigurationRequest")) {
		if value, ok := members(p)["default"]; ok {
			require.Equal(t, value, defaults[name], name)
			delete(defaults, name)
		}
	}
	for _, name := range []string{"max_async_event_age_in_seconds", "max_async_retry_attempts", "enable_async_status_log"} {
		require.NotContains(t, defaults, name, "the document has its default")
	}

	var kinds, all []string
	numbers := 0
	for _, kind := range list(member(schema("Destination"), "anyOf")) {
		d := properties(doc.resolve(kind))
		name := list(member(d["destination"], "enum"))[0].(string)
		kinds = append(kinds, name)
		param := member(d["param"], "contentSchema")
		all = append(all, slices.Collect(maps.Keys(properties(param)))...)
		sent := func(param any) any {
			text, ok := param.(string)
			if !ok {
				b, err := json.Marshal(param)
				require.NoError(t, err)
				text = string(b)
			}
			return map[string]any{"destination_config": map[string]any{"on_failure": map[string]string{"destination": name, "param": text}}}
		}
		example := list(member(d["param"], "examples"))[0].(string)
		require.Equal(t, example, hold(true, sent(example)).Destinations.OnFailure.Param)
		hold(false, sent("no JSON"))
		hold(false, sent(`"text"`))
		var whole map[string]any
		require.NoError(t, json.Unmarshal([]byte(example), &whole))
		for name := range properties(param) {
			less := maps.Clone(whole)
			require.Contains(t, less, name, "the example has every member")
			delete(less, name)
			hold(!slices.Contains(list(member(param, "required")), any(name)), sent(less))
		}
		numbers += ranges(param, func(name string, n any) any {
			other := maps.Clone(whole)
			other[name] = n
			return sent(other)
		})
	}
	require.Equal(t, 1, numbers)
	require.ElementsMatch(t, constants(t, "../async/destination/destination.go", ""), kinds)
	require.ElementsMatch(t, tags(t, "../async/destination/destination.go", "param"), all)
	hold(false, map[string]any{"destination_config": map[string]any{"on_success": map[string]string{"destination": "other", "param": "{}"}}})

	// Everything that an answer may have.
	whole := &async.Configuration{
		FunctionURN: "urn", AgeSeconds: 1, Created: "2026-01-31T23:59:59+08:00", Modified: "2026-01-31T23:59:59Z", StatusLog: true,
		LogGroupID: "a", LogStreamID: "b", LogGroup: "c", LogStream: "d",
	}
	whole.Destinations.OnSuccess = &async.Destination{Kind: "SMN", Param: `{"topic_urn":"t"}`}
	whole.Destinations.OnFailure = &async.Destination{Kind: "DIS", Param: `{"stream_name":"s"}`}
	text, err = json.Marshal(whole)
	require.NoError(t, err)
	requireFits(t, doc, schema("Configuration"), text)
}

// openAPIPatience is how long a test waits for what happens elsewhere.
const openAPIPatience = 20 * time.Second

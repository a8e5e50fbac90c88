package api

import (
	"context"
	"encoding/json"
	"fmt"
	"gantry/agent"
	"gantry/async"
	"gantry/auth"
	"gantry/fault"
	"gantry/telemetry"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
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

// TestOpenAPIRoutes: the document has the routes of the table, and no others.
func TestOpenAPIRoutes(t *testing.T) {
	doc, _ := readOpenAPI(t)
	var want, got []string
	open, limit := map[string]bool{}, map[string]int{}
	for _, r := range routes() {
		name := r.method + " " + r.pattern
		want = append(want, name)
		open[name], limit[name] = r.open, r.limit
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

// TestOpenAPIReferences: every reference leads somewhere, and nothing lies there that nobody refers to.
func TestOpenAPIReferences(t *testing.T) {
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

// TestOpenAPIParameters: the headers have the names and the values that the code reads and writes.
func TestOpenAPIParameters(t *testing.T) {
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
	want := []string{headerRequestVersion, headerLogType, headerMemory, headerSubjectToken, "Traceparent", "Tracestate"}
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

// TestOpenAPIErrors: the document knows the statuses and codes of the code, and no other codes.
func TestOpenAPIErrors(t *testing.T) {
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

// constants returns the values of the constants of a file whose names begin so. They are read from the source: a list here
// would forget the next one.
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

// check says where v does not fit the schema; nil if it fits. A member that the schema does not name does not fit either,
// unless the schema says that there may be others.
func (d openAPI) check(at string, schema, v any) error {
	schema = d.resolve(schema)
	if err := checkType(at, member(schema, "type"), v); err != nil {
		return err
	}
	if enum := list(member(schema, "enum")); enum != nil && !slices.Contains(enum, v) {
		return fmt.Errorf("%s: %v is not one of %v", at, v, enum)
	}
	if err := d.checkForm(at, schema, v); err != nil {
		return err
	}
	for _, name := range list(member(schema, "required")) {
		if _, ok := members(v)[name.(string)]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	properties := members(member(schema, "properties"))
	for name, value := range members(v) {
		if p, ok := properties[name]; ok {
			if err := d.check(at+"."+name, p, value); err != nil {
				return err
			}
		} else if properties != nil && member(schema, "additionalProperties") != true {
			return fmt.Errorf("%s: the schema has no %s", at, name)
		}
	}
	if items := member(schema, "items"); items != nil {
		for i, item := range list(v) {
			if err := d.check(fmt.Sprintf("%s[%d]", at, i), items, item); err != nil {
				return err
			}
		}
	}
	alternatives := list(member(schema, "anyOf"))
	if len(alternatives) > 0 && !slices.ContainsFunc(alternatives, func(s any) bool { return d.check(at, s, v) == nil }) {
		return fmt.Errorf("%s: none of the alternatives fits", at)
	}
	return nil
}

// checkForm compares a number with its range, and a string with its form.
func (d openAPI) checkForm(at string, schema, v any) error {
	if n, ok := v.(float64); ok {
		if least, ok := member(schema, "minimum").(float64); ok && n < least {
			return fmt.Errorf("%s: %v is under %v", at, n, least)
		}
		if most, ok := member(schema, "maximum").(float64); ok && n > most {
			return fmt.Errorf("%s: %v is over %v", at, n, most)
		}
	}
	s, ok := v.(string)
	if !ok {
		return nil
	}
	if pattern, ok := member(schema, "pattern").(string); ok && !regexp.MustCompile(pattern).MatchString(s) {
		return fmt.Errorf("%s: %q is not of the form %s", at, s, pattern)
	}
	var err error
	switch member(schema, "format") {
	case "date-time":
		_, err = time.Parse(time.RFC3339, s)
	case "uuid":
		_, err = uuid.Parse(s)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if content := member(schema, "contentSchema"); content != nil {
		var inner any
		if err := json.Unmarshal([]byte(s), &inner); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		return d.check(at, content, inner)
	}
	return nil
}

// checkType compares with a JSON Schema type, or a list of them.
func checkType(at string, want, v any) error {
	got := "null"
	switch v := v.(type) {
	case map[string]any:
		got = "object"
	case []any:
		got = "array"
	case string:
		got = "string"
	case bool:
		got = "boolean"
	case float64:
		got = "number"
		if v == math.Trunc(v) {
			got = "integer"
		}
	}
	types := list(want)
	if want != nil && types == nil {
		types = []any{want}
	}
	if len(types) == 0 || slices.Contains(types, any(got)) || got == "integer" && slices.Contains(types, any("number")) {
		return nil
	}
	return fmt.Errorf("%s: %s where the schema says %v", at, got, want)
}

func requireFits(t *testing.T, doc openAPI, schema any, body []byte) {
	t.Helper()
	require.NotNil(t, schema)
	var v any
	require.NoError(t, json.Unmarshal(body, &v), "%s", body)
	require.NoError(t, doc.check("", schema, v), "%s", body)
}

// requireAnswer holds a whole answer, with its headers, against the document. With every set, each declared header has to
// be there.
func requireAnswer(t *testing.T, doc openAPI, method, path string, ctx *fasthttp.RequestCtx, every bool) {
	t.Helper()
	status := ctx.Response.StatusCode()
	r := doc.response(method, path, status)
	require.NotNil(t, r, "%s %s has no answer with status %d: %s", method, path, status, ctx.Response.Body())
	declared := map[string]any{}
	for name, h := range members(member(r, "headers")) {
		declared[strings.ToLower(name)] = doc.resolve(h)
	}
	seen := map[string]bool{}
	for name, value := range ctx.Response.Header.All() {
		key := strings.ToLower(string(name))
		if key == "content-type" || key == "server" {
			continue
		}
		require.NotNil(t, declared[key], "%s %s %d: header %s", method, path, status, name)
		seen[key] = true
		requireHeader(t, doc, declared[key], string(value))
	}
	for name, h := range declared {
		if every || member(h, "required") == true {
			require.True(t, seen[name], "%s %s %d: no header %s", method, path, status, name)
		}
	}
	if member(r, "content") == nil {
		require.Empty(t, ctx.Response.Body(), "%s %s %d", method, path, status)
		return
	}
	media := member(member(r, "content"), string(ctx.Response.Header.ContentType()))
	require.NotNil(t, media, "%s %s %d: %s", method, path, status, ctx.Response.Header.ContentType())
	if string(ctx.Response.Header.ContentType()) == contentJSON && len(ctx.Response.Body()) > 0 {
		requireFits(t, doc, member(media, "schema"), ctx.Response.Body())
	}
	if code := codeOf(ctx); code != "" {
		require.Contains(t, member(r, "description"), code+":", "%s %s %d: %s", method, path, status, ctx.Response.Body())
	}
}

// codeOf is the platform's code of a refusal; empty for other answers.
func codeOf(ctx *fasthttp.RequestCtx) string {
	var refusal struct {
		Code string `json:"error_code"`
	}
	if ctx.Response.StatusCode() < fasthttp.StatusBadRequest || json.Unmarshal(ctx.Response.Body(), &refusal) != nil {
		return ""
	}
	return refusal.Code
}

// requireHeader holds the value of a header against its schema, or against that of the JSON in it.
func requireHeader(t *testing.T, doc openAPI, header any, value string) {
	t.Helper()
	schema := member(header, "schema")
	if schema == nil {
		schema = member(member(member(header, "content"), contentJSON), "schema")
	}
	if member(schema, "type") == "string" {
		quoted, err := json.Marshal(value)
		require.NoError(t, err)
		value = string(quoted)
	}
	requireFits(t, doc, schema, []byte(value))
}

const openAPIUsers = `{"secret": "0123456789abcdef0123456789abcdef", "users": [
  {"name": "ci", "password": "correct horse", "actions": ["invoke", "invokeAsync"]},
  {"name": "idle", "password": "battery staple", "actions": []}]}`

// openAPIPlatform is a platform API that has users, and no agent: what it answers before a call begins is real.
func openAPIPlatform(t *testing.T) *platformAPI {
	t.Helper()
	fn := &fncontext.Function{Project: "00000000000000000000000000000000", Region: "local-1", Package: "default", Name: "hello", Version: "latest"}
	file := filepath.Join(t.TempDir(), "users.json")
	require.NoError(t, os.WriteFile(file, []byte(openAPIUsers), 0o600))
	gate, err := auth.Open(&auth.Config{UsersFile: file, ProjectID: fn.Project, Project: fn.Region, Secure: true, Log: zap.NewNop()})
	require.NoError(t, err)
	return &platformAPI{
		PlatformConfig: &PlatformConfig{Function: fn, Gate: gate, Metrics: telemetry.NewMetrics(agent.Outcomes()), Log: zap.NewNop()},
		local:          true,
	}
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

// TestOpenAPISchemas: real answers of the routes fit what the document says of them.
func TestOpenAPISchemas(t *testing.T) {
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

// TestOpenAPIInvocations: however a call ends, its answer fits in both forms.
func TestOpenAPIInvocations(t *testing.T) {
	doc, _ := readOpenAPI(t)
	p := openAPIPlatform(t)
	const path = functionPath + "/invocations"
	tail := []byte("a line\n")
	// A function may put more into its errors; those here have what the document names.
	failure := maps.Clone(members(doc.component("schemas", "FunctionError")))
	delete(failure, "additionalProperties")
	results := []agent.Result{
		{Body: []byte(`{"a":1}`), Tail: tail, Summary: agent.Summary{Duration: 1500 * time.Microsecond, Billed: 2 * time.Millisecond, MemoryMB: 128, MemoryUsed: 41.5}},
		{Body: []byte("text"), Text: true, Tail: tail},
		{Tail: tail}, // undefined
		{Fault: &fault.Error{Kind: fault.Function, Code: fault.CodeEntry, Body: []byte("bare text")}, Tail: tail},
		{Fault: &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation, Body: []byte(`{"errorMessage":"m","errorType":"Error","stackTrace":["at f"]}`)}, Tail: tail},
	}
	for _, kind := range fault.Kinds() {
		switch kind {
		case fault.TooLarge, fault.Unauthorized, fault.Forbidden, fault.NotFound, fault.Conflict: // never a call's
		case fault.Throttled: // before there is a log
			results = append(results, agent.Result{Fault: &fault.Error{Kind: kind, Code: fault.CodeMaxInstances, Message: "m"}})
		case fault.Canceled:
			results = append(results, agent.Result{Tail: tail, Fault: &fault.Error{Kind: kind, Type: fault.TypeCanceled, Code: fault.CodeCanceled, Message: "m"}})
		default:
			results = append(results, agent.Result{Tail: tail, Fault: &fault.Error{
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

// TestOpenAPIConfigurations: the document has the members of a configuration that the code reads and writes, with their
// ranges and defaults, and the kinds of destinations with what each needs.
func TestOpenAPIConfigurations(t *testing.T) {
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
	require.ElementsMatch(t, constants(t, "../async/destination.go", "kind"), kinds)
	require.ElementsMatch(t, tags(t, "../async/destination.go", "param"), all)
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

// openAPIFunction plays the function: it answers some events, and keeps others until they are canceled or the test ends.
type openAPIFunction struct {
	running sync.Map // request id: chan struct{}
	end     context.Context
}

func (f *openAPIFunction) invoke(inv *fncontext.Invocation, event []byte) ([]byte, *fault.Error) {
	inv.Started()
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
	a.Agent = agent.New(&agent.Config{}) // never started
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

// send is a request for the function that is there, by somebody who may; more are headers.
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
		page, err := a.Queue.Records(a.Agent.Base(), &async.Filter{IDs: []string{id}, Limit: 1})
		return err == nil && len(page.Records) == 1 && page.Records[0].Status == status
	}, openAPIPatience, 5*time.Millisecond, "%s %s", id, status)
}

// TestOpenAPIAsynchronous: each answer of the asynchronous routes fits the document, and each status and each code that the
// document has for them comes.
func TestOpenAPIAsynchronous(t *testing.T) {
	a := newAsyncAnswers(t)
	a.records()
	a.configurations()
	a.queries()
	a.refusals()

	for _, r := range routes() {
		if r.action != auth.InvokeAsync {
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
		_, err := a.Queue.SetConfiguration(a.Agent.Base(), "", strconv.Itoa(i), a.Function.URN(), &async.Configuration{AgeSeconds: 1})
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
	everybody, without := *a.PlatformConfig, *a.PlatformConfig
	gate, err := auth.Open(&auth.Config{ProjectID: a.Function.Project, Project: a.Function.Region, Log: zap.NewNop()})
	require.NoError(t, err)
	everybody.Gate, without.Queue, without.NoQueue = gate, nil, "there is none"
	for _, r := range routes() {
		if r.action != auth.InvokeAsync {
			continue
		}
		ask := func(status int, uri, body string, headers ...string) {
			t.Helper()
			a.see(r.method, r.pattern, openAPIRequest(a.platformAPI, r.method, uri, body, headers...), status)
		}
		uri := a.uri(r.pattern, "hello")
		ask(401, uri, "")
		ask(403, uri, "", "X-Auth-Token", idle)
		ask(413, uri, strings.Repeat(" ", r.limit+1), "X-Auth-Token", a.token)
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
			a.see(r.method, r.pattern, openAPIRequest(&platformAPI{PlatformConfig: &without}, r.method, uri, "", "X-Auth-Token", a.token), 503)
			continue
		}
		ask(400, strings.Replace(uri, a.Function.Project, "%zz", 1), "", "X-Auth-Token", a.token)
		ask(200, uri, "", "X-Auth-Token", a.token)
		other := strings.Replace(uri, a.Function.Project, "other", 1)
		a.see(r.method, r.pattern, openAPIRequest(&platformAPI{PlatformConfig: &everybody}, r.method, other, ""), 404)
	}
	a.send(400, "POST", asyncAccept, "", "{}", headerMemory, "1")
}

package http

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// adapters says in the environment where make test-triggers has put what npm installs.
const adapters = "GANTRY_TEST_ADAPTER_MODULES"

// adapter runs a framework as an event function. Its event is AWS's; loses are the parts of an exchange that do not
// come through API Gateway's, and still those that aws.js does not bring back either.
type adapter struct {
	name, wrapped string
	loses, still  []string
}

var adapterTable = []adapter{
	{
		name:    "serverless-http",
		wrapped: `require('serverless-http')(require('./express'), { binary: ['image/*', 'application/octet-stream'] })`,
		loses:   []string{"cookies", "ip"},
	},
	{
		name: "@codegenie/serverless-express",
		wrapped: `require('@codegenie/serverless-express')({
			app: require('./express'), binarySettings: { contentTypes: ['image/*', 'application/octet-stream'] } })`,
		loses: []string{"content type", "cookies", "ip", "not found", "query", "redirect", "twice"},
		still: []string{"not found"}, // Express asks its socket for more than the adapter has
	},
	{
		name: "@fastify/aws-lambda",
		wrapped: `require('@fastify/aws-lambda')(require('./fastify'), {
			binaryMimeTypes: ['image/png', 'application/octet-stream'] })`,
		loses: []string{"cookies"},
	},
	{
		name: "hono/aws-lambda", wrapped: `require('hono/aws-lambda').handle(require('./hono'))`,
		loses: []string{"cookies"},
	},
}

// TestAdaptersOfAWS runs each adapter behind the front, alone and with aws.js. docs/TRIGGERS.md has the table.
func TestAdaptersOfAWS(t *testing.T) {
	npm := os.Getenv(adapters)
	if _, err := os.Stat(filepath.Join(npm, "serverless-http")); err != nil || npm == "" {
		t.Skipf("adapters are not tested: run make test-triggers, which installs them (%s is %q)", adapters, npm)
	}
	for _, c := range adapterTable {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.loses, lost(t, npm, "const wrapped = "+c.wrapped+";"))
		})
		t.Run(c.name+" with aws.js", func(t *testing.T) {
			require.Equal(t, c.still, lost(t, npm, "const wrapped = require('./aws').aws("+c.wrapped+");"))
		})
	}
}

// lost are the parts of exchanges that an adapter does not carry, in order.
func lost(t *testing.T, npm, source string) []string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS("testdata/adapters")))
	require.NoError(t, os.Symlink(npm, filepath.Join(folder, "node_modules")))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "index.js"),
		[]byte(source+"\nexports.handler = (event, context) => wrapped(event, context);\n"), 0o600))
	agent, front := startFront(t, folder)
	works := map[string]bool{}
	for name, part := range parts {
		works[name] = part(func(method, target, contentType, body string) reply {
			return send(t, method, "http://"+front+target, contentType, body)
		})
	}
	agent.Stop()
	require.NotContains(t, agent.Stderr.String(), "DATA RACE")
	maps.DeleteFunc(works, func(_ string, ok bool) bool { return ok })
	if len(works) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(works))
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   string
}

// shows reports whether the answer is JSON that has a member with that value.
func (r reply) shows(member string, want any) bool {
	var got map[string]any
	return json.Unmarshal([]byte(r.body), &got) == nil && fmt.Sprint(got[member]) == fmt.Sprint(want)
}

func send(t *testing.T, method, url, contentType, body string) reply {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Cookie", "x=1; y=2")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return reply{resp.StatusCode, resp.Header, string(text)}
}

// asker sends a request.
type asker func(method, target, contentType, body string) reply

// parts are what an exchange may lose; each reports whether it is there.
var parts = map[string]func(ask asker) bool{
	"method and path": func(ask asker) bool {
		a := ask("GET", "/show", "", "")
		return a.status == 200 && a.shows("method", "GET") && a.shows("path", "/show") && a.shows("cookie", "x=1; y=2")
	},
	"query": func(ask asker) bool {
		return ask("GET", "/show?b=%C3%BC+x&c=", "", "").shows("query", map[string]any{"b": "ü x", "c": ""})
	},
	"ip": func(ask asker) bool { return ask("GET", "/show", "", "").shows("ip", "127.0.0.1") },
	"json": func(ask asker) bool {
		a := ask("POST", "/json", "application/json", `{"n":"ü"}`)
		return a.status == 201 && a.shows("got", map[string]any{"n": "ü"})
	},
	"form": func(ask asker) bool {
		a := ask("POST", "/form", "application/x-www-form-urlencoded", "a=1+2&b=%C3%BC")
		return a.shows("got", map[string]any{"a": "1 2", "b": "ü"})
	},
	"bytes": func(ask asker) bool {
		return ask("POST", "/bytes", "application/octet-stream", "\x00\xff\x01").body == "\x00\xff\x01"
	},
	"picture": func(ask asker) bool {
		return ask("GET", "/png", "", "").body == "\x89P\x00\xff"
	},
	"content type": func(ask asker) bool {
		a := ask("GET", "/html", "", "")
		return a.body == "<p>ü</p>" && strings.EqualFold(a.header.Get("Content-Type"), "text/html; charset=utf-8")
	},
	"cookies": func(ask asker) bool {
		set := ask("GET", "/cookies", "", "").header["Set-Cookie"]
		return len(set) == 2 && strings.HasPrefix(set[0], "a=1") && strings.HasPrefix(set[1], "b=2")
	},
	"twice": func(ask asker) bool {
		got := strings.Join(ask("GET", "/twice", "", "").header["X-Twice"], ",")
		return strings.ReplaceAll(got, " ", "") == "1,2"
	},
	"redirect": func(ask asker) bool {
		a := ask("GET", "/redirect", "", "")
		return a.status == 302 && a.header.Get("Location") == "/show"
	},
	"no content": func(ask asker) bool { return ask("GET", "/204", "", "").status == 204 },
	"not found":  func(ask asker) bool { return ask("GET", "/nope", "", "").status == 404 },
}

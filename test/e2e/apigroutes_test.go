package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const gatewayRoutes = `[
  {"path": "/users/{id}", "methods": ["GET", "PUT"]},
  {"path": "/users/me", "methods": ["GET"]},
  {"path": "/files/{proxy+}"}
]`

// TestFrontHasTheRoutesOfTheFile: their parameters reach the function, and everything else is the gateway's 404.
func TestFrontHasTheRoutesOfTheFile(t *testing.T) {
	t.Parallel()
	routes := filepath.Join(t.TempDir(), "routes.json")
	require.NoError(t, os.WriteFile(routes, []byte(gatewayRoutes), 0o600))
	r, front := gateway(t, gatewayFiles["nodejs"], "GANTRY_APIG_ROUTES="+routes)
	for request, want := range map[string]map[string]string{
		"GET /users/m%C3%BC%2F?a=b": {"id": "mü/"}, "PUT /users/me": {"id": "me"}, "GET /users/me": {}, "PURGE /files/a/b%20c": {"": "a/b%20c"},
	} {
		method, target, _ := strings.Cut(request, " ")
		e := readEvent(t, r.request(method, front+target, ""))
		require.Equal(t, want, e.PathParameters, request)
	}
	for request, want := range map[string]string{
		"GET /": "no route takes GET /", "GET /users/": "no route takes GET /users/", "DELETE /users/me": "this path has GET, PUT",
		"GET /files/": "no route takes", "GET /users/7/": "no route takes",
	} {
		method, target, _ := strings.Cut(request, " ")
		a := r.request(method, front+target, strings.Repeat("x", 100000))
		require.Contains(t, readRefusal(t, a, 404, "APIG.0101").Message, want)
		f := readRefusal(t, r.request(method, front+target, "", "X-Forwarded-For: 192.0.2.1"), 404, "APIG.0101")
		require.Equal(t, "The API does not exist or has not been published in the environment", f.Message)
	}
}

// TestFaultyRoutesAndOriginsEndTheStart: before anything runs, with the reason.
func TestFaultyRoutesAndOriginsEndTheStart(t *testing.T) {
	t.Parallel()
	routes := filepath.Join(t.TempDir(), "routes.json")
	require.NoError(t, os.WriteFile(routes, []byte(`[{"path": "/a{b}"}]`), 0o600))
	for setting, want := range map[string]string{
		"GANTRY_APIG_ROUTES=" + routes:                        `route 1, "/a{b}": "a{b}" is neither text nor {name}`,
		"GANTRY_APIG_ROUTES=/nonexistent":                     "no such file",
		"GANTRY_APIG_CORS=*":                                  `"*" is no origin: want scheme://host`,
		"GANTRY_APIG_CORS=http://a.example/x":                 "without a path",
		"GANTRY_APIG_CORS=,":                                  "want at least one origin",
		"GANTRY_APIG_ADDR=here":                               "want host:port or :port, or on, or off",
		"GANTRY_APIG_CORS=http://*.example":                   "without *",
		"GANTRY_APIG_CORS=http://localhost:3000,localhost:30": `"localhost:30" is no origin`,
	} {
		r := prepare(t, writeFiles(t, gatewayFiles["nodejs"]), "GANTRY_APIG_ADDR=127.0.0.1:0", setting)
		r.launch()
		require.Equal(t, 2, r.wait(), setting)
		name, _, _ := strings.Cut(setting, "=")
		require.Contains(t, r.stderr.String(), name+": ")
		require.Contains(t, r.stderr.String(), want)
	}
}

// TestFrontAnswersPreflightsOfListedOriginsOnly: and lets their pages read what it answers.
func TestFrontAnswersPreflightsOfListedOriginsOnly(t *testing.T) {
	t.Parallel()
	routes := filepath.Join(t.TempDir(), "routes.json")
	require.NoError(t, os.WriteFile(routes, []byte(gatewayRoutes), 0o600))
	r, front := gateway(t, gatewayFiles["nodejs"], "GANTRY_APIG_ROUTES="+routes, "GANTRY_APIG_CORS=http://localhost:3000, https://A.example")
	ask := func(path, origin string) answer {
		return r.request("OPTIONS", front+path, "", "Origin: "+origin, "Access-Control-Request-Method: PATCH", "Access-Control-Request-Headers: x-a, content-type")
	}
	for path, methods := range map[string]string{"/users/me": "GET, PUT", "/files/x": "PATCH"} {
		for _, origin := range []string{"http://localhost:3000", "https://a.example"} {
			a := ask(path, origin)
			require.Equal(t, 204, a.status, a.body)
			require.Equal(t, []string{origin, methods, "x-a, content-type", "true", "Origin"}, []string{
				a.header.Get("Access-Control-Allow-Origin"), a.header.Get("Access-Control-Allow-Methods"),
				a.header.Get("Access-Control-Allow-Headers"), a.header.Get("Access-Control-Allow-Credentials"), a.header.Get("Vary"),
			})
		}
		for _, origin := range []string{"http://localhost:3001", "null", "http://localhost", "https://a.example.evil.example"} {
			a := ask(path, origin)
			require.Equal(t, 403, a.status)
			require.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
		}
	}
	require.Equal(t, 404, ask("/nope", "https://a.example").status)
	for _, c := range []struct {
		path, origin, allowed string
		status                int
	}{
		{"/files/x", "https://a.example", "https://a.example", 200},
		{"/nope", "https://a.example", "https://a.example", 404},
		{"/files/x", "https://b.example", "", 200}, // the function decides
		{"/files/x", "", "", 200},
	} {
		a := r.request("GET", front+c.path, "", "Origin: "+c.origin)
		require.Equal(t, c.status, a.status)
		require.Equal(t, c.allowed, a.header.Get("Access-Control-Allow-Origin"))
	}
	a := r.request("GET", front+"/files/x", "", "Origin: https://a.example", `X-Answer: {"statusCode":200,"headers":{"Access-Control-Allow-Origin":"*"}}`)
	require.Equal(t, []string{"https://a.example"}, a.header["Access-Control-Allow-Origin"])
}

// TestFrontWithoutOriginsLeavesPreflightsToTheFunction: as API Gateway does for a method that the API has.
func TestFrontWithoutOriginsLeavesPreflightsToTheFunction(t *testing.T) {
	t.Parallel()
	r, front := gateway(t, gatewayFiles["nodejs"])
	a := r.request("OPTIONS", front+"/x", "", "Origin: http://localhost:3000", "Access-Control-Request-Method: PUT")
	e := readEvent(t, a)
	require.Equal(t, []string{"OPTIONS", "PUT"}, []string{e.Method, e.Headers["access-control-request-method"]})
	require.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
}

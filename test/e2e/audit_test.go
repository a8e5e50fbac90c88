package e2e

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// logged returns the fields of the lines of the agent's log, which is JSON here, that have this message.
func (r *running) logged(message string) (lines []map[string]string) {
	r.t.Helper()
	for line := range strings.Lines(r.stderr.String()) {
		if !strings.Contains(line, `"`+message+`"`) {
			continue
		}
		var fields map[string]any
		require.NoError(r.t, json.Unmarshal([]byte(line), &fields), line)
		texts := map[string]string{}
		for name, value := range fields {
			if text, ok := value.(string); ok {
				texts[name] = text
			}
		}
		lines = append(lines, texts)
	}
	return lines
}

// TestLogHasEveryAcceptedRequestAndReasonsOfRefusals: the agent's log says who was let in to do what, and why others
// were refused; every accepted request has its line, however many there are.
func TestLogHasEveryAcceptedRequestAndReasonsOfRefusals(t *testing.T) {
	r, _ := guarded(t, outcomes, "GANTRY_LOG_FORMAT=json")
	a, token := r.login("correct horse")
	const issued, accepted, refused = "platform API token issued", "platform API request accepted", "platform API request refused"
	r.stderr.WaitFor(t, issued)
	line := r.logged(issued)[0]
	require.Equal(t, []string{"ci", a.header.Get("X-Request-Id"), "127.0.0.1"}, []string{line["user"], line["request_id"], line["peer"]})

	ids := map[string]bool{}
	const calls = 20 // more than the sampling of refusals lets through
	for range calls {
		ids[r.call(`{}`, signature(apiAccess, apiSecret, "POST", invocations, `{}`)...).header.Get("X-Request-Id")] = true
	}
	a = r.request("GET", r.api+"/v3/projects", "", "X-Auth-Token: "+token)
	require.Equal(t, 200, a.status)
	r.stderr.WaitFor(t, `"route":"GET projects"`)
	lines := r.logged(accepted)
	require.Len(t, lines, calls+1)
	for _, line := range lines[:calls] {
		require.Equal(t, []string{"ci", "invoke", "POST invocations", "127.0.0.1"}, []string{line["user"], line["action"], line["route"], line["peer"]})
		require.True(t, ids[line["request_id"]], line["request_id"])
	}
	require.Equal(t, []string{"ci", "", a.header.Get("X-Request-Id")}, []string{lines[calls]["user"], lines[calls]["action"], lines[calls]["request_id"]})

	a = r.call(`{}`, "X-Auth-Token: "+token, "X-Cff-Log-Type: all")
	requireError(t, a, 400, "FSS.0400", "want tail")
	r.stderr.WaitFor(t, refused)
	line = r.logged(refused)[0]
	require.Equal(t, []string{"ci", "FSS.0400", `X-Cff-Log-Type is "all"; want tail, or nothing`, a.header.Get("X-Request-Id"), "127.0.0.1"},
		[]string{line["user"], line["code"], line["reason"], line["request_id"], line["peer"]})
	require.Len(t, r.logged(accepted), calls+1, "what is refused was not accepted")
	r.call(`{}`, signature(apiAccess, "wrong", "POST", invocations, `{}`)...)
	r.stderr.WaitFor(t, "Incorrect IAM authentication information: verify aksk signature fail")
}

// TestRequestsThatNameAnotherProjectOrAccountAreRefused: a request that names another project or account is not for
// here, on every route.
func TestRequestsThatNameAnotherProjectOrAccountAreRefused(t *testing.T) {
	r, _ := guarded(t, outcomes)
	_, token := r.login("correct horse")
	domain := struct{ Domains []struct{ ID string } }{}
	require.NoError(t, json.Unmarshal([]byte(r.request("GET", r.api+"/v3/auth/domains", "", "X-Auth-Token: "+token).body), &domain))
	routes := []struct{ method, path, body string }{
		{"POST", invocations, `{}`},
		{"GET", "/v3/projects", ""},
		{"GET", "/v3/auth/domains", ""},
		{"GET", "/v3/auth/tokens", ""},
		{"POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"ci","password":"correct horse"}}}}}`},
	}
	for _, to := range routes {
		ask := func(header ...string) answer {
			return r.request(to.method, r.api+to.path, to.body, append(header, "X-Auth-Token: "+token, "X-Subject-Token: "+token)...)
		}
		for _, good := range [][]string{{"X-Project-ID: " + apiProject}, {"X-Domain-ID: " + domain.Domains[0].ID}, {"x-project-id: " + apiProject, "x-domain-id: " + domain.Domains[0].ID}, {"X-Project-Id: ", "X-Domain-Id: "}} {
			require.Less(t, ask(good...).status, 300, "%s %s %s", to.method, to.path, good)
		}
		requireError(t, ask("X-Project-ID: other"), 403, "FSS.0403", `X-Project-Id names the project "other"`)
		requireError(t, ask("x-project-id: 0"+apiProject), 403, "FSS.0403", "which is not the one here")
		requireError(t, ask("X-Domain-ID: other"), 403, "FSS.0403", `X-Domain-Id names the account "other"`)
	}
	requireError(t, r.request("GET", r.api+"/v3/projects", "", "X-Project-Id: other"), 401, "APIGW.0301", "no credentials")
}

// TestShortIdentifierIsExplained: name:version is no form, and what it reads as is said.
func TestShortIdentifierIsExplained(t *testing.T) {
	r := ungated(t, outcomes)
	at := func(urn string) answer {
		return r.request("POST", r.api+strings.Replace(invocations, "hello", urn, 1), `{}`)
	}
	requireError(t, at("hello:latest"), 404, "FSS.1051", `"hello:latest", which reads as package "hello", function "latest": here is project `+apiProject)
	requireError(t, at("p1:default:hello"), 404, "FSS.1051", `reads as project "p1", package "default", function "hello"`)
	requireError(t, at("other"), 404, "FSS.1051", "Not found the function: here is")
	requireError(t, r.call(`{}`, "Host: evil.example"), 403, "FSS.0403", "set GANTRY_API_ADDR")
	require.Contains(t, r.request("POST", r.url+"/invoke", `{}`, "Host: evil.example").body, "set GANTRY_ADDR")
}

// TestCallersBehindAProxyAreDistinguishedDespitePorts: callers behind a proxy are distinguished by address even if a
// port follows it; where they cannot be, the log says so.
func TestCallersBehindAProxyAreDistinguishedDespitePorts(t *testing.T) {
	r, _ := guarded(t, outcomes, "GANTRY_API_BEHIND_PROXY=true", "GANTRY_API_ADDR=0.0.0.0:0")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(r.api, "http://"))
	require.NoError(t, err)
	r.api = "http://127.0.0.1:" + port
	from := func(peer, secret string) answer {
		return r.call(`{}`, append(signature(apiAccess, secret, "POST", invocations, `{}`), "X-Forwarded-For: "+peer)...)
	}
	for range 7 {
		require.Equal(t, 401, from("198.51.100.7:4711", "wrong").status)
	}
	requireError(t, from("198.51.100.7:4712", apiSecret), 401, "APIGW.0301", "AK access failed to reach the limit")
	require.Equal(t, 200, from("203.0.113.9:5555", apiSecret).status)
	require.Equal(t, 200, from(`"[2001:db8::1]:5555"`, apiSecret).status)
	require.NotContains(t, r.stderr.String(), "X-Forwarded-For")
	require.Equal(t, 200, from("unknown", apiSecret).status)
	r.stderr.WaitFor(t, "the last value of X-Forwarded-For is no address")
	require.Equal(t, 200, r.call(`{}`, signature(apiAccess, apiSecret, "POST", invocations, `{}`)...).status)
	r.stderr.WaitFor(t, "a request came without X-Forwarded-For")
}

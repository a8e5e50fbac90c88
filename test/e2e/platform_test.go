package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"gantry/auth"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	apiAccess  = "AKCI0000000000000001"
	apiSecret  = "SKCI000000000000000000000000000000000001"
	apiProject = "00000000000000000000000000000000"
	apiUsers   = `{"secret": "token-secret-0123456789abcdef0123456789", "domain": "acme", "users": [
  {"name": "ci", "password": "correct horse", "actions": ["invoke"], "keys": [{"access": "AKCI0000000000000001", "secret": "SKCI000000000000000000000000000000000001"}]}]}`
	invocations = "/v2/" + apiProject + "/fgs/functions/hello/invocations"
)

// ungated starts an agent for a one-file function named hello with the platform API open to all.
func ungated(t *testing.T, source string, env ...string) *running {
	t.Helper()
	return function(t, source, append([]string{"RUNTIME_FUNC_NAME=hello", "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_AUTH=none"}, env...)...)
}

// guarded starts one with the users of apiUsers.
func guarded(t *testing.T, source string, env ...string) (r *running, users string) {
	t.Helper()
	users = filepath.Join(t.TempDir(), "users.json")
	writeUsers(t, users, apiUsers)
	return function(t, source, append([]string{"RUNTIME_FUNC_NAME=hello", "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_USERS_FILE=" + users}, env...)...), users
}

func writeUsers(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(name+".new", name))
}

// call is one call of the function over the platform API.
func (r *running) call(event string, header ...string) answer {
	r.t.Helper()
	return r.request("POST", r.api+invocations, event, header...)
}

// signature returns the headers of a signed request.
func signature(access, secret, method, path, body string) []string {
	date, header, err := auth.Sign(&auth.Request{Method: method, Path: []byte(path), Body: []byte(body)}, access, secret, time.Now())
	if err != nil {
		panic(err) // the paths here are constants
	}
	return []string{"X-Sdk-Date: " + date, "Authorization: " + header}
}

// login returns the answer to a login and the token in it.
func (r *running) login(password string) (answer, string) {
	r.t.Helper()
	a := r.request("POST", r.api+"/v3/auth/tokens?nocatalog=1", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"ci","password":"`+password+`","domain":{"name":"acme"}}}},"scope":{"project":{"name":"local-1"}}}}`)
	return a, a.header.Get("X-Subject-Token")
}

// requireError checks a refusal: status, code, the two members and the request id.
func requireError(t *testing.T, a answer, status int, code, says string) {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	body := map[string]string{}
	require.NoError(t, json.Unmarshal([]byte(a.body), &body), a.body)
	require.Len(t, body, 2, a.body)
	require.Equal(t, code, body["error_code"], a.body)
	require.Contains(t, body["error_msg"], says)
	require.Len(t, a.header.Get("X-Request-Id"), 36)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
}

const outcomes = `
exports.handler = async (event, context) => {
    console.log('a line');
    if (event.fail) throw new TypeError('asked to fail');
    if (event.exit) process.exit(7);
    if (event.circle) { const a = {}; a.a = a; return a; }
    if (event.big) return 'x'.repeat(event.big);
    if (event.text) return 'plain';
    if (event.wait) await new Promise(r => setTimeout(r, event.wait));
    return {id: context.requestID, alias: context.getAlias(), memory: context.getMemorySize(), token: context.getToken(), ak: context.getAccessKey()};
};`

func TestPlatformAPIAnswersEachOutcomeWithItsCode(t *testing.T) {
	t.Parallel()
	r := ungated(t, outcomes, "RUNTIME_TIMEOUT=3")
	cases := []struct {
		event, code string
		status      int
		says        string
	}{
		{`{}`, "0", 200, `{"id":"`},
		{``, "0", 200, `{"id":"`},
		{`[1]`, "0", 200, `{"id":"`},
		{`{"text":true}`, "0", 200, "plain"},
		{`{"fail":true}`, "4002", 500, "asked to fail"},
		{`{"circle":true}`, "4007", 500, "circular"},
		{`{"big":6291457}`, "4004", 500, "6291456"},
		{`{"wait":60000}`, "4010", 504, "call invoke timeout"},
		{`{"exit":true}`, "4204", 502, "runtime process is exited"},
	}
	for _, c := range cases {
		for _, version := range []string{"v0", "v1"} {
			a := r.call(c.event, "X-CFF-Request-Version: "+version, "X-Cff-Log-Type: tail")
			require.Equal(t, 200, a.status, a.body)
			id := a.header.Get("X-Request-Id")
			require.Len(t, id, 36)
			require.Equal(t, id, a.header.Get("X-Cff-Request-Id"))
			require.Equal(t, version, a.header.Get("X-Cff-Response-Version"))
			require.Equal(t, c.code, a.header.Get("X-Func-Err-Code"), c.event)
			require.Equal(t, fmt.Sprint(c.code != "0"), a.header.Get("X-Is-Func-Err"))
			require.Contains(t, a.header.Get("X-Cff-Invoke-Summary"), `"memorySize":512`)
			require.NotEmpty(t, a.header.Get("X-CFF-Billing-Duration"))
			tail, err := base64.StdEncoding.DecodeString(a.header.Get("X-Cff-Function-Log"))
			require.NoError(t, err)
			require.LessOrEqual(t, len(tail), 2000)
			require.Contains(t, string(tail), "Start invoke request '"+id)
			result := a.body
			if version == "v1" {
				var body struct {
					ID        string `json:"request_id"`
					Result    string `json:"result"`
					Log       string `json:"log"`
					Status    int    `json:"status"`
					ErrorCode string `json:"error_code"`
				}
				require.NoError(t, json.Unmarshal([]byte(a.body), &body), a.body)
				require.Equal(t, id, body.ID)
				require.Equal(t, c.status, body.Status)
				require.Equal(t, string(tail), body.Log)
				require.Equal(t, strings.TrimPrefix(c.code, "0"), body.ErrorCode)
				result = body.Result
			}
			require.Contains(t, result, c.says, c.event)
		}
	}
	require.Equal(t, "text/plain; charset=utf-8", r.call(`{"text":true}`).header.Get("Content-Type"))
	require.Empty(t, r.call(`{}`).header.Get("X-Cff-Function-Log"), "no log that was not asked for")
}

func TestPlatformAPIRefusesBadRequestsWithErrorCodes(t *testing.T) {
	r := ungated(t, outcomes)
	a := r.call(`{"k":`, "X-Cff-Log-Type: tail")
	requireError(t, a, 406, "FSS.0406", "not a JSON event")
	require.Equal(t, "4002", a.header.Get("X-Func-Err-Code"))
	require.NotEmpty(t, a.header.Get("X-Cff-Function-Log"))
	requireError(t, r.rawTo(r.api, rawPost(invocations, `"`+strings.Repeat("x", 6<<20)+`"`)), 413, "FSS.0413", "beyond maximum:6291456")
	requireError(t, r.call(`{}`, "X-Cff-Request-Version: v2"), 400, "FSS.0400", "want v0 or v1")
	requireError(t, r.call(`{}`, "X-Cff-Log-Type: all"), 400, "FSS.0400", "want tail")
	for _, mb := range []string{"0", "100", "128MB", "-128", "99999999999999999999"} {
		requireError(t, r.call(`{}`, "X-Cff-Instance-Memory: "+mb), 400, "FSS.1007", "want one of 128 256")
	}
	a = r.call(`{}`, "X-Cff-Instance-Memory: 1024")
	require.Contains(t, a.header.Get("X-Cff-Invoke-Summary"), `"memorySize":1024`)
	require.Contains(t, a.body, `"memory":"512"`, "the limit in force stays")

	at := func(method, path string) answer { return r.request(method, r.api+path, `{}`) }
	requireError(t, at("POST", "/invoke"), 404, "APIGW.0101", "no route")
	requireError(t, at("POST", "/v2"), 404, "APIGW.0101", "no route")
	requireError(t, at("POST", invocations+"/"), 404, "APIGW.0101", "no route")
	requireError(t, at("POST", invocations+"-later"), 404, "APIGW.0101", "no route")
	a = at("GET", invocations)
	requireError(t, a, 405, "APIGW.0101", "use POST")
	require.Equal(t, "POST", a.header.Get("Allow"))
	requireError(t, at("POST", "/v2//fgs/functions/hello/invocations"), 400, "FSS.0400", "not clean")
	requireError(t, at("POST", "/v2/p/fgs/functions/a%2fb/invocations"), 400, "FSS.0400", "not clean")
	requireError(t, at("POST", "/v2/other/fgs/functions/hello/invocations"), 404, "FSS.1051", "here is project "+apiProject)
	requireError(t, at("POST", strings.Replace(invocations, "hello", "a:b:c:d:e", 1)), 400, "FSS.1309", "5 fields")
	requireError(t, at("POST", strings.Replace(invocations, "hello", strings.Repeat("a", 270), 1)), 400, "FSS.1309", "270 bytes")
	requireError(t, r.call(`{}`, "Host: evil.example"), 403, "FSS.0403", "not a loopback name")
	requireError(t, r.call(`{}`, "Origin: https://evil.example"), 403, "FSS.0403", "foreign")
	for _, body := range []string{``, `{`, `[]`, `{"auth":{}}`, `{"auth":{"identity":{"methods":["token"]}}}`, `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"x"}}}}}`, `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"x","password":"y"}}},"scope":{"project":{}}}}`} {
		requireError(t, r.request("POST", r.api+"/v3/auth/tokens", body), 400, "FSS.0400", "")
	}
	requireError(t, r.rawTo(r.api, rawPost("/v3/auth/tokens", strings.Repeat("x", 70<<10))), 413, "FSS.0413", "65536")
	requireError(t, r.request("GET", r.api+"/v3/auth/tokens", ""), 400, "FSS.0400", "X-Subject-Token")
	require.Equal(t, 404, r.request("POST", r.url+invocations, `{}`).status, "a route exists on one listener only")
	// Last: a request that is no HTTP still gets the platform's body.
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.api, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /v2/"+apiProject+"/fgs/functions/hello%zz/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\ngarbage\r\n\r\n")
	require.NoError(t, err)
	text, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Contains(t, string(text), `"error_code":"FSS.0400","error_msg":"function_urn \"hello%zz\" is not percent-encoded rightly"`)
	require.Contains(t, string(text), `{"error_code":"FSS.0400","error_msg":"the request is not valid HTTP"}`)
	require.Contains(t, string(text), "X-Request-Id: ")
}

// TestPlatformIgnoresPlatformHeaders: this listener trusts no caller to be the platform.
func TestPlatformIgnoresPlatformHeaders(t *testing.T) {
	r := ungated(t, outcomes, "GANTRY_TRUST_PLATFORM_HEADERS=true", "RUNTIME_ALIAS=prod", "GANTRY_AUTH_TOKEN=of-the-settings")
	const id = "11111111-2222-4333-8444-555555555555"
	a := r.call(`{}`, "X-Cff-Request-Id: "+id, "X-Cff-Auth-Token: forged", "X-Cff-Access-Key: forged", "X-Cff-Origin-Version-Tag: !forged", "X-Auth-Token: caller")
	got := map[string]string{}
	require.NoError(t, json.Unmarshal([]byte(a.body), &got), a.body)
	require.NotEqual(t, id, got["id"])
	require.Equal(t, a.header.Get("X-Request-Id"), got["id"])
	require.Equal(t, "of-the-settings", got["token"])
	require.Empty(t, got["ak"])
	require.Empty(t, got["alias"])
	a = r.request("POST", r.api+strings.Replace(invocations, "hello", "urn:fss:local-1:"+apiProject+":function:default:hello:%21prod", 1), `{}`)
	require.Contains(t, a.body, `"alias":"prod"`)
}

func TestPlatformAPIReportsAFunctionThatCannotLoad(t *testing.T) {
	r := ungated(t, `throw new Error('broken at load');`)
	a := r.call(`{}`, "X-CFF-Request-Version: v1")
	require.Equal(t, 200, a.status)
	require.Contains(t, a.body, `"status":502`)
	require.Equal(t, "true", a.header.Get("X-Is-Func-Err"))
}

func TestPlatformThrottlesAndDrains(t *testing.T) {
	t.Parallel()
	r := ungated(t, outcomes, "GANTRY_QUEUE=0", "RUNTIME_TIMEOUT=60", "GANTRY_SHUTDOWN_TIMEOUT=60")
	require.Equal(t, 200, r.call(`{}`).status)
	busy := make(chan answer, 1)
	go func() { busy <- r.call(`{"wait":3000}`) }()
	r.waitMetric("gantry_invocations_in_flight", "1")
	a := r.call(`{}`)
	requireError(t, a, 429, "FSS.0429", "waiting room is full")
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.Equal(t, "150429", a.header.Get("X-Func-Err-Code"))
	// The connection must be there before the listener closes.
	idle, err := net.Dial("tcp", strings.TrimPrefix(r.api, "http://"))
	require.NoError(t, err)
	defer idle.Close()
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	r.stderr.WaitFor(t, "stopping")
	require.Eventually(t, func() bool { return strings.Contains(r.ready().body, "draining") }, patience, 5*time.Millisecond)
	_, err = fmt.Fprintf(idle, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", invocations)
	require.NoError(t, err)
	text, err := io.ReadAll(idle)
	require.NoError(t, err)
	require.Contains(t, string(text), "503 Service Unavailable")
	require.Contains(t, string(text), `"error_code":"FSS.0503"`)
	require.Equal(t, 200, (<-busy).status, "what runs is answered")
	require.Zero(t, r.wait())
}

func TestGatewayTimeoutAnswersAndTheCallRunsOn(t *testing.T) {
	t.Parallel()
	r := ungated(t, outcomes, "GANTRY_API_GATEWAY_TIMEOUT=500ms", "RUNTIME_TIMEOUT=60")
	a := r.call(`{"wait":2000}`)
	requireError(t, a, 504, "APIGW.0201", "no answer within 500ms")
	r.stdout.WaitFor(t, "Finish invoke request '"+a.header.Get("X-Cff-Request-Id"))
	require.Equal(t, 200, r.call(`{}`).status)
}

func TestPlatformAPITakesOnlyGoodTokensAndSignatures(t *testing.T) {
	r, _ := guarded(t, outcomes)
	_, token := r.login("correct horse")
	require.NotEmpty(t, token)
	require.Equal(t, 200, r.call(`{}`, "X-Auth-Token: "+token).status)
	require.Equal(t, 200, r.call(`{}`, signature(apiAccess, apiSecret, "POST", invocations, `{}`)...).status)
	requireError(t, r.call(`{}`), 401, "APIGW.0301", "no credentials")
	requireError(t, r.call(`{ }`, signature(apiAccess, apiSecret, "POST", invocations, `{}`)...), 401, "APIGW.0301", "verify aksk signature fail")
	requireError(t, r.call(`{}`, "X-Auth-Token: "+token[1:]), 401, "APIGW.0301", "decrypt token fail")
	requireError(t, r.call(`{}`, append(signature(apiAccess, apiSecret, "POST", invocations, `{}`), "X-Auth-Token: bad")...), 401, "APIGW.0301", "decrypt token fail")
	a, _ := r.login("wrong password")
	requireError(t, a, 401, "APIGW.0301", "The username or password is wrong.")

	a = r.request("HEAD", r.api+"/v3/auth/tokens", "", "X-Auth-Token: "+token, "X-Subject-Token: "+token)
	require.Equal(t, 200, a.status)
	require.Empty(t, a.body)
	a = r.request("GET", r.api+"/v3/auth/tokens", "", "X-Auth-Token: "+token, "X-Subject-Token: "+token)
	require.Contains(t, a.body, `"catalog":[`)
	requireError(t, r.request("GET", r.api+"/v3/auth/tokens", "", "X-Auth-Token: "+token, "X-Subject-Token: x"), 404, "FSS.0404", "not valid")
	requireError(t, r.request("GET", r.api+"/v3/auth/tokens", "", "X-Subject-Token: "+token), 401, "APIGW.0301", "no credentials")
	requireError(t, r.request("GET", r.api+"/v3/projects", ""), 401, "APIGW.0301", "no credentials")
	r.waitMetric(`gantry_api_requests_total{outcome="unauthorized"}`, "7")
}

// TestPlatformKeysAreNowhere: what callers sent and what the users file holds is in no log, metric, environment or
// event.
func TestPlatformKeysAreNowhere(t *testing.T) {
	r, _ := guarded(t, `
const fs = require('fs');
exports.handler = async (event, context) => {
    const seen = [JSON.stringify(process.env), JSON.stringify(event), require('util').inspect(context, {depth: 9, showHidden: true})];
    for (const pid of [process.pid, process.ppid])
        for (const file of ['environ', 'cmdline', 'maps'])
            try { seen.push(pid + ' ' + file + ': ' + fs.readFileSync('/proc/' + pid + '/' + file, 'latin1')); } catch (e) { seen.push(e.message); }
    return seen.join('\n');
};`, "GANTRY_LOG_LEVEL=debug")
	_, token := r.login("correct horse")
	wrong, _ := r.login("wrong-password-of-a-caller")
	good := r.call(`{}`, "X-Auth-Token: "+token, "X-Cff-Log-Type: tail", "X-CFF-Request-Version: v1")
	require.Equal(t, 200, good.status)
	signed := signature(apiAccess, apiSecret, "POST", invocations, `{}`)
	require.Equal(t, 200, r.call(`{}`, signed...).status)
	bad := r.call(`{}`, signature(apiAccess, "a-wrong-secret-key-of-a-caller", "POST", invocations, `{}`)...)
	refusedToken := r.call(`{}`, "X-Auth-Token: "+token+"x")
	r.stdout.WaitFor(t, "Finish invoke request")
	text := strings.Join([]string{wrong.body, good.body, bad.body, refusedToken.body, r.request("GET", r.ops+"/metrics", "").body, r.stdout.String(), r.stderr.String()}, "\n")
	_, sent, _ := strings.Cut(signed[1], "Signature=")
	for _, hidden := range []string{apiSecret, "token-secret-", "correct horse", "wrong-password-of-a-caller", "a-wrong-secret-key-of-a-caller", token, sent} {
		require.False(t, strings.Contains(text, hidden), hidden)
	}
}

// TestBadSignaturesLockTheirPeerOnly: a flood of bad signatures locks its own peer only, and every good call is
// answered.
func TestBadSignaturesLockTheirPeerOnly(t *testing.T) {
	r, _ := guarded(t, `exports.handler = async () => 'ok';`, "GANTRY_CONCURRENCY=4")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var bad, answered atomic.Int64
	var flood sync.WaitGroup
	for n := range 4 {
		access := []string{apiAccess, "AKNOBODY"}[n%2]
		client := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
		flood.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, "POST", r.api+invocations, strings.NewReader(`{}`))
				if err != nil {
					return
				}
				for _, h := range signature(access, "a-wrong-secret-key", "POST", invocations, `{}`) {
					name, value, _ := strings.Cut(h, ": ")
					req.Header.Set(name, value)
				}
				resp, err := client.Do(req)
				if err != nil {
					continue // the test ended
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				answered.Add(1)
				if resp.StatusCode == 401 {
					bad.Add(1)
				}
			}
		})
	}
	good := 0
	for bad.Load() < 2000 || good < 50 {
		a := r.call(`{}`, signature(apiAccess, apiSecret, "POST", invocations, `{}`)...)
		require.Equal(t, 200, a.status, a.body)
		good++
	}
	stop()
	flood.Wait()
	require.Equal(t, answered.Load(), bad.Load())
	lines := strings.Count(r.stderr.String(), "platform API request refused")
	require.Less(t, lines, 500, "the log is not flooded: %d lines for %d refusals", lines, bad.Load())
	require.Positive(t, lines)
}

// TestChangedUsersFileTakesEffectWhileRunning: the users file is followed.
func TestChangedUsersFileTakesEffectWhileRunning(t *testing.T) {
	t.Parallel()
	r, users := guarded(t, outcomes)
	_, token := r.login("correct horse")
	require.Equal(t, 200, r.call(`{}`, "X-Auth-Token: "+token).status)
	writeUsers(t, users, "{")
	r.stdout.WaitFor(t, "Finish")
	r.stderr.WaitFor(t, "the users from before it stay in force") // without a request
	require.Equal(t, 200, r.call(`{}`, "X-Auth-Token: "+token).status)
	require.NoError(t, os.Remove(users))
	require.NoError(t, unix.Mkfifo(users, 0o600))
	r.stderr.WaitFor(t, users+" is not a regular file")
	writeUsers(t, users, strings.Replace(apiUsers, `"name": "ci",`, `"name": "ci", "generation": 2,`, 1))
	require.Eventually(t, func() bool { return r.call(`{}`, "X-Auth-Token: "+token).status == 401 }, patience, 50*time.Millisecond)
	_, token = r.login("correct horse")
	require.Equal(t, 200, r.call(`{}`, "X-Auth-Token: "+token).status)
}

// TestLastForwardedAddressIsThePeerBehindAProxy: the host is the proxy's business, and its last X-Forwarded-For is
// the peer.
func TestLastForwardedAddressIsThePeerBehindAProxy(t *testing.T) {
	r, _ := guarded(t, outcomes, "GANTRY_API_BEHIND_PROXY=true", "GANTRY_API_ADDR=0.0.0.0:0")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(r.api, "http://"))
	require.NoError(t, err)
	r.api = "http://127.0.0.1:" + port
	from := func(peer, secret string) answer {
		return r.call(`{}`, append(signature(apiAccess, secret, "POST", invocations, `{}`), "Host: functions.example.com", "X-Forwarded-For: 10.9.9.9, "+peer)...)
	}
	require.Equal(t, 200, from("192.0.2.1", apiSecret).status)
	for range 7 {
		require.Equal(t, 401, from("192.0.2.1", "wrong").status)
	}
	requireError(t, from("192.0.2.1", apiSecret), 401, "APIGW.0301", "AK access failed to reach the limit")
	require.Equal(t, 200, from("192.0.2.2", apiSecret).status)
}

// TestPlatformAPIListensOnlyWithSafeSettings: what cannot be used ends the program before it starts anything.
func TestPlatformAPIListensOnlyWithSafeSettings(t *testing.T) {
	dir := t.TempDir()
	users, open := filepath.Join(dir, "users.json"), filepath.Join(dir, "open.json")
	require.NoError(t, os.WriteFile(users, []byte(apiUsers), 0o600))
	require.NoError(t, os.WriteFile(open, []byte(apiUsers), 0o600))
	require.NoError(t, os.Chmod(open, 0o622))
	for says, env := range map[string][]string{
		"GANTRY_API_USERS_FILE: " + open + " may be written by others (mode 0622); chmod 600": {"GANTRY_API_USERS_FILE=" + open},
		"GANTRY_API_USERS_FILE: open " + users + ".none: no such file":                        {"GANTRY_API_USERS_FILE=" + users + ".none"},
		"GANTRY_API_TLS_CERT": {"GANTRY_API_ADDR=0.0.0.0:0", "GANTRY_API_USERS_FILE=" + users, "GANTRY_API_TLS_CERT=/no/cert", "GANTRY_API_TLS_KEY=/no/key"},
	} {
		r := prepare(t, writeFiles(t, map[string]string{"index.js": outcomes}), env...)
		r.launch()
		require.Equal(t, exitUsage, r.wait())
		require.Contains(t, r.stderr.String(), says)
		require.NotContains(t, r.stdout.String(), "Start load", "nothing was started")
	}
}

// TestProjectsAreFoundByTheNameOfTheRegion is what a client does that only knows its region.
func TestProjectsAreFoundByTheNameOfTheRegion(t *testing.T) {
	r := ungated(t, outcomes, "GANTRY_REGION=eu-west-101")
	for name, rows := range map[string]int{"": 1, "?name=eu-west-101": 1, "?name=" + url.QueryEscape("local-1"): 0} {
		var list struct{ Projects []struct{ ID, Name string } }
		a := r.request("GET", r.api+"/v3/projects"+name, "")
		require.Equal(t, 200, a.status)
		require.NoError(t, json.Unmarshal([]byte(a.body), &list))
		require.Len(t, list.Projects, rows, name)
		if rows > 0 {
			require.Equal(t, apiProject, list.Projects[0].ID)
		}
	}
	require.Contains(t, r.request("GET", r.api+"/v3/auth/domains", "").body, `"name":"local"`)
	a, token := r.login("anything")
	require.Equal(t, 404, a.status, "the project of another region")
	require.Empty(t, token)
}

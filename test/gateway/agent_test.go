package gateway

import (
	"encoding/json"
	"fmt"
	"gantry/test/harness"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	project      = "0123456789abcdef0123456789abcdef"
	functionCode = `
exports.handler = async (event, context) => {
    if (event.fail) throw new TypeError('asked to fail');
    return 'answer' in event ? event.answer : {got: event};
};
`
)

// agent is one agent under test: function listener, platform API, ops.
type agent struct {
	t                        *testing.T
	name, version, endpoints string
	env                      []string
	function, api, ops       string
	proc                     *harness.Program
	client                   *http.Client
}

// startAgent runs a function whose outcomes go to the endpoint.
func startAgent(t *testing.T, obs map[string]string, change ...func(*agent)) *agent {
	t.Helper()
	dir := t.TempDir()
	code := filepath.Join(dir, "code")
	require.NoError(t, os.Mkdir(code, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(code, "index.js"), []byte(functionCode), 0o644))
	a := &agent{t: t, name: "hello", version: "latest", endpoints: filepath.Join(dir, "endpoints.json"), client: &http.Client{Timeout: patience, Transport: transport(t, "")}}
	for _, c := range change {
		c(a)
	}
	a.env = append(harness.Environ(dir, "RUNTIME_CODE_ROOT="+code, "RUNTIME_FUNC_NAME="+a.name, "RUNTIME_FUNC_VERSION="+a.version,
		"RUNTIME_ALIAS=prod", "RUNTIME_PROJECT_ID="+project, "RUNTIME_TIMEOUT=60", "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_AUTH=none",
		"GANTRY_DATA_DIR="+filepath.Join(dir, "data"), "GANTRY_ASYNC_ENDPOINTS_FILE="+a.endpoints), a.env...)
	a.start(obs)
	return a
}

// start runs the program and finds its addresses; again after its end, then with the same folders.
func (a *agent) start(obs map[string]string) {
	a.t.Helper()
	text, err := json.Marshal(map[string]any{"obs": obs})
	require.NoError(a.t, err)
	require.NoError(a.t, os.WriteFile(a.endpoints, text, 0o600))
	cmd := exec.Command(harness.Built(a.t, "bin/bootstrap", "test-gateway"), "serve")
	cmd.Env = a.env
	a.proc = harness.Start(a.t, cmd)
	at := a.proc.Listening()
	a.function, a.ops, a.api = "http://"+at["function"], "http://"+at["ops"], "http://"+at["platform"]+"/v2/"+project+"/fgs/functions/"
}

// request sends a request and returns status and body of the response.
func (a *agent) request(t require.TestingT, method, uri, body string) (int, string) {
	req, err := http.NewRequest(method, uri, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := a.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// urn names the function by version or !alias.
func (a *agent) urn(last string) string {
	return fmt.Sprintf("urn:fss:local-1:%s:function:default:%s:%s", project, a.name, last)
}

// configure sends outcomes of the version or !alias to buckets, as the params say; "" for none. The function has one
// attempt.
func (a *agent) configure(last, onSuccess, onFailure string) {
	a.t.Helper()
	destinations := map[string]any{}
	for member, param := range map[string]string{"on_success": onSuccess, "on_failure": onFailure} {
		if param != "" {
			destinations[member] = map[string]string{"destination": "OBS", "param": param}
		}
	}
	text, err := json.Marshal(map[string]any{"max_async_retry_attempts": 0, "destination_config": destinations})
	require.NoError(a.t, err)
	status, body := a.request(a.t, "PUT", a.api+url.PathEscape(a.urn(last))+"/async-invoke-config", string(text))
	require.Equal(a.t, 200, status, body)
}

// accept sends an event for the version or !alias and returns its request id.
func (a *agent) accept(last, event string) string {
	a.t.Helper()
	status, body := a.request(a.t, "POST", a.api+url.PathEscape(a.urn(last))+"/invocations-async", event)
	require.Equal(a.t, 202, status, body)
	var accepted struct {
		RequestID string `json:"request_id"`
	}
	require.NoError(a.t, json.Unmarshal([]byte(body), &accepted))
	return accepted.RequestID
}

// invoke makes a synchronous call and returns its duration.
func (a *agent) invoke() time.Duration {
	a.t.Helper()
	began := time.Now()
	status, body := a.request(a.t, "POST", a.function+"/invoke", `{"answer":1}`)
	require.Equal(a.t, 200, status, body)
	return time.Since(began)
}

// record is the record of a request.
type record struct {
	Status  string `json:"status"`
	Code    int    `json:"error_code"`
	Message string `json:"error_message"`
	Start   string `json:"start_time"`
	End     string `json:"end_time"`
}

func (a *agent) record(t require.TestingT, id string) record {
	status, body := a.request(t, "GET", a.api+url.PathEscape(a.urn(a.version))+"/async-invocations?request_id="+id, "")
	require.Equal(t, 200, status, body)
	var page struct{ Invocations []record }
	require.NoError(t, json.Unmarshal([]byte(body), &page))
	require.Len(t, page.Invocations, 1)
	return page.Invocations[0]
}

// reaches waits until the request has the status and returns its record.
func (a *agent) reaches(id, status string) (r record) {
	a.t.Helper()
	eventually(a.t, func(c *assert.CollectT) {
		r = a.record(c, id)
		require.Equal(c, status, r.Status, r.Message)
	})
	return r
}

// settled waits until the metrics have counted the given numbers of outcome messages as delivered and as dropped.
func (a *agent) settled(delivered, dropped int) {
	a.t.Helper()
	eventually(a.t, func(c *assert.CollectT) {
		require.Equal(c, []int{delivered, dropped}, []int{a.metric(c, "gantry_async_notified_total"), a.metric(c, "gantry_async_notification_failures_total")})
	})
}

func (a *agent) metric(t require.TestingT, name string) (value int) {
	_, body := a.request(t, "GET", a.ops+"/metrics", "")
	_, rest, found := strings.Cut(body, "\n"+name+" ")
	require.True(t, found, name)
	_, err := fmt.Sscan(rest, &value)
	require.NoError(t, err)
	return value
}

const (
	triedAgain = "an outcome message is tried again"
	isDropped  = "an outcome message is dropped"
)

// waitLogged waits for n of the agent's log lines with the text and returns their fields.
func (a *agent) waitLogged(text string, n int) (all []map[string]any) {
	a.t.Helper()
	require.Eventually(a.t, func() bool {
		all = a.proc.Stderr.Logged(text)
		return len(all) >= n || a.proc.Over()
	}, patience, often)
	require.GreaterOrEqual(a.t, len(all), n, "lines %q:\n%s", text, a.proc.Stderr)
	return all
}

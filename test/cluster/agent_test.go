package cluster

import (
	"encoding/json"
	"gantry/test/harness"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const project = "0123456789abcdef0123456789abcdef"

// functionCode records every run before it acts on the event. "hold" names an agent: there the run lasts until a file
// of that name exists.
const functionCode = `const fs = require('fs');
const {TEST_FOLDER: folder, TEST_AGENT: agent} = process.env;
const runs = fs.openSync(folder + '/runs', 'a');
exports.handler = async (event, context) => {
    fs.writeSync(runs, Date.now() + ' ' + context.getRequestID() + ' ' + agent + '\n');
    while ((event.hold === agent || event.hold === 'all') && !fs.existsSync(folder + '/' + agent)) await new Promise(r => setTimeout(r, 10));
    if (event.fail) throw new TypeError('asked to fail');
    return 'ok';
};
`

// function is the code folder of one function, and the file with the record of its runs.
type function struct {
	t       *testing.T
	name    string
	folder  string
	cluster *cluster
}

func newFunction(t *testing.T, c *cluster, name string) *function {
	t.Helper()
	f := &function{t: t, name: name, folder: t.TempDir(), cluster: c}
	require.NoError(t, os.Mkdir(f.code(), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(f.code(), "index.js"), []byte(functionCode), 0o644))
	return f
}

func (f *function) code() string { return filepath.Join(f.folder, "code") }

// release continues the held runs of an agent.
func (f *function) release(agent string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(filepath.Join(f.folder, agent), nil, 0o600))
}

// outcomeMessages returns the ids of the requests whose outcome message is in a file.
func (f *function) outcomeMessages() map[string]bool {
	f.t.Helper()
	ids := map[string]bool{}
	_ = filepath.WalkDir(f.folder, func(path string, d os.DirEntry, err error) error {
		if id, ok := strings.CutSuffix(filepath.Base(path), ".json"); err == nil && ok && strings.Contains(path, "/notifications/") {
			ids[id] = true
		}
		return nil // files come and go meanwhile
	})
	return ids
}

// agent is one agent under test.
type agent struct {
	*program
	t      *testing.T
	fn     *function
	name   string
	ns     *namespace
	env    []string
	http   *http.Client
	url    string // of the function's routes
	listen map[string]string
}

// bootstrap is the program under test.
func bootstrap(t *testing.T) string {
	t.Helper()
	return harness.Built(t, "bin/bootstrap", "test-cluster")
}

// newAgent starts an agent of the function and waits until it listens; in a namespace only with a network.
func (f *function) newAgent(name string, ns *namespace, env ...string) *agent {
	f.t.Helper()
	a := &agent{t: f.t, fn: f, name: name, ns: ns, http: ns.client(), env: harness.Environ(f.folder,
		"RUNTIME_CODE_ROOT="+f.code(), "RUNTIME_FUNC_NAME="+f.name, "RUNTIME_PROJECT_ID="+project, "RUNTIME_TIMEOUT=300",
		"GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_AUTH=none", "GANTRY_LOG_LEVEL=debug", "GANTRY_DATA_DIR="+filepath.Join(f.folder, "data-"+name), "GANTRY_CONCURRENCY=16",
		"GANTRY_NATS_URL="+f.cluster.url(), "GANTRY_ASYNC_REPLICAS=3", "TEST_FOLDER="+f.folder, "TEST_AGENT="+name)}
	a.env = append(a.env, env...)
	f.t.Cleanup(func() {
		if a.program == nil {
			return
		}
		a.Stop()
		a.http.CloseIdleConnections()
		if code := a.Cmd.ProcessState.ExitCode(); code > 0 {
			a.t.Errorf("agent %s ended with %d", a.name, code)
		}
		if strings.Contains(a.Stderr.String(), "the queue's store is empty") {
			a.t.Errorf("agent %s takes a store that it cannot reach for a lost one", a.name)
		}
		if a.t.Failed() {
			a.t.Logf("agent %s:\n%s", a.name, a.tail())
		}
	})
	a.start()
	return a
}

func (a *agent) start() {
	a.t.Helper()
	a.program = start(a.t, a.ns, "agent "+a.name, a.env, bootstrap(a.t), "serve")
	a.listen = a.Listening()
	a.url = "http://" + a.listen["platform"] + "/v2/" + project + "/fgs/functions/" + a.fn.name + "/"
}

// answer is an HTTP answer, read.
type answer struct {
	status int
	body   string
}

// ask sends a request; an error means that no response came.
func (a *agent) ask(method, path, body string) (answer, error) {
	req, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(text)}, err
}

// request is ask that fails the test without a response.
func (a *agent) request(method, path, body string) answer {
	a.t.Helper()
	got, err := a.ask(method, path, body)
	require.NoError(a.t, err)
	return got
}

// accept sends an event that must be accepted, and returns its request id.
func (a *agent) accept(event string) string {
	a.t.Helper()
	got := a.request("POST", "invocations-async", event)
	require.Equal(a.t, 202, got.status, got.body)
	return requestID(got)
}

func requestID(a answer) string {
	var body struct {
		ID string `json:"request_id"`
	}
	_ = json.Unmarshal([]byte(a.body), &body) // an empty id is no id
	return body.ID
}

// row is a request as the platform API shows it.
type row struct {
	ID      string `json:"request_id"`
	Status  string `json:"status"`
	Code    int    `json:"error_code"`
	Message string `json:"error_message"`
}

// show queries one request; the zero row if the agent has no record of it.
func (a *agent) show(id string) row {
	a.t.Helper()
	got := a.request("GET", "async-invocations?request_id="+id, "")
	require.Equal(a.t, 200, got.status, got.body)
	if all := rows(a.t, got); len(all) > 0 {
		return all[0]
	}
	return row{}
}

func rows(t *testing.T, a answer) []row {
	t.Helper()
	var page struct{ Invocations []row }
	require.NoError(t, json.Unmarshal([]byte(a.body), &page), a.body)
	return page.Invocations
}

func (a *agent) waitStatus(id, want string) (last row) {
	a.t.Helper()
	eventually(a.t, func() bool { last = a.show(id); return last.Status == want }, "%s to become %s: %+v", id, want, &last)
	return last
}

func (a *agent) cancel(id string) answer {
	a.t.Helper()
	return a.request("POST", "cancel", `{"request_id":"`+id+`","type":"force"}`)
}

// metric returns the value of one sample.
func (a *agent) metric(name string) string {
	a.t.Helper()
	resp, err := a.http.Get("http://" + a.listen["ops"] + "/metrics")
	require.NoError(a.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// command runs one of the program's commands beside the agent, with the agent's settings.
func (a *agent) command(args ...string) (stdout, stderr string, code int) {
	a.t.Helper()
	var out, problem strings.Builder
	cmd := exec.Command(bootstrap(a.t), args...)
	cmd.Env = append(append([]string{}, a.env...), "GANTRY_API_ADDR="+a.listen["platform"])
	cmd.Stdout, cmd.Stderr = &out, &problem
	_ = a.ns.do(cmd.Run) // the exit code is returned
	return out.String(), problem.String(), cmd.ProcessState.ExitCode()
}

package cluster

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNoCluster: an agent without its cluster logs that and serves calls. When the cluster comes it needs no restart,
// and no new request to run those left in the queue.
func TestNoCluster(t *testing.T) {
	t.Parallel()
	c := prepareCluster(t, nil)
	f := newFunction(t, c, "hello")
	a := f.newAgent("a", nil, "GANTRY_CONCURRENCY=1")
	a.requireNoQueue("nats: no servers available")
	c.start()
	c.connect(nil)
	began := time.Now()
	eventually(t, func() bool { return a.request("POST", "invocations-async", "{}").status == 202 }, "the agent to find its cluster")
	t.Logf("accepted %s after the cluster was there", round(time.Since(began)))

	held := a.accept(`{"hold":"a"}`)
	eventually(t, func() bool { return len(f.runs()[held]) == 1 }, "the request to run that takes the slot")
	var left []string
	for range 20 {
		left = append(left, a.accept("{}"))
	}
	a.Kill()
	c.kill()
	b := f.newAgent("b", nil)
	b.waitOutput("no connection to the queue")
	c.start()
	began = time.Now()
	eventually(t, func() bool {
		runs := f.runs()
		for _, id := range left[1:] { // the first one was on its way to the agent that died
			if len(runs[id]) == 0 {
				return false
			}
		}
		return true
	}, "what was left to run")
	t.Logf("what was left ran %s after the servers were back", round(time.Since(began)))
}

// TestWrongURL: if no server listens at the URL, the log says so without its password. A URL that can never work is
// rejected at the start.
func TestWrongURL(t *testing.T) {
	t.Parallel()
	f := newFunction(t, prepareCluster(t, nil), "hello")
	a := f.newAgent("a", nil, "GANTRY_NATS_URL=nats://user:topsecret@127.0.0.1:1")
	a.requireNoQueue("nats: no servers available")
	a.waitOutput("an asynchronous request is refused")
	require.NotContains(t, a.Stderr.String(), "topsecret")
	for url, says := range map[string]string{
		"http://user:topsecret@127.0.0.1:1":                "want nats://",
		"nats://user:topsecret%zz@127.0.0.1:1":             "the URL cannot be read",
		"nats://user:top/topsecret@127.0.0.1:1":            "the URL cannot be read",
		"nats://user:topsecret@[::1":                       "the URL cannot be read",
		"nats://127.0.0.1,ws://user:topsecret@127.0.0.1:1": "servers of one kind",
	} {
		cmd := exec.Command(bootstrap(t), "serve")
		cmd.Env = append(append([]string{}, a.env...), "GANTRY_NATS_URL="+url)
		out, err := cmd.CombinedOutput()
		require.Error(t, err, url)
		require.Equal(t, 2, cmd.ProcessState.ExitCode(), "%s", out)
		require.Contains(t, string(out), says)
		require.NotContains(t, string(out), "topsecret")
	}
}

// requireNoQueue: asynchronous calls are refused, the log has the reason, and synchronous calls continue.
func (a *agent) requireNoQueue(log string) {
	a.t.Helper()
	for _, ask := range []struct{ method, path, body string }{
		{"POST", "invocations-async", "{}"}, {"GET", "async-invocations", ""}, {"PUT", "async-invoke-config", "{}"},
	} {
		got := a.request(ask.method, ask.path, ask.body)
		require.Equal(a.t, 503, got.status, got.body)
		require.Contains(a.t, got.body, "asynchronous invocation is not available: the queue cannot be opened")
	}
	a.waitOutput(log)
	_, problem, code := a.command("async", "ls")
	require.NotZero(a.t, code)
	require.Contains(a.t, problem, "the queue cannot be opened")
	require.Equal(a.t, 200, a.request("POST", "invocations", "{}").status, "synchronous calls go on")
}

func (a *agent) waitOutput(text string) {
	a.t.Helper()
	eventually(a.t, func() bool { return strings.Contains(a.Stderr.String(), text) }, "agent %s to say %q", a.name, text)
}

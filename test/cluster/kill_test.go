package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAgentKilled: the requests in flight at a killed agent run at the other one.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil), f.newAgent("b", nil)
	l := newLoad(f, a, b)
	l.waitCount(500)
	held := l.hold(a, 5)
	a.Kill()
	killed := time.Now()
	l.waitCount(2000)
	l.stop()
	drained := l.drained(b)
	moved := time.Duration(0)
	for _, id := range held {
		runs := f.runs()[id]
		last := runs[len(runs)-1]
		require.Equal(t, "b", last.agent, id)
		moved = max(moved, last.at.Sub(killed))
	}
	l.check("what was under way ran at the other agent after "+round(moved).String(), "drained after "+round(drained).String())
}

// TestLeaderKilled: the server that leads the queue dies, and comes back. Every outcome reaches its destination as
// well.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil), f.newAgent("b", nil)
	configure(a, b, `{"destination_config":{"on_success":{"destination":"OBS","param":"{\"bucket\":\"done\"}"}}}`)
	l := newLoad(f, a, b)
	l.waitCount(1000)
	victim := c.leader("_events_0")
	victim.Kill()
	killed := time.Now()
	recovery := l.recovered(killed, a, b)
	l.waitCount(l.count() + 500)
	victim.start()
	l.waitCount(l.count() + 500)
	c.waitWhole()
	l.stop()
	drained := l.drained(a)
	l.waitOutcomeMessages()
	l.check("accepted again at both after "+round(recovery).String(), "drained after "+round(drained).String())
}

// TestQuorumLost: two of three servers die, later all three. Nothing is accepted then, and every request is answered.
// When they are back, no agent has to be restarted.
func TestQuorumLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil), f.newAgent("b", nil)
	l := newLoad(f, a, b)
	l.waitCount(1000)
	afterTwo := l.outage(c.servers[:2], a, b)
	l.waitCount(l.count() + 500)
	afterAll := l.outage(c.servers, a, b)
	l.waitCount(max(2000, l.count()+500))
	l.stop()
	configure(a, b, `{"max_async_retry_attempts":2}`)
	configure(b, a, `{"max_async_retry_attempts":3}`)
	drained := l.drained(a)
	l.check(fmt.Sprintf("accepted again at both %s after two servers were back, %s after all three", round(afterTwo), round(afterAll)),
		"drained after "+round(drained).String())
}

// outage kills servers until no quorum is left, checks the agents' responses, and restarts the servers. It returns the
// time from the restart until each agent accepted a request.
func (l *load) outage(victims []*server, agents ...*agent) time.Duration {
	l.t.Helper()
	for _, s := range victims {
		s.Kill()
	}
	killed := time.Now()
	for _, a := range agents {
		l.waitRefused(a, killed)
	}
	agents[0].requireRefusals()
	for _, s := range victims {
		s.start()
	}
	return l.recovered(time.Now(), agents...)
}

// requireRefusals: requests that write are refused with a message, and synchronous calls continue.
func (a *agent) requireRefusals() {
	a.t.Helper()
	for _, ask := range []struct{ method, path, body string }{
		{"POST", "invocations-async", "{}"},
		{"POST", "cancel", `{"request_id":"01900000-0000-7000-8000-000000000000"}`},
		{"PUT", "async-invoke-config", "{}"},
	} {
		began := time.Now()
		got := a.request(ask.method, ask.path, ask.body)
		a.t.Logf("no quorum, agent %s: %s %s: %d after %s: %s", a.name, ask.method, ask.path, got.status, round(time.Since(began)), got.body)
		require.Equal(a.t, 503, got.status, got.body)
		require.Contains(a.t, got.body, "asynchronous invocation is not available")
	}
	require.Equal(a.t, 200, a.request("POST", "invocations", "{}").status, "synchronous calls go on")
}

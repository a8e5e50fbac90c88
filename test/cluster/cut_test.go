package cluster

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAgentCut: an agent is cut off from the cluster while it has requests in flight. They run at the other agent,
// except for one that is canceled there. Outcomes of the first agent change nothing.
func TestAgentCut(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := newCluster(t, n)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", n.join()), f.newAgent("b", n.join(), "GANTRY_CONCURRENCY=4")
	l := newLoad(f, a, b)
	l.waitCount(500)
	held := l.hold(b, 4) // a fifth request waits there for a slot
	canceled := held[0]
	l.except(canceled)
	a.waitStatus(canceled, "RUNNING")
	b.ns.cut()
	cut := time.Now()
	require.Equal(t, 200, a.cancel(canceled).status)
	require.Equal(t, 4208, a.waitStatus(canceled, "FAIL").Code)
	l.waitRefused(b, cut)
	moved := l.over(a, cut)
	for _, id := range held[1:] {
		runs := f.runs()[id]
		require.Equal(t, "a", runs[len(runs)-1].agent, id)
	}
	l.waitCount(2000)
	f.release("b")
	eventually(t, func() bool { return b.metric("gantry_invocations_in_flight") == "0" }, "agent b to be idle")
	b.ns.heal()
	recovery := l.recovered(time.Now(), b)
	l.stop()
	drained := l.drained(b)
	require.Equal(t, "FAIL", b.show(canceled).Status, "what was recorded while its agent was cut off stays")
	require.Len(t, f.runs()[canceled], 1)
	l.check("all of before the cut over "+round(moved).String()+" after it", "accepted again "+round(recovery).String()+" after the heal", "drained after "+round(drained).String())
}

// TestLeaderCut: the server that leads the queue is cut off from the other two, together with the agent beside it.
func TestLeaderCut(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	c := newCluster(t, n)
	f := newFunction(t, c, "hello")
	beside := map[*server]*agent{}
	for i, name := range []string{"a", "b", "c"} {
		beside[c.servers[i]] = f.newAgent(name, c.servers[i].ns)
	}
	others := maps.Clone(beside)
	l := newLoad(f, slices.Collect(maps.Values(beside))...)
	l.waitCount(1000)
	leader := c.leader("_events_0")
	minority := beside[leader]
	delete(others, leader)
	majority := slices.Collect(maps.Values(others))
	l.hold(minority, 4)

	leader.ns.cut()
	cut := time.Now()
	elected := l.recovered(cut.Add(time.Second), majority...)
	l.waitRefused(minority, cut)
	var meanwhile []string
	for range 20 {
		meanwhile = append(meanwhile, l.add(majority[0], "{}"))
	}
	for _, id := range meanwhile {
		majority[1].waitStatus(id, "SUCCESS")
	}
	f.release(minority.name)
	eventually(t, func() bool { return minority.metric("gantry_invocations_in_flight") == "0" }, "agent %s to be idle", minority.name)
	leader.ns.heal()
	healed := time.Now()
	for _, ok := l.after(healed, minority); !ok; _, ok = l.after(healed, minority) {
		minority.requireKept(meanwhile[0])
		meanwhile = append(meanwhile[1:], meanwhile[0])
	}
	recovery := l.recovered(healed, minority)
	l.stop()
	drained := l.drained(minority)
	l.check("the others accepted again after "+round(elected).String(),
		"accepted again "+round(recovery).String()+" after the heal", "drained after "+round(drained).String())
}

// requireKept: a response about a request with an outcome has that outcome, however far the agent's server lags.
func (a *agent) requireKept(id string) {
	a.t.Helper()
	if got := a.request("GET", "async-invocations?request_id="+id, ""); got.status == 200 {
		require.Contains(a.t, got.body, "SUCCESS")
	}
}

// over waits until all requests accepted before a moment have an outcome, and returns the time since that moment.
func (l *load) over(a *agent, before time.Time) time.Duration {
	l.t.Helper()
	var got answer
	eventually(l.t, func() bool {
		got, _ = a.ask("GET", "active-async-invocations?limit=1&query_end_time="+moment(before), "")
		return got.status == 200 && strings.Contains(got.body, `"count":0,`)
	}, "what was accepted before to be over: %s", &got.body)
	return time.Since(before)
}

// moment formats a time for the record routes.
func moment(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

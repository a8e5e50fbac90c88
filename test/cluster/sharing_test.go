package cluster

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSharedWork: what one agent accepts runs at both, and the other one knows at once what was accepted.
func TestSharedWork(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil), f.newAgent("b", nil)
	l := newLoad(f, a)
	unknown := 0
	for l.count() < 2000 {
		if id := l.add(a, "{}"); b.show(id).ID != id {
			unknown++
		}
	}
	l.stop()
	drained := l.drained(b)
	by := l.check("unknown at the other agent "+fmt.Sprint(unknown), "drained after "+round(drained).String())
	require.Greater(t, by["a"], len(l.accepted)/10)
	require.Greater(t, by["b"], len(l.accepted)/10)
	require.Zero(t, unknown)

	out, problem, code := b.command("async", "ls", "--limit", "10000")
	require.Zero(t, code, problem)
	require.Equal(t, len(l.accepted), strings.Count(out, "SUCCESS"))
	out, problem, code = b.command("async", "ls", "--limit", "10", "--status", "SUCCESS")
	require.Zero(t, code, problem)
	require.Equal(t, 10, strings.Count(out, "SUCCESS"))
	require.Contains(t, problem, "see --limit")
}

// TestOtherAgent: records, cancels and configurations do not care which agent is asked.
func TestOtherAgent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil, "GANTRY_ASYNC_RETRY_DELAY=300"), f.newAgent("b", nil, "GANTRY_ASYNC_RETRY_DELAY=300")
	both := map[string]*agent{"a": a, "b": b}
	other := map[string]*agent{"a": b, "b": a}

	id := a.accept(`{"hold":"all"}`)
	b.waitStatus(id, "RUNNING")
	eventually(t, func() bool { return len(f.runs()[id]) == 1 }, "the function to note its run")
	runner := f.runs()[id][0].agent
	require.Equal(t, 200, other[runner].cancel(id).status)
	for _, x := range both {
		got := x.waitStatus(id, "FAIL")
		require.Equal(t, 4208, got.Code, got)
		require.Equal(t, 400, x.cancel(id).status)
	}
	t.Logf("a request that ran at %s was canceled at %s", runner, other[runner].name)

	// More than both can start. Those that wait are canceled at one agent, and asked about at the other at once.
	var held, waiting []string
	for range 100 {
		held = append(held, a.accept(`{"hold":"all"}`))
	}
	eventually(t, func() bool { return len(f.runs()) == 1+32 }, "32 requests to run")
	stale := 0
	for i, id := range held {
		if len(f.runs()[id]) > 0 {
			continue
		}
		asked, told := a, b
		if i%2 == 0 {
			asked, told = b, a
		}
		waiting = append(waiting, id)
		require.Equal(t, 200, asked.cancel(id).status)
		if told.show(id).Status != "DISCARD" {
			stale++
		}
	}
	t.Logf("%d requests that waited were canceled; the other agent knew %d of them only later", len(waiting), stale)
	f.release("a")
	f.release("b")
	for _, id := range held {
		want := "SUCCESS"
		if len(f.runs()[id]) == 0 {
			want = "DISCARD"
		}
		b.waitStatus(id, want)
	}
	for _, id := range waiting {
		require.Empty(t, f.runs()[id], "canceled before it ran")
	}
	require.Zero(t, stale)
}

// TestCanceledTwice: two agents cancel the same request at the same moment; it waits for its second attempt.
func TestCanceledTwice(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil, "GANTRY_ASYNC_RETRY_DELAY=300"), f.newAgent("b", nil, "GANTRY_ASYNC_RETRY_DELAY=300")
	configure(a, b, `{"max_async_retry_attempts":1}`)
	var ids []string
	for range 50 {
		ids = append(ids, a.accept(`{"fail":true}`))
	}
	answers := map[string]int{}
	for _, id := range ids {
		eventually(t, func() bool { r := b.show(id); return r.Status == "WAIT" && len(f.runs()[id]) == 1 }, "%s to wait for its second attempt", id)
	}
	for _, id := range ids {
		got := make([]answer, 2)
		var callers sync.WaitGroup
		for i, x := range []*agent{a, b} {
			callers.Go(func() { got[i] = x.cancel(id) })
		}
		callers.Wait()
		for _, g := range got {
			answers[fmt.Sprint(g.status, " ", g.body)]++
		}
		a.waitStatus(id, "DISCARD")
	}
	t.Logf("%d requests canceled by two at once: %v", len(ids), answers)
	for text := range answers {
		require.NotContains(t, text, "503")
	}
}

// TestFull: the limit of the queue counts for all agents together.
func TestFull(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil, "GANTRY_ASYNC_MAX_EVENTS=50"), f.newAgent("b", nil, "GANTRY_ASYNC_MAX_EVENTS=50")
	answers := map[int]int{}
	for i := range 60 {
		answers[[]*agent{a, b}[i%2].request("POST", "invocations-async", `{"hold":"all"}`).status]++
	}
	require.Equal(t, map[int]int{202: 50, 429: 10}, answers)
	f.release("a")
	f.release("b")
	eventually(t, func() bool { return len(f.runs()) == 50 }, "all to run")
	eventually(t, func() bool { return b.request("POST", "invocations-async", "{}").status == 202 }, "room again")
}

// configure sets the function's configuration at one agent and waits until it is in force at the other.
func configure(at, other *agent, configuration string) {
	at.t.Helper()
	got := at.request("PUT", "async-invoke-config", configuration)
	require.Equal(at.t, 200, got.status, got.body)
	eventually(at.t, func() bool { return other.request("GET", "async-invoke-config", "").body == got.body }, "the configuration to be in force at agent %s", other.name)
}

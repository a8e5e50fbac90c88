package cluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSharedWork: requests accepted by one agent run at both, and the other one lists them at once.
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

// TestOtherAgent: a cancel works at either agent, and both show its outcome at once.
func TestOtherAgent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil), f.newAgent("b", nil)
	cancelRunning(t, a, b)
	cancelWaiting(t, a, b)
}

// cancelRunning has a request canceled by the agent that does not run it.
func cancelRunning(t *testing.T, a, b *agent) {
	t.Helper()
	id := a.accept(`{"hold":"all"}`)
	b.waitStatus(id, "RUNNING")
	eventually(t, func() bool { return len(a.fn.runs()[id]) == 1 }, "the function to note its run")
	runner := a.fn.runs()[id][0].agent
	other := map[string]*agent{a.name: b, b.name: a}[runner]
	require.Equal(t, 200, other.cancel(id).status)
	for _, x := range []*agent{a, b} {
		got := x.waitStatus(id, "FAIL")
		require.Equal(t, 4208, got.Code, got)
		require.Equal(t, 400, x.cancel(id).status)
	}
	t.Logf("a request that ran at %s was canceled at %s", runner, other.name)
}

// cancelWaiting accepts more than both agents can start. Waiting requests are canceled at one agent and queried at the
// other at once.
func cancelWaiting(t *testing.T, a, b *agent) {
	t.Helper()
	f, before := a.fn, len(a.fn.runs())
	var all, canceled []string
	for range 100 {
		all = append(all, a.accept(`{"hold":"all"}`))
	}
	eventually(t, func() bool { return len(f.runs()) == before+32 }, "32 requests to run")
	for _, id := range all {
		if len(f.runs()[id]) > 0 {
			continue
		}
		canceled = append(canceled, id)
		require.Equal(t, 200, a.cancel(id).status)
		require.Equal(t, "DISCARD", b.show(id).Status)
		a, b = b, a
	}
	f.release("a")
	f.release("b")
	for _, id := range all {
		if slices.Contains(canceled, id) {
			require.Equal(t, "DISCARD", b.show(id).Status)
			require.Empty(t, f.runs()[id], "canceled before it ran")
		} else {
			b.waitStatus(id, "SUCCESS")
		}
	}
	t.Logf("%d requests that waited were canceled", len(canceled))
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

// TestFull: the limit of the queue counts for all agents together. What an agent accepts itself it knows at once, what
// others accept a second later.
func TestFull(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil, "GANTRY_ASYNC_MAX_EVENTS=50"), f.newAgent("b", nil, "GANTRY_ASYNC_MAX_EVENTS=50")
	event := `{"hold":"all"}`
	accepted := map[string]bool{b.accept(event): true}
	for {
		got := a.request("POST", "invocations-async", event)
		if got.status == 429 {
			require.Contains(t, got.body, "GANTRY_ASYNC_MAX_EVENTS")
			break
		}
		require.Equal(t, 202, got.status, got.body)
		accepted[requestID(got)] = true
	}
	require.Contains(t, []int{50, 51}, len(accepted), "one of them may be another agent's, of the last second")
	full, more := time.Now(), 0
	var last answer
	eventually(t, func() bool {
		if last = b.request("POST", "invocations-async", event); last.status == 202 {
			accepted[requestID(last)] = true
			more++
		}
		return last.status == 429
	}, "agent b to see that the queue is full: %+v", &last)
	t.Logf("another agent accepted %d more in %s", more, round(time.Since(full)))
	require.Less(t, time.Since(full), 5*time.Second)
	f.release("a")
	f.release("b")
	eventually(t, func() bool { return len(f.runs()) == len(accepted) }, "all to run")
	eventually(t, func() bool { return b.request("POST", "invocations-async", "{}").status == 202 }, "room again")
}

// configure sets the function's configuration at one agent and waits until it is in force at the other. After an outage
// each stream elects its leader in its own time: until then the answer is 503.
func configure(at, other *agent, configuration string) {
	at.t.Helper()
	var got answer
	eventually(at.t, func() bool {
		got = at.request("PUT", "async-invoke-config", configuration)
		return got.status != 503
	}, "the configuration to be stored")
	require.Equal(at.t, 200, got.status, got.body)
	eventually(at.t, func() bool { return other.request("GET", "async-invoke-config", "").body == got.body }, "the configuration to be in force at agent %s", other.name)
}

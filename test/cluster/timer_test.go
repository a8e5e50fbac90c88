package cluster

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTimersOfSeveralAgentsCallOnceATick: three agents have the same timer, and up to two of them are killed at any
// moment. None of a thousand ticks is missed, and none is stored twice.
func TestTimersOfSeveralAgentsCallOnceATick(t *testing.T) {
	t.Parallel()
	const ticks, period = 1000, 100 * time.Millisecond
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	var agents []*agent
	for _, name := range []string{"a", "b", "c"} {
		agents = append(agents, f.newAgent(name, nil, "GANTRY_TIMER=grid=@every "+period.String()))
	}
	agents[0].waitTimers()
	begin := time.Now().Add(time.Second).Truncate(period)
	end := begin.Add(ticks * period)
	type kill struct {
		agent string
		at    time.Time
	}
	var kills []kill
	for rounds := 0; time.Now().Before(end); rounds++ {
		for _, a := range agents { // so that one is always alive, and takes part
			a.waitTimers()
		}
		rand.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
		victims := agents[:1+rand.IntN(2)]
		for _, a := range victims {
			a.Kill()
			kills = append(kills, kill{a.name, time.Now()})
			sleepUpTo(500 * time.Millisecond)
		}
		for _, a := range victims {
			a.start()
		}
	}
	eventually(t, func() bool { return time.Now().After(end.Add(period)) }, "the last tick")
	for _, a := range agents {
		a.Stop()
	}
	stored := f.cluster.stream("_events_0").State.LastSeq
	f.newAgent("rest", nil) // has no timer, and runs what is left
	var runs map[string][]run
	eventually(t, func() bool { runs = f.runs(); return uint64(len(runs)) >= stored }, "every request to run")
	require.Equal(t, stored, uint64(len(runs)), "requests are stored twice, or have no tick")
	seen := map[int64]bool{}
	again := 0
	for id, all := range runs {
		tick, ok := acceptedAt(id)
		require.True(t, ok, id)
		seen[tick.UnixMilli()] = true
		for i := range all[1:] { // at least once is what the queue promises when the agent of a request dies
			again++
			require.True(t, slices.ContainsFunc(kills, func(k kill) bool {
				return k.agent == all[i].agent && !k.at.Before(all[i].at) && !k.at.After(all[i+1].at)
			}), "%s ran twice, and its agent was not killed: %v", id, all)
		}
	}
	for at := begin; at.Before(end); at = at.Add(period) {
		require.True(t, seen[at.UnixMilli()], "the tick %s is missed", at)
	}
	t.Logf("%d kills of agents; %d ticks, %d of them in the window: none missed, none stored twice; %d requests ran again after a kill",
		len(kills), len(runs), ticks, again)
}

// waitTimers waits until the agent has fired a tick, or found that another one had.
func (a *agent) waitTimers() {
	a.t.Helper()
	eventually(a.t, func() bool {
		require.False(a.t, a.Over(), "agent %s ended", a.name)
		return strings.Contains(a.Stderr.String(), "timer tick accepted")
	}, "the timers of agent %s", &a.name)
}

// sleepUpTo varies the moments of a test; it waits for nothing.
func sleepUpTo(most time.Duration) { time.Sleep(rand.N(most)) }

package cluster

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// The consumers of a function lie in the memory of one server. These tests lose them in three ways, each time with long
// calls that run, a backlog, a request that waits for its retry, and outcome messages.

// TestConsumersServerKilled: the server that has a function's consumers dies, and stays away.
func TestConsumersServerKilled(t *testing.T) {
	t.Parallel()
	s := newLoss(t)
	s.lose(func() { s.cluster.server(s.cluster.consumer("gantry_events_0").Cluster.Leader).Kill() })
	s.judge()
}

// TestServersRestarted: all three servers are killed and come back; they know of no delivery then.
func TestServersRestarted(t *testing.T) {
	t.Parallel()
	s := newLoss(t)
	s.lose(func() { s.cluster.kill(); s.cluster.start() })
	s.judge()
}

// TestConsumersRemoved: an operator removes a function's consumers.
func TestConsumersRemoved(t *testing.T) {
	t.Parallel()
	s := newLoss(t)
	s.lose(func() {
		for _, stream := range []string{"gantry_events_0", "gantry_outcomes_0"} {
			require.NoError(t, s.cluster.js.DeleteConsumer(t.Context(), stream, s.cluster.consumer(stream).Name))
		}
	})
	s.judge()
}

// TestIdleConsumersServerLost: the same without anything under way. The agents notice that their fetches have become
// silent, or get errors; of a server that was stopped in order the others know that it is gone, and answer for it.
func TestIdleConsumersServerLost(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*server){"killed": func(s *server) { s.Kill() }, "stopped": func(s *server) { s.Stop() }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, nil)
			f := newFunction(t, c, "hello")
			a, b := f.newAgent("a", nil), f.newAgent("b", nil)
			for _, x := range []*agent{a, b} {
				x.waitStatus(x.accept("{}"), "SUCCESS")
			}
			end(c.server(c.consumer("gantry_events_0").Cluster.Leader))
			ended := time.Now()
			var id string
			eventually(t, func() bool {
				got, err := a.ask("POST", "invocations-async", "{}")
				id = requestID(got)
				return err == nil && got.status == 202
			}, "agent a to accept")
			accepted := time.Since(ended)
			eventually(t, func() bool { return len(f.runs()[id]) == 1 }, "the request to run")
			began := f.runs()[id][0].at.Sub(ended)
			t.Logf("accepted after %s, began after %s", round(accepted), round(began))
			require.Less(t, began, 25*time.Second)
			for _, x := range []*agent{a, b} {
				x.waitStatus(id, "SUCCESS")
			}
			late := f.newAgent("late", nil) // opens the queue while that server is away
			late.waitStatus(late.accept("{}"), "SUCCESS")
			require.Len(t, f.runs()[id], 1)
		})
	}
}

// loss is a function with two agents, and what is under way when its consumers are lost.
type loss struct {
	*load
	cluster *cluster
	a, b    *agent
	// held run at agent a until the end of the test.
	held []string
	// retried failed once, and its next attempt is due at a time.
	retried string
	due     time.Time
	at      time.Time // of the loss
}

// longCall is how long the calls at agent a last at least after the loss.
const longCall = time.Minute

func newLoss(t *testing.T) *loss {
	t.Helper()
	c := newCluster(t, nil)
	f := newFunction(t, c, "hello")
	a, b := f.newAgent("a", nil, "GANTRY_ASYNC_RETRY_DELAY=75"), f.newAgent("b", nil, "GANTRY_ASYNC_RETRY_DELAY=75")
	configure(a, b, `{"max_async_retry_attempts":1,"destination_config":{"on_success":{"destination":"OBS","param":"{\"bucket\":\"done\"}"}}}`)
	s := &loss{load: newLoad(f, a, b), cluster: c, a: a, b: b}
	s.waitCount(200)
	s.retried = b.accept(`{"fail":true}`)
	eventually(t, func() bool {
		all, err := c.records()
		s.due = all[s.retried].Due
		return err == nil && !s.due.IsZero()
	}, "a request to wait for its retry")
	s.held = s.hold(a, 16)
	s.hold(b, 16)
	s.waitCount(s.count() + 300) // a backlog
	return s
}

// lose loses the consumers while agent b has room again.
func (s *loss) lose(how func()) {
	s.t.Helper()
	how()
	s.at = time.Now()
	s.fn.release("b")
}

// judge waits until what was accepted after the loss has run, and until the calls of agent a have lasted longCall. How
// long nothing has begun is logged.
func (s *loss) judge() {
	s.t.Helper()
	after := s.recovered(s.at, s.a, s.b)
	s.waitCount(s.count() + 500)
	s.stop()
	began, ok := s.firstRun()
	for ; !ok; began, ok = s.firstRun() {
		require.Less(s.t, time.Since(s.at), patience, "nothing runs")
		time.Sleep(100 * time.Millisecond)
	}
	for _, id := range s.held {
		require.Equal(s.t, "RUNNING", s.b.show(id).Status)
	}
	time.Sleep(time.Until(s.at.Add(longCall)))
	runs := s.fn.runs()
	for _, id := range s.held {
		require.Len(s.t, runs[id], 1, "%s runs at agent a, and was begun again: %v", id, runs[id])
	}
	s.fn.release("a")
	s.drained(s.b)
	s.waitOutcomeMessages()
	again := s.fn.runs()[s.retried]
	require.Len(s.t, again, 2)
	early := s.due.Sub(again[1].at)
	s.check("accepted again at both after "+round(after).String(), "began again after "+round(began).String(),
		"the retry ran "+round(-early).String()+" after it was due")
	if s.due.Before(s.at) {
		s.t.Log("the machine was too busy to judge the retry: it came before the loss")
	}
	require.Less(s.t, early, 10*time.Millisecond) // the function rounds its times down
	require.Equal(s.t, "FAIL", s.b.show(s.retried).Status)
}

// fetched is how many requests agent b had in its hands at the loss: its slots, and one more.
const fetched = 17

// firstRun is the time from the loss until agent b began a request that it had not in its hands then.
func (s *loss) firstRun() (time.Duration, bool) {
	var begun []time.Time
	for _, runs := range s.fn.runs() {
		for _, r := range runs {
			if r.agent == "b" && r.at.After(s.at) {
				begun = append(begun, r.at)
			}
		}
	}
	if len(begun) <= fetched {
		return 0, false
	}
	slices.SortFunc(begun, time.Time.Compare)
	return begun[fetched].Sub(s.at), true
}

// consumer is the one of the only function with an agent.
func (c *cluster) consumer(stream string) (found *jetstream.ConsumerInfo) {
	c.t.Helper()
	eventually(c.t, func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		s, err := c.js.Stream(ctx, stream)
		if err != nil {
			return false
		}
		for info := range s.ListConsumers(ctx).Info() {
			found = info
		}
		return found != nil && found.Cluster != nil && found.Cluster.Leader != ""
	}, "a consumer of %s", &stream)
	return found
}

func (c *cluster) server(name string) *server {
	return c.servers[slices.IndexFunc(c.servers, func(s *server) bool { return s.name == name })]
}

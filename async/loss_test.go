package async

import (
	"context"
	"errors"
	"gantry/fault"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// TestLostConsumersRequestDoesNotBeginAfterItsOutcome: a consumer that was made again delivers to one agent what waits
// for its slot at another. That one runs it first; the first agent, whose slot comes within the same second, must not.
func TestLostConsumersRequestDoesNotBeginAfterItsOutcome(t *testing.T) {
	servers := startCluster(t)
	f := &testFunction{}
	type agent struct {
		*Queue
		waits chan string
		slot  chan bool
	}
	var agents []*agent
	for range 2 {
		a := &agent{waits: make(chan string, 1), slot: make(chan bool)}
		a.Queue = open(t, servers[0], f, func(cfg *Config) {
			cfg.Replicas, cfg.Parallel = 3, 1
			cfg.Invoke = func(inv *fncontext.Invocation, started func() error, event []byte) ([]byte, *fault.Error) {
				a.waits <- inv.RequestID
				<-a.slot
				return f.invoke(inv, started, event)
			}
		})
		require.NoError(t, a.Start(t.Context()))
		defer close(a.slot)
		agents = append(agents, a)
	}
	id := accept(t, agents[0].Queue, "{}")
	first, second := agents[0], agents[1]
	select {
	case <-first.waits:
	case <-second.waits:
		first, second = second, first
	}
	require.NoError(t, second.open.js.DeleteConsumer(t.Context(), first.open.lay.events, first.open.key))
	require.Equal(t, id, <-second.waits)
	first.slot <- true
	waitStatus(t, first.Queue, id, Success)
	require.Equal(t, 1, f.calls())
	second.slot <- true
	require.Eventually(t, func() bool { _, under := second.underWay.Load(id); return !under }, patience, time.Millisecond)
	require.Equal(t, 1, f.calls(), "begun after its outcome")
	require.EqualValues(t, 1, first.Counts()["succeeded"]+second.Counts()["succeeded"])
}

// TestStartIsRecordedWhenTheServersTakeItAgain: the start of a call cannot be stored at first. It is while the call
// lasts: other agents would take the request for one that waits.
func TestStartIsRecordedWhenTheServersTakeItAgain(t *testing.T) {
	end := make(chan struct{})
	begun := make(chan bool, 1)
	f := &testFunction{answer: func(int, *fncontext.Invocation, string) *fault.Error {
		begun <- true
		<-end
		return nil
	}}
	q := open(t, startServer(t, t.TempDir()), f)
	require.NoError(t, q.Start(t.Context()))
	limit := func(bytes int64) {
		info, err := q.open.leader.StreamInfo(recordStream, nats.Context(t.Context()))
		require.NoError(t, err)
		info.Config.MaxBytes = bytes
		_, err = q.open.leader.UpdateStream(&info.Config, nats.Context(t.Context()))
		require.NoError(t, err)
	}
	limit(1)
	id := accept(t, q, "{}")
	<-begun
	require.Equal(t, Wait, one(t, q, id).Status)
	limit(1 << 20)
	waitStatus(t, q, id, Running)
	close(end)
	r := waitStatus(t, q, id, Success)
	require.Equal(t, 1, r.Attempts.Started)
	require.Equal(t, 1, f.calls())
}

// TestAcceptsDoNotWaitForCountsThatFail: a consumer that is lost gives no count. One accept in a while waits for it.
func TestAcceptsDoNotWaitForCountsThatFail(t *testing.T) {
	now, asked, failed := time.Now(), 0, 0
	l := load{most: 10, now: func() time.Time { return now }, unknown: func(error) { failed++ }}
	l.begin(0)
	l.count = func(context.Context) (int64, error) {
		asked++
		now = now.Add(depthAge)
		return 0, errors.New("no answer")
	}
	now = now.Add(depthAge)
	for range 5 {
		require.True(t, l.reserve(t.Context(), 1))
	}
	require.Equal(t, 1, asked)
	now = now.Add(depthAge + lookPause)
	for range 5 {
		require.True(t, l.reserve(t.Context(), 1))
	}
	require.False(t, l.reserve(t.Context(), 1), "its own count goes on")
	require.Equal(t, 2, asked)
	require.Equal(t, asked, failed)
}

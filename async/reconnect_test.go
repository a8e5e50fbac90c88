package async

import (
	"context"
	"gantry/fault"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// exchanged is a server that a test replaces, as the child is by its next process.
type exchanged struct{ atomic.Pointer[server.Server] }

// InProcessConn implements nats.InProcessConnProvider.
func (x *exchanged) InProcessConn() (net.Conn, error) { return x.Load().InProcessConn() }

func (x *exchanged) by(s *server.Server) {
	x.Swap(s).Shutdown()
}

func on(x *exchanged) func(*Config) {
	return func(c *Config) {
		c.Connect = func(_ context.Context, options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect("", append(options, nats.InProcessServer(x))...)
		}
		c.Log = zap.NewNop() // it has an error, as it should
	}
}

// TestQueueGoesOnWithANewEmptyStore: the store is gone, with its contents. The queue goes on with a new one, in which
// acknowledgements of the old one's messages do not count.
func TestQueueGoesOnWithANewEmptyStore(t *testing.T) {
	gates := map[string]chan struct{}{"old": make(chan struct{}), "new": make(chan struct{})}
	f := &testFunction{answer: func(_ int, _ *fncontext.Invocation, event string) *fault.Error {
		<-gates[event]
		return nil
	}}
	x := &exchanged{}
	x.Store(startServer(t, t.TempDir()))
	q := open(t, x.Load(), f, on(x))
	c, err := ParseConfiguration([]byte(`{"max_async_retry_attempts":2}`))
	require.NoError(t, err)
	set, err := q.SetConfiguration(t.Context(), "latest", "", "urn", c)
	require.NoError(t, err)
	old := accept(t, q, "old")
	waitStatus(t, q, old, Running)

	x.by(startServer(t, t.TempDir()))
	id := ""
	require.Eventually(t, func() bool {
		id, err = q.Accept(t.Context(), &Event{Body: []byte("new"), Version: "latest"})
		return err == nil
	}, patience, 5*time.Millisecond)
	waitStatus(t, q, id, Running)
	close(gates["old"])
	waitStatus(t, q, old, Success)
	require.Never(t, func() bool { n, _ := q.Depth(); return n != 1 }, 2*depthAge, depthAge/4, "the new event has the old one's number")
	close(gates["new"])
	waitStatus(t, q, id, Success)
	require.Equal(t, 2, f.calls())

	again := open(t, x.Load(), f, on(x))
	kept, err := again.Configuration(t.Context(), "latest", "")
	require.NoError(t, err)
	require.Equal(t, set, kept)
	changed, err := q.SetConfiguration(t.Context(), "latest", "", "urn", c)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		seen, err := q.Configuration(t.Context(), "latest", "")
		return err == nil && seen == changed
	}, patience, time.Millisecond)
}

// TestStoredRequestsRunAfterTheirConsumerIsLost: a damaged one was set aside while the agent lived. What is stored
// runs all the same.
func TestStoredRequestsRunAfterTheirConsumerIsLost(t *testing.T) {
	gate := make(chan struct{})
	f := &testFunction{answer: func(int, *fncontext.Invocation, string) *fault.Error {
		<-gate
		return nil
	}}
	dir := t.TempDir()
	x := &exchanged{}
	x.Store(startServer(t, dir))
	q := open(t, x.Load(), f, on(x))
	var ids []string
	for range 10 {
		ids = append(ids, accept(t, q, "{}"))
	}
	require.Eventually(t, func() bool { return f.calls() == 4 }, patience, time.Millisecond)
	x.Load().Shutdown()
	x.Load().WaitForShutdown()
	consumers, err := filepath.Glob(filepath.Join(dir, "jetstream/$G/streams/gantry_events_0/obs"))
	require.NoError(t, err)
	require.Len(t, consumers, 1)
	require.NoError(t, os.RemoveAll(consumers[0]))
	x.Store(startServer(t, dir))
	require.Eventually(t, func() bool {
		_, err := q.Accept(t.Context(), &Event{Body: []byte("{}"), Version: "latest"})
		return err == nil
	}, patience, 5*time.Millisecond)
	close(gate)
	for _, id := range ids {
		waitStatus(t, q, id, Success)
	}
	require.Equal(t, 11, f.calls())
}

// TestOnlyALostConsumerIsReportedMissing: after a restart of the server everything is there.
func TestOnlyALostConsumerIsReportedMissing(t *testing.T) {
	dir := t.TempDir()
	x := &exchanged{}
	x.Store(startServer(t, dir))
	logs, observe := observed()
	q := open(t, x.Load(), &testFunction{}, on(x), observe)
	waitStatus(t, q, accept(t, q, "{}"), Success)
	x.Load().Shutdown()
	x.Load().WaitForShutdown()
	x.Store(startServer(t, dir))
	require.Eventually(t, func() bool { return !q.open.away.Load() && q.open.conn.IsConnected() }, patience, time.Millisecond)
	missing := func() int { return logs.FilterMessageSnippet("is missing, and is made again").Len() }
	q.open.restore()
	require.Zero(t, missing())
	q.Pause()                           // a fetch would make it again
	require.Eventually(t, func() bool { // what came with the reconnection may have made it again in between
		before := missing()
		err := q.open.js.DeleteConsumer(t.Context(), q.open.lay.events, q.open.key)
		q.open.restore()
		return err == nil && missing() == before+1
	}, patience, time.Millisecond)
}

// TestContextEndsWhenTheServerConnectionIsLost: a call does not wait for an answer of a server that is gone.
func TestContextEndsWhenTheServerConnectionIsLost(t *testing.T) {
	x := &exchanged{}
	x.Store(startServer(t, t.TempDir()))
	q := open(t, x.Load(), &testFunction{}, on(x))
	require.NoError(t, q.Start(t.Context()))
	for range 3 {
		require.Eventually(t, q.open.conn.IsConnected, patience, time.Millisecond)
		ctx, release := q.open.whileConnected(t.Context())
		defer release()
		x.by(startServer(t, t.TempDir()))
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), errCut)
	}
	ctx, release := q.open.whileConnected(t.Context())
	release()
	<-ctx.Done()
	require.Equal(t, context.Canceled, context.Cause(ctx))
}

// TestRequestFailsAfterThreeAttemptsOfDyingAgents: a request during which agents keep dying runs a bounded number of
// times.
func TestRequestFailsAfterThreeAttemptsOfDyingAgents(t *testing.T) {
	for lost, want := range []Status{Success, Success, Fail} {
		s, f := startServer(t, t.TempDir()), &testFunction{}
		dead := open(t, s, f)
		dead.Pause()
		id := accept(t, dead, "{}")
		_, err := dead.open.write(t.Context(), &Record{RequestID: id, Status: Running, Attempts: attempts{Started: lost + 1, Lost: lost}}, 0)
		require.NoError(t, err)
		r := waitStatus(t, open(t, s, f), id, want)
		require.Equal(t, lost+1, r.Attempts.Lost)
		if want == Fail {
			require.Equal(t, fault.CodeExited, r.ErrorCode)
			require.Contains(t, r.ErrorMessage, "the agent died during 3 attempts")
			require.Zero(t, f.calls())
		}
	}
}

// redelivered is a message that is under way already: it may only be handed back.
type redelivered struct {
	jetstream.Msg
	handedBack int
}

func (r *redelivered) Subject() string { return "gantry.key.event.id" }

func (r *redelivered) NakWithDelay(time.Duration) error {
	r.handedBack++
	return nil
}

func TestRequestIsLookedAfterOnce(t *testing.T) {
	e, r := &engine{underWay: &sync.Map{}}, &redelivered{}
	e.underWay.Store("id", nil)
	e.handle(&message{Msg: r, engine: e})
	require.Equal(t, 1, r.handedBack)
	_, still := e.underWay.Load("id")
	require.True(t, still)
}

// TestLateRequestRunsOnlyIfItsStartIsRecorded: a request that waited long for its slot runs only if its start can be
// recorded. Another agent may have recorded an outcome meanwhile.
func TestLateRequestRunsOnlyIfItsStartIsRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		overtaken bool
		calls     int
	}{"nobody else has it": {false, 1}, "another agent has ended it": {true, 0}} {
		t.Run(name, func(t *testing.T) {
			f := &testFunction{}
			waits, slot, ended := make(chan string, 1), make(chan bool), make(chan bool, 1)
			var late atomic.Int64
			q := open(t, startServer(t, t.TempDir()), f, func(cfg *Config) {
				cfg.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
				cfg.Invoke = func(inv *fncontext.Invocation, started func() error, event []byte) ([]byte, *fault.Error) {
					waits <- inv.RequestID
					<-slot
					body, f := f.invoke(inv, started, event)
					ended <- true
					return body, f
				}
			})
			id := accept(t, q, "{}")
			require.Equal(t, id, <-waits)
			if c.overtaken {
				_, err := q.open.write(t.Context(), &Record{RequestID: id, Status: Success, End: time.Now(), Attempts: attempts{Started: 1}}, 0)
				require.NoError(t, err)
			}
			late.Store(int64(sureLong))
			close(slot)
			<-ended
			r := waitStatus(t, q, id, Success)
			require.Equal(t, 1, r.Attempts.Started)
			require.Equal(t, c.calls, f.calls())
			require.EqualValues(t, c.calls, q.Counts()["started"])
		})
	}
}

package async

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/test/harness"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	fncontext "gantry/context"
)

// patience bounds every wait; the tests wait for conditions, and the machine may be busy.
const patience = harness.Patience

// startServer runs a JetStream server in this process; the child's has the same options.
func startServer(t *testing.T, dir string, change ...func(*server.Options)) *server.Server {
	t.Helper()
	options := &server.Options{JetStream: true, StoreDir: dir, SyncAlways: true, DontListen: true, NoSigs: true, NoLog: true}
	for _, c := range change {
		c(options)
	}
	s, err := server.NewServer(options)
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(patience))
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

// testFunction is what the queue calls in place of a worker.
type testFunction struct {
	mu        sync.Mutex
	seen      []*fncontext.Invocation
	events    []string
	answer    func(n int, inv *fncontext.Invocation, event string) *fault.Error
	cancelled map[string]chan struct{}
	running   atomic.Int64
	most      atomic.Int64
	result    string
}

func (f *testFunction) invoke(inv *fncontext.Invocation, started func() error, event []byte) ([]byte, *fault.Error) {
	if err := started(); err != nil {
		return nil, fault.From(err)
	}
	f.most.Store(max(f.most.Load(), f.running.Add(1)))
	defer f.running.Add(-1)
	f.mu.Lock()
	f.seen, f.events = append(f.seen, inv), append(f.events, string(event))
	n := len(f.seen)
	f.mu.Unlock()
	if f.answer != nil {
		if fault := f.answer(n, inv, string(event)); fault != nil {
			return nil, fault
		}
	}
	return []byte(f.result), nil
}

func (f *testFunction) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

// block makes calls wait until they are cancelled, or the test ends.
func (f *testFunction) block(inv *fncontext.Invocation, end <-chan struct{}) *fault.Error {
	done := make(chan struct{})
	f.mu.Lock()
	if f.cancelled == nil {
		f.cancelled = map[string]chan struct{}{}
	}
	f.cancelled[inv.RequestID] = done
	f.mu.Unlock()
	select {
	case <-done:
		return &fault.Error{Kind: fault.Canceled, Code: fault.CodeCanceled, Message: "function invocation canceled"}
	case <-end:
		return nil
	}
}

func (f *testFunction) cancel(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := f.cancelled[id]
	if done == nil {
		return false
	}
	delete(f.cancelled, id)
	close(done)
	return true
}

// open returns a queue on s.
func open(t *testing.T, s *server.Server, f *testFunction, change ...func(*Config)) *Queue {
	t.Helper()
	cfg := &Config{
		Function: &fncontext.Function{Region: "r", Project: "p", Package: "default", Name: "hello", Version: "latest"},
		Connect: func(_ context.Context, options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect("", append(options, nats.InProcessServer(s))...)
		},
		Replicas: 1, MaxEvents: 1000, MaxBytes: 64 << 20, Parallel: 4, Retention: time.Hour, UserDelay: time.Millisecond,
		Invoke: f.invoke, Cancel: f.cancel, Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)),
	}
	for _, c := range change {
		c(cfg)
	}
	q := New(cfg)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		q.Close(ctx)
	})
	return q
}

func accept(t *testing.T, q *Queue, body string) string {
	t.Helper()
	id, err := q.Accept(t.Context(), &Event{Body: []byte(body), Version: "latest"})
	require.NoError(t, err)
	return id
}

// one returns the record of a request, or nil.
func one(t *testing.T, q *Queue, id string) *Record {
	t.Helper()
	p, err := q.Records(t.Context(), &Filter{IDs: []string{id}, Limit: 1})
	require.NoError(t, err)
	if len(p.Records) == 0 {
		return nil
	}
	return &p.Records[0]
}

// waitStatus waits until the record of a request has a status. A store that is new, or away, may not list records yet.
func waitStatus(t *testing.T, q *Queue, id string, want Status) *Record {
	t.Helper()
	var r *Record
	var last error
	if !assert.Eventually(t, func() bool {
		p, err := q.Records(t.Context(), &Filter{IDs: []string{id}, Limit: 1})
		if last = err; err != nil || len(p.Records) == 0 {
			return false
		}
		r = &p.Records[0]
		return r.Status == want
	}, patience, 5*time.Millisecond) {
		require.FailNow(t, "no such status", "%s is %+v, want %s; the last error: %v", id, r, want, last)
	}
	return r
}

func TestAcceptedEventRunsWithItsFactsAndIsRecorded(t *testing.T) {
	f := &testFunction{}
	q := open(t, startServer(t, t.TempDir()), f)
	began := time.Now().Add(-time.Millisecond)
	id, err := q.Accept(t.Context(), &Event{Body: []byte(`{"k":1}`), Version: "latest", Alias: "prod", MemoryMB: 512, Trace: fncontext.Trace{Parent: "p", State: "s"}})
	require.NoError(t, err)
	at, ok := acceptedAt(id)
	require.True(t, ok)
	require.WithinRange(t, at, began.Add(-time.Millisecond), time.Now())
	r := waitStatus(t, q, id, Success)
	require.Zero(t, r.ErrorCode)
	require.Equal(t, 1, r.Attempts.Started)
	require.False(t, r.Start.IsZero() || r.End.Before(r.Start))
	require.Equal(t, []string{`{"k":1}`}, f.events)
	inv := f.seen[0]
	require.True(t, inv.Async)
	require.Equal(t, id, inv.RequestID)
	require.Equal(t, "prod", inv.Alias)
	require.Equal(t, 512, inv.MemoryMB)
	require.Equal(t, fncontext.Trace{Parent: "p", State: "s"}, inv.Trace)
	_, err = q.Accept(t.Context(), &Event{Body: make([]byte, MaxEvent+1)})
	requireFault(t, err, fault.TooLarge, "beyond maximum:262144")
	require.NotEmpty(t, accept(t, q, string(make([]byte, MaxEvent))), "the limit itself")
}

func requireFault(t *testing.T, err error, kind fault.Kind, says string) {
	t.Helper()
	var f *fault.Error
	require.True(t, errors.As(err, &f), "%v", err)
	require.Equal(t, kind, f.Kind, f.Message)
	require.Contains(t, f.Message, says)
}

// TestOnlyUserErrorsUseUpTheConfiguredRetries: user errors by the configuration, others until they pass.
func TestOnlyUserErrorsUseUpTheConfiguredRetries(t *testing.T) {
	user := &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation, Message: "x", Body: []byte(`{"errorMessage":"asked to fail"}`)}
	system := &fault.Error{Kind: fault.Internal, Code: fault.CodeInternal, Message: "ours"}
	event := &fault.Error{Kind: fault.Event, Code: fault.CodeInvocation, Body: []byte("no JSON")}
	for name, c := range map[string]struct {
		retries int // -1 for no configuration
		faults  []*fault.Error
		want    Status
		calls   int
	}{
		"no configuration":        {-1, []*fault.Error{user, nil}, Fail, 1},
		"retried, then well":      {2, []*fault.Error{user, user, nil}, Success, 3},
		"retried in vain":         {1, []*fault.Error{user, user, nil}, Fail, 2},
		"none wanted":             {0, []*fault.Error{user, nil}, Fail, 1},
		"system errors are apart": {0, []*fault.Error{system, nil}, Success, 2},
		"an event never improves": {3, []*fault.Error{event, nil}, Fail, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := &testFunction{answer: func(n int, _ *fncontext.Invocation, _ string) *fault.Error { return c.faults[min(n, len(c.faults))-1] }}
			q := open(t, startServer(t, t.TempDir()), f)
			if c.retries >= 0 {
				config, err := ParseConfiguration(fmt.Appendf(nil, `{"max_async_retry_attempts":%d}`, c.retries))
				require.NoError(t, err)
				_, err = q.SetConfiguration(t.Context(), "latest", "", "urn", config)
				require.NoError(t, err)
			}
			r := waitStatus(t, q, accept(t, q, "{}"), c.want)
			require.Equal(t, c.calls, r.Attempts.Started)
			require.Equal(t, c.calls, f.calls())
			if c.want == Fail {
				require.Equal(t, c.faults[c.calls-1].Code, r.ErrorCode)
				require.Contains(t, string(c.faults[c.calls-1].Body), r.ErrorMessage)
			}
		})
	}
}

// TestRequestTooOldForItsRetryIsDiscarded: a request that is too old is discarded, also while it waits for its retry.
func TestRequestTooOldForItsRetryIsDiscarded(t *testing.T) {
	f := &testFunction{answer: func(int, *fncontext.Invocation, string) *fault.Error {
		return &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation, Message: "x", Body: []byte("no")}
	}}
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.UserDelay = time.Hour })
	config, err := ParseConfiguration([]byte(`{"max_async_event_age_in_seconds":1,"max_async_retry_attempts":3}`))
	require.NoError(t, err)
	_, err = q.SetConfiguration(t.Context(), "latest", "", "urn", config)
	require.NoError(t, err)
	r := waitStatus(t, q, accept(t, q, "{}"), Discard)
	require.Equal(t, 1, r.Attempts.Started)
	require.Contains(t, r.ErrorMessage, "older than 1s, after 1 attempts; the last error: no")
}

// gated is a function whose calls report that they wait for a slot, and get it when the test says so; late sets the
// clock forward.
func gated(t *testing.T, f *testFunction) (q *Queue, waits chan string, slot chan bool, late *atomic.Int64) {
	t.Helper()
	waits, slot, late = make(chan string, 1), make(chan bool), &atomic.Int64{}
	q = open(t, startServer(t, t.TempDir()), f, func(cfg *Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
		cfg.Invoke = func(inv *fncontext.Invocation, started func() error, event []byte) ([]byte, *fault.Error) {
			waits <- inv.RequestID
			<-slot
			return f.invoke(inv, started, event)
		}
	})
	return q, waits, slot, late
}

func putConfiguration(t *testing.T, q *Queue, text string) {
	t.Helper()
	c, err := ParseConfiguration([]byte(text))
	require.NoError(t, err)
	_, err = q.SetConfiguration(t.Context(), "latest", "", "urn", c)
	require.NoError(t, err)
}

// TestRequestTooOldForItsSlotDoesNotRun: a request that grew too old while it waited for its slot does not run.
func TestRequestTooOldForItsSlotDoesNotRun(t *testing.T) {
	f := &testFunction{}
	q, waits, slot, late := gated(t, f)
	defer close(slot)
	putConfiguration(t, q, `{"max_async_event_age_in_seconds":60}`)
	id := accept(t, q, "{}")
	require.Equal(t, id, <-waits)
	late.Store(int64(time.Minute))
	slot <- true
	r := waitStatus(t, q, id, Discard)
	require.Equal(t, "the event is older than 1m0s", r.ErrorMessage)
	require.Zero(t, r.Attempts.Started)
	require.Zero(t, f.calls())
	requireCounts(t, q, map[string]int64{"accepted": 1, "expired": 1})
}

// TestExpiryDoesNotDiscardWhatAnotherAgentRuns: an agent that was cut off meanwhile does not discard what another one
// runs.
func TestExpiryDoesNotDiscardWhatAnotherAgentRuns(t *testing.T) {
	f := &testFunction{}
	q, waits, slot, late := gated(t, f)
	defer close(slot)
	putConfiguration(t, q, `{"max_async_event_age_in_seconds":60}`)
	id := accept(t, q, "{}")
	require.Equal(t, id, <-waits)
	_, err := q.open.write(t.Context(), &Record{RequestID: id, Status: Running, Start: time.Now(), Attempts: attempts{Started: 1}}, 0)
	require.NoError(t, err)
	late.Store(int64(time.Minute))
	slot <- true
	require.Eventually(t, func() bool { _, under := q.underWay.Load(id); return !under }, patience, time.Millisecond)
	require.Equal(t, Running, one(t, q, id).Status)
	require.Zero(t, f.calls())
	require.Zero(t, q.Counts()["expired"])
}

// TestConfigurationCountsAtOnce: for a request that waits for its slot, and for one that runs.
func TestConfigurationCountsAtOnce(t *testing.T) {
	var set func()
	f := &testFunction{answer: func(int, *fncontext.Invocation, string) *fault.Error {
		set()
		return &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation, Body: []byte("no")}
	}}
	q, waits, slot, late := gated(t, f)
	defer close(slot)
	set = func() { putConfiguration(t, q, `{"max_async_retry_attempts":0}`) }
	putConfiguration(t, q, `{"max_async_retry_attempts":3}`)
	id := accept(t, q, "{}")
	require.Equal(t, id, <-waits)
	slot <- true
	require.Equal(t, 1, waitStatus(t, q, id, Fail).Attempts.Started, "no retries any more")

	id = accept(t, q, "{}")
	require.Equal(t, id, <-waits)
	putConfiguration(t, q, `{"max_async_event_age_in_seconds":60}`)
	late.Store(int64(time.Minute))
	slot <- true
	waitStatus(t, q, id, Discard)
	require.Equal(t, 1, f.calls())
}

// TestUnavailableIsNoAttempt: a call that the stop refused counts for nothing.
func TestUnavailableIsNoAttempt(t *testing.T) {
	f := &testFunction{answer: func(n int, _ *fncontext.Invocation, _ string) *fault.Error {
		if n < 3 {
			return &fault.Error{Kind: fault.Unavailable, Type: fault.TypeDraining, Code: fault.CodeUnavailable, Message: "the instance is stopping"}
		}
		return nil
	}}
	q := open(t, startServer(t, t.TempDir()), f)
	require.Equal(t, 1, waitStatus(t, q, accept(t, q, "{}"), Success).Attempts.Started)
}

// TestUnavailableAgentIsAskedWithGrowingPauses: an agent that cannot take calls, and is not stopping, is not asked
// again and again.
func TestUnavailableAgentIsAskedWithGrowingPauses(t *testing.T) {
	var asked atomic.Int64
	q := open(t, startServer(t, t.TempDir()), &testFunction{}, func(c *Config) {
		c.Invoke = func(*fncontext.Invocation, func() error, []byte) ([]byte, *fault.Error) {
			asked.Add(1)
			return nil, &fault.Error{Kind: fault.Unavailable, Type: "Extension.Required", Code: fault.CodeUnavailable, Message: "extension x is required"}
		}
	})
	began := time.Now()
	id := accept(t, q, "{}")
	require.Eventually(t, func() bool { return asked.Load() == 3 }, patience, time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), systemDelay*3/2, "half of a second, then half of two")
	r := waitStatus(t, q, id, Wait)
	require.Zero(t, r.Attempts.Started, "no attempt of the function's")
}

func TestParallelIsBounded(t *testing.T) {
	gate := make(chan struct{})
	f := &testFunction{answer: func(int, *fncontext.Invocation, string) *fault.Error { <-gate; return nil }}
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.Parallel = 3 })
	var ids []string
	for range 10 {
		ids = append(ids, accept(t, q, "{}"))
	}
	require.Eventually(t, func() bool { return f.running.Load() == 3 }, patience, time.Millisecond)
	close(gate)
	for _, id := range ids {
		waitStatus(t, q, id, Success)
	}
	require.EqualValues(t, 3, f.most.Load())
	require.Equal(t, 10, f.calls())
}

func TestRecordsAreListedInOrderFilteredAndPaged(t *testing.T) {
	gate := make(chan struct{})
	f := &testFunction{answer: func(_ int, _ *fncontext.Invocation, event string) *fault.Error {
		if event == "wait" {
			<-gate
		}
		return nil
	}}
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.Parallel = 1 })
	defer close(gate)
	var ids []string
	for range 5 {
		ids = append(ids, accept(t, q, "{}"))
	}
	for _, id := range ids {
		waitStatus(t, q, id, Success)
	}
	ids = append(ids, accept(t, q, "wait"))
	waitStatus(t, q, ids[5], Running)
	ids = append(ids, accept(t, q, "later"))
	list := func(f Filter) (found []string, p *Page) {
		if f.Limit == 0 {
			f.Limit = 100
		}
		p, err := q.Records(t.Context(), &f)
		require.NoError(t, err)
		for _, r := range p.Records {
			found = append(found, r.RequestID)
		}
		return found, p
	}
	found, p := list(Filter{})
	require.Equal(t, ids, found, "in the order of acceptance")
	require.Equal(t, 7, p.Count)
	require.Zero(t, p.Next)
	require.Equal(t, Wait, p.Records[6].Status)
	found, p = list(Filter{Offset: 2, Limit: 3})
	require.Equal(t, ids[2:5], found)
	require.Equal(t, 5, p.Next)
	found, p = list(Filter{Offset: 5, Limit: 3})
	require.Equal(t, ids[5:], found)
	require.Zero(t, p.Next)
	found, _ = list(Filter{Offset: 50})
	require.Empty(t, found)
	found, _ = list(Filter{Status: Success})
	require.Equal(t, ids[:5], found)
	found, _ = list(Filter{Active: true})
	require.Equal(t, ids[5:], found)
	found, _ = list(Filter{IDs: []string{ids[6], ids[0], "no id"}})
	require.Equal(t, []string{ids[0], ids[6]}, found)
	found, _ = list(Filter{Begin: time.Now().Add(time.Minute)})
	require.Empty(t, found)
	found, _ = list(Filter{End: time.Now().Add(-time.Hour)})
	require.Empty(t, found)
	require.True(t, slices.IsSorted(ids))
}

func TestCancelEndsWaitingAndRunningRequests(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	f := &testFunction{}
	f.answer = func(_ int, inv *fncontext.Invocation, _ string) *fault.Error { return f.block(inv, end) }
	s := startServer(t, t.TempDir())
	q := open(t, s, f, func(c *Config) { c.Parallel = 1 })
	running := accept(t, q, "a")
	waitStatus(t, q, running, Running)
	waiting := accept(t, q, "b")
	require.NoError(t, q.Cancel(t.Context(), waiting, false))
	r := one(t, q, waiting)
	require.Equal(t, Discard, r.Status)
	require.Equal(t, fault.CodeCanceled, r.ErrorCode)
	require.Eventually(t, func() bool { return q.Cancel(t.Context(), running, false) == nil }, patience, time.Millisecond, "until the call is known")
	r = waitStatus(t, q, running, Fail)
	require.Equal(t, fault.CodeCanceled, r.ErrorCode)
	require.Equal(t, "function invocation canceled", r.ErrorMessage)
	for _, id := range []string{running, waiting, "nonsense", "01920000-0000-7000-8000-000000000000", ""} {
		requireFault(t, q.Cancel(t.Context(), id, false), fault.Invalid, "Invalid RequestId")
	}
	require.Equal(t, []string{"a"}, f.events, "what was cancelled while it waited never runs")

	// From another agent of the same function.
	third := accept(t, q, "c")
	waitStatus(t, q, third, Running)
	other := open(t, s, &testFunction{}, func(c *Config) { c.Parallel = 1 })
	require.Eventually(t, func() bool { return other.Cancel(t.Context(), third, false) == nil }, patience, 10*time.Millisecond)
	waitStatus(t, other, third, Fail)
}

// TestRecordedIsNeverRunAgain: an event that comes again although its outcome is there only leaves the queue.
func TestRecordedIsNeverRunAgain(t *testing.T) {
	f := &testFunction{}
	q := open(t, startServer(t, t.TempDir()), f)
	e, err := q.engine(t.Context())
	require.NoError(t, err)
	id := accept(t, q, "once")
	waitStatus(t, q, id, Success)
	_, err = e.js.Publish(t.Context(), e.lay.event+id, []byte("again"))
	require.NoError(t, err)
	after := accept(t, q, "after")
	waitStatus(t, q, after, Success)
	require.Eventually(t, func() bool {
		waiting, err := e.waitingEvents(t.Context())
		return err == nil && waiting == 0
	}, patience, time.Millisecond)
	require.Equal(t, []string{"once", "after"}, f.events)
}

// TestRequestsWithOneIDOfTheirCallersAreStoredOnce: whichever agent sends them, also after the first has ended.
func TestRequestsWithOneIDOfTheirCallersAreStoredOnce(t *testing.T) {
	s, f := startServer(t, t.TempDir()), &testFunction{}
	q, other := open(t, s, f), open(t, s, f)
	id, next := newID(), newID()
	first, err := q.AcceptOnce(t.Context(), id, &Event{Body: []byte("once")})
	require.NoError(t, err)
	require.True(t, first)
	require.Eventually(t, func() bool {
		first, err = other.AcceptOnce(t.Context(), id, &Event{Body: []byte("once")})
		require.NoError(t, err)
		require.False(t, first)
		r := one(t, q, id)
		return r != nil && r.Status == Success
	}, patience, 10*time.Millisecond)
	first, err = other.AcceptOnce(t.Context(), next, &Event{Body: []byte("next")})
	require.NoError(t, err)
	require.True(t, first)
	waitStatus(t, q, next, Success)
	require.Equal(t, []string{"once", "next"}, f.events)
	require.Equal(t, int64(1), q.Counts()["accepted"])
	require.Equal(t, int64(1), other.Counts()["accepted"])
}

// TestRestartRunsOnlyWhatHasNotRunYet: what was accepted and not run yet runs at the next start; what has run does not.
func TestRestartRunsOnlyWhatHasNotRunYet(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	first := &testFunction{}
	q := open(t, s, first)
	ran := accept(t, q, "ran")
	waitStatus(t, q, ran, Success)
	q.Pause()
	var left []string
	require.Eventually(t, func() bool { // the loop may have asked for one more
		left = append(left, accept(t, q, fmt.Sprint(len(left))))
		return one(t, q, left[len(left)-1]).Status == Wait
	}, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	q.Close(ctx)
	s.Shutdown()
	s.WaitForShutdown()

	second := &testFunction{}
	q = open(t, startServer(t, dir), second)
	require.NoError(t, q.Start(t.Context()))
	for _, id := range append(left, ran) {
		waitStatus(t, q, id, Success)
	}
	require.NotContains(t, second.events, "ran")
	require.Len(t, append(first.events, second.events...), len(left)+1, "each once")
}

// TestRequestsOfAnotherVersionAreLoggedAtStart: an agent logs that its store holds requests of another version.
// Stores without such requests, and clusters, where other agents run theirs, cause no log line.
func TestRequestsOfAnotherVersionAreLoggedAtStart(t *testing.T) {
	s := startServer(t, t.TempDir())
	of := func(version string, more ...func(*Config)) *Queue {
		return open(t, s, &testFunction{}, append(more, func(c *Config) {
			fn := *c.Function
			fn.Version = version
			c.Function = &fn
		})...)
	}
	q := of("v1")
	q.Pause() // before it is opened: nothing is ever fetched
	accept(t, q, "{}")
	accept(t, q, "{}")
	require.NoError(t, of("v0").Start(t.Context()), "it has none")
	core, logs := observer.New(zap.WarnLevel)
	on := func(alone bool) func(*Config) {
		return func(c *Config) { c.Alone, c.Log = alone, zap.New(core) }
	}
	require.NoError(t, of("v2", on(false)).Start(t.Context()))
	require.Zero(t, logs.Len())
	require.NoError(t, of("v2", on(true)).Start(t.Context()))
	require.Equal(t, 1, logs.Len())
	m := logs.All()[0].ContextMap()
	require.Equal(t, "events of urn:fss:r:p:function:default:hello:v1", m["what"])
	require.EqualValues(t, 2, m["requests"])
	require.NoError(t, of("v1", on(true)).Start(t.Context()))
	require.Equal(t, 1, logs.Len(), "its own are not stranded")
}

func TestFullQueueRefusesEventsAsThrottled(t *testing.T) {
	gate := make(chan struct{})
	defer close(gate)
	f := &testFunction{answer: func(int, *fncontext.Invocation, string) *fault.Error { <-gate; return nil }}
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.MaxEvents = 3 })
	for range 3 {
		accept(t, q, "{}")
	}
	_, err := q.Accept(t.Context(), &Event{Body: []byte("{}")})
	requireFault(t, err, fault.Throttled, "the queue is full")
}

// requireCounts waits for the counts of a queue; what is not named is zero. They come a moment after the records.
func requireCounts(t *testing.T, q *Queue, want map[string]int64) {
	t.Helper()
	var got map[string]int64
	require.Eventually(t, func() bool {
		got = q.Counts()
		maps.DeleteFunc(got, func(_ string, n int64) bool { return n == 0 })
		return maps.Equal(got, want)
	}, patience, time.Millisecond, "%v, want %v", &got, want)
}

// TestOutcomeRecordedByAnotherAgentIsNotCounted: an outcome is counted once, by the agent that recorded it. Another
// agent recorded these while they ran here.
func TestOutcomeRecordedByAnotherAgentIsNotCounted(t *testing.T) {
	for name, answer := range map[string]*fault.Error{
		"canceled":      {Kind: fault.Canceled, Code: fault.CodeCanceled, Message: "function invocation canceled"},
		"to be retried": {Kind: fault.Internal, Code: fault.CodeInternal, Message: "ours"}, "well": nil,
	} {
		t.Run(name, func(t *testing.T) {
			runs, end := make(chan string, 1), make(chan bool)
			f := &testFunction{answer: func(_ int, inv *fncontext.Invocation, _ string) *fault.Error {
				runs <- inv.RequestID
				<-end
				return answer
			}}
			q := open(t, startServer(t, t.TempDir()), f)
			id := accept(t, q, "{}")
			require.Equal(t, id, <-runs)
			waitStatus(t, q, id, Running)
			e := q.open
			_, revision, err := e.record(t.Context(), id)
			require.NoError(t, err)
			_, err = e.write(t.Context(), &Record{RequestID: id, Status: Fail, End: time.Now(), ErrorCode: fault.CodeCanceled}, revision)
			require.NoError(t, err)
			close(end)
			require.Eventually(t, func() bool {
				waiting, err := e.waitingEvents(t.Context())
				return err == nil && waiting == 0
			}, patience, time.Millisecond)
			requireCounts(t, q, map[string]int64{"accepted": 1, "started": 1})
		})
	}
}

// TestQueueOpensOnceTheServerIsThere: every need says why, and the queue opens once the server is there.
func TestQueueOpensOnceTheServerIsThere(t *testing.T) {
	var up atomic.Bool
	s := startServer(t, t.TempDir())
	f := &testFunction{}
	logs, log := observed()
	q := open(t, s, f, func(c *Config) {
		connect := c.Connect
		c.Connect = func(ctx context.Context, options ...nats.Option) (*nats.Conn, error) {
			if !up.Load() {
				return nil, errors.New("no server here")
			}
			return connect(ctx, options...)
		}
	}, log)
	_, err := q.Accept(t.Context(), &Event{Body: []byte("{}")})
	requireFault(t, err, fault.Unavailable, "the queue cannot be opened")
	require.ErrorContains(t, err, "no server here")
	_, err = q.Records(t.Context(), &Filter{Limit: 1})
	requireFault(t, err, fault.Unavailable, "the queue cannot be opened")
	require.Equal(t, 1, logs.FilterMessage("the queue cannot be opened").Len(), "logged once, not for each request")
	up.Store(true)
	waitStatus(t, q, accept(t, q, "{}"), Success)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	q.Close(ctx)
	_, err = q.Accept(t.Context(), &Event{Body: []byte("{}")})
	require.Error(t, err)
}

// TestCancelledRequestThatAwaitsASlotDoesNotRun: a request that was fetched and waits for a slot still waits, and
// does not run once it is cancelled.
func TestCancelledRequestThatAwaitsASlotDoesNotRun(t *testing.T) {
	f := &testFunction{}
	waits, slot := make(chan string, 1), make(chan *fault.Error)
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) {
		c.Invoke = func(inv *fncontext.Invocation, started func() error, event []byte) ([]byte, *fault.Error) {
			waits <- inv.RequestID
			if err := <-slot; err != nil {
				return nil, err
			}
			return f.invoke(inv, started, event)
		}
		c.Cancel = func(string) bool {
			slot <- &fault.Error{Kind: fault.Canceled, Code: fault.CodeCanceled, Message: "function invocation canceled"}
			return true
		}
	})
	id := accept(t, q, "{}")
	require.Equal(t, id, <-waits)
	require.Equal(t, Wait, one(t, q, id).Status)
	require.NoError(t, q.Cancel(t.Context(), id, false))
	require.Equal(t, Discard, one(t, q, id).Status)
	other := accept(t, q, "{}")
	require.Equal(t, other, <-waits)
	close(slot)
	waitStatus(t, q, other, Success)
	require.Equal(t, 1, f.calls())
}

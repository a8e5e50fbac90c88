package instance

import (
	"bytes"
	"context"
	"fmt"
	"gantry/fault"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// patient answers with its process id. Its event can make it never answer, with or without its event loop, or exit. It
// leaves a trace of each call that has such an event.
const patient = `exports.handler = async (e, c) => {
  if (Object.keys(e).length) require('fs').appendFileSync(process.env.RUNTIME_CODE_ROOT + '/trace', '.');
  if (e.hang) await new Promise(() => {});
  if (e.loop) for (;;);
  if (e.exit) process.exit(1);
  return process.pid;
}`

// traces waits until so many calls have reached a patient handler.
func (h *harness) traces(n int) {
	h.t.Helper()
	h.eventually(func() bool {
		b, err := os.ReadFile(filepath.Join(h.fn.CodeRoot, "trace"))
		return err == nil && len(b) >= n
	})
}

// closed keeps the instance in Init until the returned function is called.
func closed(c *Config) (open func()) {
	gate := make(chan struct{})
	c.ExtensionsReady = func(ctx context.Context) error {
		select {
		case <-gate:
		case <-ctx.Done():
		}
		return nil
	}
	return sync.OnceFunc(func() { close(gate) })
}

// starts records in which order calls began, and of which kind they were.
type starts struct {
	mu    sync.Mutex
	async []bool
}

func (s *starts) record(inv *fncontext.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.async = append(s.async, inv.Async)
}

func (s *starts) all() []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]bool(nil), s.async...)
}

func TestBothKindsStartFourToOne(t *testing.T) {
	const each, looked = 600, 500
	for _, size := range []struct{ workers, concurrency int }{{1, 1}, {1, 8}, {3, 2}} {
		t.Run(fmt.Sprintf("%d workers of %d", size.workers, size.concurrency), func(t *testing.T) {
			var order starts
			var open func()
			h := newInstance(t, patient, func(c *Config) {
				c.Workers, c.Runtime.Concurrency, c.WaitingRoom, c.Notify = size.workers, size.concurrency, each, order.record
				open = closed(c)
			})
			var wg sync.WaitGroup
			for range each {
				wg.Go(func() { h.invoke("{}") })
				wg.Go(func() { h.invokeAsync("{}") })
			}
			h.eventually(func() bool { return h.Waiting() == each && h.WaitingAsync() == each })
			open()
			wg.Wait()
			async := 0
			for i, a := range order.all()[:looked] {
				if a {
					async++
				}
				if slots := size.workers * size.concurrency; slots == 1 {
					require.Equal(t, i%5 == 4, a, "start %d", i)
				} else { // calls that start together may be reported in any order
					require.InDelta(t, float64(i+1)/5, async, float64(slots)+1)
				}
			}
		})
	}
}

// TestCallTakesAFreeSlotOnlyInItsTurn: a call that comes while a slot is free and others wait for it, which lasts
// only until the next dispatch.
func TestCallTakesAFreeSlotOnlyInItsTurn(t *testing.T) {
	h := newInstance(t, patient, func(c *Config) { c.Runtime.Concurrency = 8 })
	require.NoError(t, h.WaitReady(h.Base()))
	cases := map[string]struct {
		waiting, waitingAsync, row int
		sync, async                bool
	}{
		"nobody waits":                                   {sync: true, async: true},
		"nobody waits, and the row is full":              {row: syncPerAsync, sync: true, async: true},
		"a synchronous call waits":                       {waiting: 1},
		"an asynchronous call waits":                     {waitingAsync: 1, sync: true},
		"an asynchronous call waits, and the row counts": {waitingAsync: 1, row: syncPerAsync - 1, sync: true},
		"an asynchronous call waits, and it is its turn": {waitingAsync: 1, row: syncPerAsync},
		"both wait": {waiting: 1, waitingAsync: 1, row: syncPerAsync},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.turns.row = c.row
			for range c.waiting {
				h.waiting.PushBack(&Lease{})
			}
			for range c.waitingAsync {
				h.waitingAsync.PushBack(&Lease{})
			}
			for async, want := range map[bool]bool{false: c.sync, true: c.async} {
				l := &Lease{}
				l.call.Invocation = &fncontext.Invocation{Async: async}
				w := h.direct(l)
				require.Equal(t, want, w != nil, "async %v", async)
				if w != nil {
					w.Release()
				}
			}
			h.waiting.Init()
			h.waitingAsync.Init()
		})
	}
}

// TestAsyncDoesNotStarveSync: one caller at a time against a crowd of asynchronous ones, without a waiting room of its
// own.
func TestAsyncDoesNotStarveSync(t *testing.T) {
	for _, size := range []struct{ workers, concurrency int }{{1, 1}, {3, 2}} {
		t.Run(fmt.Sprintf("%d workers of %d", size.workers, size.concurrency), func(t *testing.T) {
			h := newInstance(t, patient, func(c *Config) { c.Workers, c.Runtime.Concurrency, c.WaitingRoom = size.workers, size.concurrency, 0 })
			stop := h.crowd(true)
			defer stop()
			h.eventually(func() bool { return h.WaitingAsync() > 0 && h.InFlight() > 0 })
			for range 50 {
				require.Nil(t, h.invoke("{}").Fault)
			}
		})
	}
}

// TestSyncDoesNotStarveAsync: the other way round. With one slot the starts before an asynchronous call's can be
// counted.
func TestSyncDoesNotStarveAsync(t *testing.T) {
	for _, size := range []struct{ workers, concurrency int }{{1, 1}, {3, 2}} {
		t.Run(fmt.Sprintf("%d workers of %d", size.workers, size.concurrency), func(t *testing.T) {
			var order starts
			h := newInstance(t, patient, func(c *Config) {
				c.Workers, c.Runtime.Concurrency, c.WaitingRoom, c.Notify = size.workers, size.concurrency, 100, order.record
			})
			stop := h.crowd(false)
			defer stop()
			h.eventually(func() bool { return h.Waiting() > 0 && h.InFlight() > 0 })
			for range 20 {
				result := h.start(uuid.NewString(), true, "{}")
				h.eventually(func() bool { return h.WaitingAsync() == 1 || len(result) == 1 })
				before := len(order.all())
				require.Nil(t, (<-result).Fault)
				if size.workers*size.concurrency > 1 {
					continue
				}
				for i, async := range order.all()[before:] {
					if async {
						require.LessOrEqual(t, i, syncPerAsync+1, "one may have its slot without having sent that")
					}
				}
			}
		})
	}
}

// crowd keeps 20 callers of one kind busy until stop is called.
func (h *harness) crowd(async bool) (stop func()) {
	var wg sync.WaitGroup
	var done atomic.Bool
	for range 20 {
		wg.Go(func() {
			for !done.Load() {
				h.call(uuid.NewString(), async, "{}")
			}
		})
	}
	return func() {
		done.Store(true)
		wg.Wait()
	}
}

// TestAsyncHasARoomOfItsOwn: the limits and the numbers of the waiting room do not apply to asynchronous calls.
func TestAsyncHasARoomOfItsOwn(t *testing.T) {
	var deadlines sync.Map
	h := newInstance(t, patient, func(c *Config) {
		c.WaitingRoom, c.RoomWait = 0, time.Millisecond
		c.Notify = func(call *fncontext.Call) { deadlines.Store(call.RequestID, call.Deadline) }
	})
	require.NoError(t, h.WaitReady(h.Base()))
	h.start("first", false, `{"hang":true}`)
	h.eventually(func() bool { return h.InFlight() == 1 })
	began := time.Now()
	const calls = 20
	results := make([]Result, calls)
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() { results[i] = h.call(strconv.Itoa(i), true, "{}") })
	}
	h.eventually(func() bool { return h.WaitingAsync() == calls })
	require.Zero(t, h.Waiting())
	require.Equal(t, fault.Throttled, h.invoke("{}").Fault.Kind, "nobody may wait for a synchronous call's slot")
	require.True(t, h.Cancel("first"))
	wg.Wait()
	for i, r := range results {
		require.Nil(t, r.Fault)
		require.Greater(t, r.Waited, h.cfg.RoomWait)
		deadline, _ := deadlines.Load(strconv.Itoa(i))
		require.False(t, deadline.(time.Time).Before(began.Add(r.Waited+h.fn.Timeout)), "the deadline starts with the slot")
	}
	require.EqualValues(t, 1, h.cfg.Metrics.Rejects.Get())
	var page bytes.Buffer
	h.cfg.Metrics.WritePrometheus(&page)
	require.Contains(t, page.String(), "gantry_queue_wait_seconds_count 1\n", "only of synchronous calls")
}

// TestSyncWaitsForAnAsyncSlot: even with GANTRY_QUEUE at 0; otherwise it would be refused as long as asynchronous calls
// come.
func TestSyncWaitsForAnAsyncSlot(t *testing.T) {
	h := newInstance(t, patient, func(c *Config) { c.WaitingRoom = 0 })
	require.NoError(t, h.WaitReady(h.Base()))
	h.start("first", true, `{"hang":true}`)
	h.eventually(func() bool { return h.InFlight() == 1 })
	second := h.start("second", false, "{}")
	h.eventually(func() bool { return h.Waiting() == 1 })
	require.Equal(t, fault.Throttled, h.invoke("{}").Fault.Kind, "one slot, one that waits for it")
	require.True(t, h.Cancel("first"))
	require.Nil(t, (<-second).Fault)
}

// TestAsyncIsRefusedLikeOthers: by the state, and by the end of its context.
func TestAsyncIsRefusedLikeOthers(t *testing.T) {
	t.Run("failed", func(t *testing.T) {
		h := newInstance(t, "throw new Error('broken')", nil)
		require.Equal(t, fault.Init, h.invokeAsync("{}").Fault.Kind, "waited until then")
		require.Equal(t, Failed, h.State())
		require.Equal(t, fault.Init, h.invokeAsync("{}").Fault.Kind)
	})
	t.Run("draining", func(t *testing.T) {
		h := newInstance(t, patient, func(c *Config) { closed(c) })
		waiting := h.start("waiting", true, "{}")
		h.eventually(func() bool { return h.WaitingAsync() == 1 })
		require.NoError(t, h.Drain(t.Context()))
		require.Equal(t, fault.Unavailable, (<-waiting).Fault.Kind)
		require.Equal(t, fault.Unavailable, h.invokeAsync("{}").Fault.Kind)
	})
	t.Run("context", func(t *testing.T) {
		h := newInstance(t, patient, func(c *Config) { closed(c) })
		ctx, cancel := context.WithCancel(h.Base())
		result := make(chan Result, 1)
		go func() {
			result <- h.Invoke(ctx, &fncontext.Invocation{RequestID: "x", Function: h.fn, Async: true}, []byte("{}"))
		}()
		h.eventually(func() bool { return h.WaitingAsync() == 1 })
		cancel()
		require.Equal(t, fault.Unavailable, (<-result).Fault.Kind)
		require.Zero(t, h.WaitingAsync())
	})
}

// TestDroppedLeaseFreesItsSlotWithoutACall: the call never began, and its slot is free again.
func TestDroppedLeaseFreesItsSlotWithoutACall(t *testing.T) {
	notified := 0
	var events func() []published
	h := newInstance(t, patient, func(c *Config) {
		c.Notify = func(*fncontext.Call) { notified++ }
		events = follow(t, c)
	})
	require.NoError(t, h.WaitReady(h.Base()))
	refused := stopped()
	for range 3 {
		l, err := h.Admit(h.Base(), &fncontext.Invocation{RequestID: "x", Function: h.fn, Async: true})
		require.NoError(t, err)
		require.Equal(t, 1, h.InFlight())
		require.Equal(t, refused, l.Drop(refused))
	}
	require.Zero(t, notified)
	require.Zero(t, h.InFlight())
	require.Empty(t, named(events(), "platform.start", "platform.RuntimeDone", "platform.report"))
	require.Nil(t, h.invoke("{}").Fault)
}

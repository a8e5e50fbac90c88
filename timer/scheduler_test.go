package timer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; the tests wait for conditions.
const patience = 30 * time.Second

// clock is a clock that a test sets. The loop waits for it at one place only.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	rings chan time.Time
	due   time.Time
	asked int
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) (<-chan time.Time, func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rings, c.due = make(chan time.Time, 1), c.now.Add(d)
	c.asked++
	if d <= 0 {
		c.rings <- c.now
	}
	return c.rings, func() bool { return true }
}

// set moves the clock, and the loop looks at it.
func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = at
	if !c.due.After(at) || at.Before(c.due.Add(-mostSleep)) {
		select {
		case c.rings <- at:
		default:
		}
	}
}

// slept waits until the loop has asked for another sleep that is not over.
func (c *clock) slept(t testing.TB, since int) {
	t.Helper()
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.asked > since && c.due.After(c.now)
	}, patience, time.Millisecond)
}

func (c *clock) times() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// rig is a scheduler with a clock of the test's, and what it handed over.
type rig struct {
	*Scheduler
	t     testing.TB
	clock *clock
	mu    sync.Mutex
	calls []string // times of the events
	ids   []string
	err   error // of the next calls
}

func newRig(t testing.TB, list, now string) *rig {
	t.Helper()
	timers, err := Parse(list)
	require.NoError(t, err)
	for _, x := range timers {
		x.In(time.UTC)
	}
	r := &rig{t: t, clock: &clock{now: moment(t, now)}}
	r.Scheduler = New(Config{Timers: timers, Queue: r.queue, Now: r.clock.Now, After: r.clock.After, Log: zap.NewNop()})
	t.Cleanup(func() {
		r.Halt()
		r.Wait(context.Background())
	})
	r.Start()
	r.clock.slept(t, 0)
	return r
}

func (r *rig) queue(_ context.Context, id string, event []byte) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return false, r.err
	}
	_, rest, _ := strings.Cut(string(event), `"time":"`)
	at, _, _ := strings.Cut(rest, `"`)
	first := !slices.Contains(r.ids, id)
	r.calls, r.ids = append(r.calls, at), append(r.ids, id)
	return first, nil
}

// to moves the clock, and waits until the loop sleeps again and what was due is handed over.
func (r *rig) to(at string) {
	r.t.Helper()
	before := r.clock.times()
	r.clock.set(moment(r.t, at))
	r.clock.slept(r.t, before)
	require.Eventually(r.t, func() bool {
		r.sender.mu.Lock()
		defer r.sender.mu.Unlock()
		return r.sender.active == 0
	}, patience, time.Millisecond)
}

// called waits for the calls so far, and that there are no more.
func (r *rig) called(want ...string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.calls) >= len(want)
	}, patience, time.Millisecond, "want %v", want)
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.calls)
	require.Equal(r.t, want, r.calls)
}

func (r *rig) counted(o Outcome, want int64) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.Count(o) == want }, patience, time.Millisecond, "%s: want %d", o, want)
}

func TestEachTickIsCalledOnceAtItsTime(t *testing.T) {
	r := newRig(t, "a=@every 10s\nb=0 0 0 1 1 ?", "2026-12-31T23:59:35Z")
	r.to("2026-12-31T23:59:40Z")
	r.called("2026-12-31T23:59:40Z")
	r.to("2026-12-31T23:59:50Z")
	r.to("2027-01-01T00:00:00Z")
	r.called("2026-12-31T23:59:40Z", "2026-12-31T23:59:50Z", "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
	r.counted(Queued, 4)
	r.counted(Missed, 0)
}

// TestBusyMachineLosesNoTick: what is noticed a little late is made up for.
func TestBusyMachineLosesNoTick(t *testing.T) {
	r := newRig(t, "@every 1s", "2026-01-01T00:00:00.5Z")
	r.to("2026-01-01T00:00:04.9Z")
	r.called("2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z", "2026-01-01T00:00:04Z")
	r.counted(Missed, 0)
}

// TestSuspendedMachineCallsAtMostOnceAfterItWakes: the latest tick if it is of the last minute.
func TestSuspendedMachineCallsAtMostOnceAfterItWakes(t *testing.T) {
	r := newRig(t, "a=@every 10s\nb=0 0 2 * * ?", "2026-01-01T00:00:05Z")
	r.to("2026-01-01T08:00:05Z")
	r.called("2026-01-01T08:00:00Z")
	r.counted(Missed, 1000+5+1) // of the first more than are counted, and the tick of b
	r.to("2026-01-01T08:00:10Z")
	r.called("2026-01-01T08:00:00Z", "2026-01-01T08:00:10Z")
	r.to("2026-01-02T01:59:59Z")
	r.to("2026-01-02T02:00:00Z")
	r.called("2026-01-01T08:00:00Z", "2026-01-01T08:00:10Z", "2026-01-02T01:59:50Z", "2026-01-02T02:00:00Z", "2026-01-02T02:00:00Z")
}

// TestClockThatIsSetBackMovesTheTicks: timers follow what the clock shows.
func TestClockThatIsSetBackMovesTheTicks(t *testing.T) {
	r := newRig(t, "0 0 * * * ?", "2026-01-01T05:30:00Z")
	r.to("2026-01-01T02:59:59Z")
	r.to("2026-01-01T03:00:00Z")
	r.called("2026-01-01T03:00:00Z")
}

// TestTickThatWaitsForATryIsTriedWhenTheClockIsSetBack: and not hours later, when the clock shows the time again.
func TestTickThatWaitsForATryIsTriedWhenTheClockIsSetBack(t *testing.T) {
	r := newRig(t, "0 0 * * * ?", "2026-01-01T04:59:59Z")
	r.fail(errors.New("no room"))
	r.to("2026-01-01T05:00:00Z")
	r.retried()
	r.fail(nil)
	r.to("2026-01-01T02:30:00Z")
	r.called("2026-01-01T05:00:00Z")
}

// TestTickIsTriedAgainUntilTheNextOne: and then it is lost, and counted.
func TestTickIsTriedAgainUntilTheNextOne(t *testing.T) {
	r := newRig(t, "@every 10s", "2026-01-01T00:00:05Z")
	r.fail(errors.New("no room"))
	r.to("2026-01-01T00:00:10Z")
	r.retried()
	r.fail(nil)
	r.to("2026-01-01T00:00:11Z")
	r.called("2026-01-01T00:00:10Z")
	r.counted(Queued, 1)
	r.fail(errors.New("no room"))
	r.to("2026-01-01T00:00:20Z")
	r.retried()
	at, last := moment(t, "2026-01-01T00:00:20Z"), moment(t, "2026-01-01T00:00:29.9Z")
	require.Eventually(t, func() bool { // the loop, the sender and the loop again take their turns
		if at = at.Add(100 * time.Millisecond); at.After(last) {
			at = last
		}
		r.clock.set(at)
		return r.Count(Failed) == 1
	}, patience, time.Millisecond)
	r.fail(nil)
	r.to("2026-01-01T00:00:30Z")
	r.called("2026-01-01T00:00:10Z", "2026-01-01T00:00:30Z")
}

func (r *rig) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// retried waits until the loop sleeps for the next try.
func (r *rig) retried() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		r.clock.mu.Lock()
		defer r.clock.mu.Unlock()
		return r.clock.due.Sub(r.clock.now) == firstPause
	}, patience, time.Millisecond)
}

// TestTickThatAnotherAgentCalledIsCountedSo: the queue says that it had the id.
func TestTickThatAnotherAgentCalledIsCountedSo(t *testing.T) {
	r := newRig(t, "@every 10s", "2026-01-01T00:00:05Z")
	r.ids = append(r.ids, r.cfg.Timers[0].RequestID(moment(t, "2026-01-01T00:00:10Z")))
	r.to("2026-01-01T00:00:10Z")
	r.counted(Elsewhere, 1)
	r.counted(Queued, 0)
}

// TestHaltEndsTheTicksAndWaitTheCalls: after Halt nothing is due; a call that is being handed over ends, or is given up.
func TestHaltEndsTheTicksAndWaitTheCalls(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	timers, err := Parse("@every 10ms")
	require.NoError(t, err)
	var once sync.Once
	s := New(Config{Timers: timers, Log: zap.NewNop(), Queue: func(ctx context.Context, _ string, _ []byte) (bool, error) {
		once.Do(func() { close(begun) })
		select {
		case <-end:
			return true, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}})
	s.Start()
	<-begun
	s.Halt()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Wait(ctx) // gives up
	require.Zero(t, s.Count(Queued))
	require.NotZero(t, s.Count(Failed))
	s.Halt() // again does nothing
	var none *Scheduler
	none.Halt()
	none.Wait(ctx)
	never := New(Config{Timers: timers, Log: zap.NewNop()})
	never.Halt()
	never.Wait(context.Background())
}

// BenchmarkTenThousandTimers runs an hour of ten thousand timers, most of them every minute, by a clock that jumps from
// tick to tick, and reports which share of a CPU the scheduler takes.
func BenchmarkTenThousandTimers(b *testing.B) {
	var list strings.Builder
	for i := range 10000 {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&list, "t%d=CRON_TZ=Europe/Berlin 0 %d %d * * ?\n", i, i%60, i%24)
		case 1:
			fmt.Fprintf(&list, "t%d=%d */5 * * * ?\n", i, i%60)
		default:
			fmt.Fprintf(&list, "t%d=@every %ds\n", i, 60+i%60)
		}
	}
	timers, err := Parse(list.String())
	require.NoError(b, err)
	for b.Loop() {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		s := New(Config{
			Timers: timers, Log: zap.NewNop(), Now: func() time.Time { return now },
			Queue: func(context.Context, string, []byte) (bool, error) { return true, nil },
		})
		s.plan(now)
		began := cpu(b)
		for end := now.Add(time.Hour); now.Before(end); now = s.agenda[0].at {
			s.turn(now)
		}
		s.sender.running.Wait()
		b.ReportMetric((cpu(b)-began).Seconds()/3600*100, "%-of-a-CPU")
		b.ReportMetric(float64(s.Count(Queued))/3600, "ticks/s")
		s.giveUpAll()
	}
}

func (s *Scheduler) giveUpAll() { s.stop(); s.sender.giveUp() }

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

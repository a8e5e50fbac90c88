package instance

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// frozen is an agent that stops its processes between calls.
type frozen struct {
	*harness
	mu      sync.Mutex
	signals []unix.Signal                             // to extensions
	quiet   atomic.Pointer[func(ctx context.Context)] // nil does not wait
}

// newFrozen waits until the first worker is ready.
func newFrozen(t *testing.T, source string, change func(*Config)) *frozen {
	t.Helper()
	f := &frozen{}
	f.harness = newInstance(t, source, func(c *Config) {
		c.Log = zap.NewNop() // there would be too much of it
		c.Freeze = &Freeze{
			Quiet: func(ctx context.Context) {
				if quiet := f.quiet.Load(); quiet != nil {
					(*quiet)(ctx)
				}
			},
			Signal: func(sig unix.Signal) {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.signals = append(f.signals, sig)
			},
		}
		if change != nil {
			change(c)
		}
	})
	require.NoError(t, f.WaitReady(f.Base()))
	return f
}

// sent are the signals to extensions so far.
func (f *frozen) sent() []unix.Signal {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]unix.Signal(nil), f.signals...)
}

// pid calls a function that answers its process id.
func (f *frozen) pid() int {
	f.t.Helper()
	r := f.invoke("{}")
	require.Nil(f.t, r.Fault)
	pid, err := strconv.Atoi(string(r.Body))
	require.NoError(f.t, err)
	return pid
}

// processState is the letter of /proc/PID/stat: T is stopped. Empty once the process is gone.
func processState(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if _, after, found := bytes.Cut(b, []byte(") ")); err == nil && found {
		return string(after[:1])
	}
	return ""
}

func (f *frozen) waitFrozen(pid int) {
	f.t.Helper()
	f.eventually(func() bool { return f.Frozen() && processState(pid) == "T" })
}

func TestWorkerIsFrozenBetweenItsCalls(t *testing.T) {
	f := newFrozen(t, patient, nil)
	require.False(t, f.Frozen(), "not before the first call")
	var want []unix.Signal
	pid := f.pid()
	for range 3 {
		f.waitFrozen(pid)
		require.Equal(t, append(want, unix.SIGSTOP), f.sent())
		require.Equal(t, Ready, f.State())
		require.Equal(t, pid, f.pid(), "the next call finds it as it was")
		want = append(want, unix.SIGSTOP, unix.SIGCONT)
	}
}

// TestNoFreezeDuringACall: with other calls of the same worker, and of another one.
func TestNoFreezeDuringACall(t *testing.T) {
	f := newFrozen(t, echo, func(c *Config) { c.Workers, c.Runtime.Concurrency = 2, 2 })
	f.eventually(func() bool {
		f.Instance.mu.Lock()
		defer f.Instance.mu.Unlock()
		return f.workers[0] != nil && f.workers[1] != nil
	})
	long := f.start("long", false, `{"ms":400,"n":1}`)
	f.eventually(func() bool { return f.InFlight() == 1 })
	for range 20 {
		require.Equal(t, "2", string(f.invoke(`{"n":2}`).Body))
	}
	if sent := f.sent(); f.InFlight() == 1 { // it was there all the time
		require.Empty(t, sent)
	}
	require.Equal(t, "1", string((<-long).Body))
	f.eventually(f.Frozen)
	f.Instance.mu.Lock()
	a, b := f.workers[0].PID(), f.workers[1].PID()
	f.Instance.mu.Unlock()
	f.waitFrozen(a)
	f.waitFrozen(b)
}

// TestFreezeWaitsForQuiet: for extensions that have something to answer, for a while; and not at all if a call came
// meanwhile.
func TestFreezeWaitsForQuiet(t *testing.T) {
	f := newFrozen(t, patient, nil)
	asked, release := make(chan context.Context, 10), make(chan struct{})
	f.quiet.Store(new(func(ctx context.Context) {
		asked <- ctx
		select {
		case <-release:
		case <-ctx.Done():
		}
	}))
	pid := f.pid()
	ctx := <-asked
	deadline, bounded := ctx.Deadline()
	require.True(t, bounded)
	require.LessOrEqual(t, time.Until(deadline), quietLimit)
	f.pid()
	<-asked
	require.False(t, f.Frozen())
	close(release) // for both: the first one's is over, because another call came
	f.waitFrozen(pid)
	f.quiet.Store(new(func(ctx context.Context) { <-ctx.Done() })) // never quiet
	began := time.Now()
	f.pid()
	f.waitFrozen(pid)
	require.GreaterOrEqual(t, time.Since(began), quietLimit-100*time.Millisecond)
}

// TestFreezeSparesWhatStarts: the load would run out of time.
func TestFreezeSparesWhatStarts(t *testing.T) {
	const source = `const fs = require('fs'), gate = process.env.RUNTIME_CODE_ROOT + '/';
	let mine = true;
	try { fs.writeFileSync(gate + 'first', '', { flag: 'wx' }); } catch (e) { mine = false; }
	if (!mine) { fs.writeFileSync(gate + 'pid', String(process.pid)); while (!fs.existsSync(gate + 'go')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5); }
	exports.handler = async (e, c) => process.pid;`
	f := newFrozen(t, source, func(c *Config) { c.Workers = 2 })
	var second int
	f.eventually(func() bool {
		b, err := os.ReadFile(filepath.Join(f.fn.CodeRoot, "pid"))
		second, _ = strconv.Atoi(string(b))
		return err == nil && second > 0
	})
	first := f.pid()
	f.waitFrozen(first)
	require.NotEqual(t, "T", processState(second))
	require.NoError(t, os.WriteFile(filepath.Join(f.fn.CodeRoot, "go"), nil, 0o644))
	f.eventually(func() bool { // it is brought up although the other one is stopped
		f.Instance.mu.Lock()
		defer f.Instance.mu.Unlock()
		return f.workers[0] != nil && f.workers[1] != nil
	})
	f.pid()
	f.waitFrozen(first)
	f.waitFrozen(second)
}

// TestStopLetsAFrozenWorkerEndByItself: in time, and with the chance to end by itself.
func TestStopLetsAFrozenWorkerEndByItself(t *testing.T) {
	const source = "process.on('SIGTERM', () => { require('fs').writeFileSync(process.env.RUNTIME_CODE_ROOT + '/term', ''); process.exit(0) });\n" + patient
	f := newFrozen(t, source, nil)
	pid := f.pid()
	f.waitFrozen(pid)
	require.NoError(t, f.Drain(t.Context()))
	require.False(t, f.Frozen())
	deadline := time.Now().Add(20 * time.Second)
	f.Stop(deadline)
	require.True(t, time.Now().Before(deadline))
	require.Empty(t, processState(pid))
	require.Equal(t, []unix.Signal{unix.SIGSTOP, unix.SIGCONT}, f.sent())
	require.FileExists(t, filepath.Join(f.fn.CodeRoot, "term"))
}

// TestStopAtAnyMomentLeavesNothingFrozen: whatever the freeze is doing then, nothing stays stopped.
func TestStopAtAnyMomentLeavesNothingFrozen(t *testing.T) {
	for i := range 6 {
		f := newFrozen(t, patient, nil)
		pid := f.pid()
		time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Millisecond))))
		f.Stop(time.Now().Add(20 * time.Second))
		require.False(t, f.Frozen(), i)
		require.Empty(t, processState(pid))
		sent := f.sent()
		require.Zero(t, len(sent)%2, "what is stopped goes on: %v", sent)
	}
}

// TestCallsDuringAFreezeAreAnswered: a call that comes while everything is being stopped is answered like any other.
func TestCallsDuringAFreezeAreAnswered(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	for _, size := range []struct{ workers, concurrency int }{{1, 1}, {2, 2}} {
		f := newFrozen(t, echo, func(c *Config) { c.Workers, c.Runtime.Concurrency, c.WaitingRoom = size.workers, size.concurrency, 100 })
		var callers sync.WaitGroup
		for range 2 {
			callers.Go(func() {
				for i := range rounds {
					time.Sleep(time.Duration(rand.Int64N(int64(3 * time.Millisecond))))
					if r := f.invoke(fmt.Sprintf(`{"n":%d}`, i)); r.Fault != nil || string(r.Body) != strconv.Itoa(i) {
						t.Errorf("%v, %s", r.Fault, r.Body)
					}
				}
			})
		}
		callers.Wait()
		f.eventually(f.Frozen)
		sent := f.sent()
		require.NotZero(t, len(sent))
		for i, sig := range sent {
			require.Equal(t, []unix.Signal{unix.SIGSTOP, unix.SIGCONT}[i%2], sig, "in turns")
		}
		t.Logf("%d workers of %d: stopped %d times in %d calls", size.workers, size.concurrency, len(sent)/2+1, 2*rounds)
	}
}

// TestReloadWhileFrozenReplacesTheWorker: the old worker ends, and the new one answers.
func TestReloadWhileFrozenReplacesTheWorker(t *testing.T) {
	f := newFrozen(t, patient, nil)
	for range 3 {
		pid := f.pid()
		f.waitFrozen(pid)
		f.Reload()
		require.NotEqual(t, pid, f.pid())
		f.eventually(func() bool { return processState(pid) == "" })
	}
}

// TestSignalReachesAFrozenWorkerAtOnce: a signal arrives at once, because its sender waits for the effect.
func TestSignalReachesAFrozenWorkerAtOnce(t *testing.T) {
	const source = "process.on('SIGUSR2', () => require('fs').appendFileSync(process.env.RUNTIME_CODE_ROOT + '/trace', '.'));\n" + patient
	f := newFrozen(t, source, nil)
	pid := f.pid()
	for i := range 3 {
		f.waitFrozen(pid)
		f.Signal(syscall.SIGUSR2)
		require.False(t, f.Frozen())
		f.traces(i + 1)
		require.Equal(t, pid, f.pid())
	}
}

// TestFrozenWorkerThatDiesIsReplaced: the next call finds the next worker.
func TestFrozenWorkerThatDiesIsReplaced(t *testing.T) {
	f := newFrozen(t, patient, nil)
	pid := f.pid()
	f.waitFrozen(pid)
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
	// a call that comes before the agent has seen it shares the worker's fate, frozen or not
	f.eventually(func() bool {
		f.Instance.mu.Lock()
		defer f.Instance.mu.Unlock()
		return f.workers[0] == nil || f.workers[0].PID() != pid
	})
	require.NotEqual(t, pid, f.pid())
}

// TestTimersStandStillWhileFrozen: what the function does beside its calls stands still until the next one.
func TestTimersStandStillWhileFrozen(t *testing.T) {
	const source = "setInterval(() => require('fs').appendFileSync(process.env.RUNTIME_CODE_ROOT + '/ticks', '.'), 1);\n" + patient
	f := newFrozen(t, source, nil)
	ticks := func() int {
		b, err := os.ReadFile(filepath.Join(f.fn.CodeRoot, "ticks"))
		if err != nil {
			return 0
		}
		return len(b)
	}
	f.eventually(func() bool { return ticks() > 3 })
	pid := f.pid()
	f.waitFrozen(pid)
	before := ticks()
	time.Sleep(50 * time.Millisecond)
	require.Equal(t, before, ticks())
	f.pid()
	f.eventually(func() bool { return ticks() > before })
}

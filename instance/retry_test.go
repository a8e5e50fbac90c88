package instance

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/runtime"
	"gantry/runtime/language"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

func TestShortagesPassAndUnusableCodeFails(t *testing.T) {
	h := &history{attempts: 1}
	require.True(t, h.decide(unusable, 0).fail, "the code itself is wrong: no further attempt")
	h = &history{attempts: maxAttempts - 1, crashes: 3}
	var delays []time.Duration
	for range 8 {
		d := h.decide(short, 0)
		require.False(t, d.fail, "a shortage passes")
		delays = append(delays, d.delay)
	}
	ms := time.Millisecond
	require.Equal(t, []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}, delays)
	require.Equal(t, history{attempts: maxAttempts - 1, crashes: 3, shortages: 8}, *h, "it says nothing about the function")
	require.True(t, h.decide(neverStarted, 0).fail)
	require.Equal(t, 100*ms, h.decide(short, 0).delay, "the next shortage begins anew")
	h = &history{crashes: 5}
	require.Zero(t, h.decide(spent, 0).delay, "each process has answered a call")
	require.Zero(t, h.decide(spent, 0).delay)
	require.Equal(t, 100*ms, h.decide(crashed, 0).delay, "one that dies before it answers still backs off")
}

func TestRetryPausesDoubleToALimitUnlessFinal(t *testing.T) {
	var r retry
	now := time.Now()
	var pauses []time.Duration
	for range 7 {
		r.failed(&fault.Error{}, now)
		require.False(t, r.begin(now.Add(r.pause-1)))
		require.True(t, r.begin(now.Add(r.pause)))
		require.False(t, r.begin(now.Add(time.Hour)), "one at a time")
		pauses = append(pauses, r.pause)
	}
	s := time.Second
	require.Equal(t, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}, pauses)
	r.failed(&fault.Error{Final: true}, now)
	require.False(t, r.begin(now.Add(time.Hour)), "only a reload changes the code")
}

// due makes the pause of a failed instance be over.
func (h *harness) due() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retry.due = time.Now()
}

// starts counts the workers so far.
func (h *harness) starts() int {
	b, err := os.ReadFile(filepath.Join(h.fn.CodeRoot, "starts"))
	if err != nil && !os.IsNotExist(err) {
		h.t.Error(err)
	}
	return len(b)
}

const countStarts = "const fs = require('fs'), root = process.env.RUNTIME_CODE_ROOT + '/'; fs.appendFileSync(root + 'starts', '.');\n"

// TestInitializerIsTriedAgain: one outage of what an initializer needs is not for ever.
func TestInitializerIsTriedAgain(t *testing.T) {
	const source = countStarts + `exports.init = (c, cb) => {
		if (fs.existsSync(root + 'gate')) { const look = () => fs.existsSync(root + 'go') ? cb(null) : setTimeout(look, 5); look(); }
		else cb(new Error('no database'));
	};
	exports.handler = async (e, c) => e.n`
	h := newInstance(t, source, func(c *Config) {
		c.WaitingRoom = 0
		c.Runtime.Function.Initializer = "index.init"
		c.Runtime.Env = append(c.Runtime.Env, "RUNTIME_INITIALIZER_HANDLER=index.init")
	})
	require.Equal(t, fault.CodeInitializer, h.invoke(`{"n":1}`).Fault.Code)
	require.Equal(t, maxAttempts, h.starts())
	require.Contains(t, string(h.invoke(`{"n":1}`).Fault.Body), "no database")
	require.Equal(t, maxAttempts, h.starts(), "no try during the pause")

	h.due()
	require.Contains(t, string(h.invoke(`{"n":1}`).Fault.Body), "no database", "the call waits for the new worker")
	require.Equal(t, maxAttempts+1, h.starts(), "one attempt per try")
	h.due()
	require.Error(t, h.WaitReady(h.Base()))
	require.Equal(t, maxAttempts+2, h.starts(), "POST /init tries as well")

	require.NoError(t, os.WriteFile(filepath.Join(h.fn.CodeRoot, "gate"), nil, 0o644))
	h.due()
	first := h.start(uuid.NewString(), false, `{"n":1}`)
	h.eventually(func() bool { return h.starts() == maxAttempts+3 })
	for range 3 {
		require.Contains(t, string(h.invoke(`{"n":2}`).Fault.Body), "no database", "the others get the stored reason")
	}
	require.Equal(t, Failed, h.State(), "and it is not ready")
	require.NoError(t, os.WriteFile(filepath.Join(h.fn.CodeRoot, "go"), nil, 0o644))
	r := <-first
	require.Nil(t, r.Fault)
	require.Equal(t, "1", string(r.Body))
	require.Equal(t, "3", string(h.invoke(`{"n":3}`).Body))
	require.Nil(t, h.Failure())
	require.Zero(t, h.retry.pause)
}

// TestCanceledOrReloadedTryLeavesAWorkingInstance: a cancel and a reload while a call waits for the new worker of a
// failed instance.
func TestCanceledOrReloadedTryLeavesAWorkingInstance(t *testing.T) {
	const source = countStarts + `if (fs.existsSync(root + 'good')) exports.handler = async (e, c) => 1;
	else { while (fs.existsSync(root + 'gate')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5); throw new Error('broken'); }`
	h := newInstance(t, source, nil)
	require.NotNil(t, h.invoke("{}").Fault)
	require.NoError(t, os.WriteFile(filepath.Join(h.fn.CodeRoot, "gate"), nil, 0o644))
	h.due()
	before := h.starts()
	first := h.start("first", false, "{}")
	h.eventually(func() bool { return h.starts() > before })
	require.True(t, h.Cancel("first"))
	require.Equal(t, fault.Canceled, (<-first).Fault.Kind)
	require.NoError(t, os.WriteFile(filepath.Join(h.fn.CodeRoot, "good"), nil, 0o644))
	h.Reload()
	require.Nil(t, h.invoke("{}").Fault)
}

// TestCodeItselfIsTriedOnce: what another attempt meets again has one, until a reload.
func TestCodeItselfIsTriedOnce(t *testing.T) {
	cases := map[string]struct {
		source, initializer string
		code                int
		attempts            int
	}{
		"syntax":                  {"exports.handler = (;", "", fault.CodeEntry, 1},
		"module":                  {"require('./nowhere'); exports.handler = async (e, c) => 1", "", fault.CodeEntry, 1},
		"export":                  {"exports.other = async (e, c) => 1", "", fault.CodeEntry, 1},
		"signature":               {"exports.handler = async () => 1", "", fault.CodeEntry, 1},
		"initializer's export":    {"exports.handler = async (e, c) => 1", "index.init", fault.CodeInitializer, 1},
		"initializer's signature": {"exports.init = () => {}; exports.handler = async (e, c) => 1", "index.init", fault.CodeInitializer, 1},
		"raised":                  {"throw new Error('no network')", "", fault.CodeEntry, maxAttempts},
		"JSON of elsewhere":       {"JSON.parse('{'); exports.handler = async (e, c) => 1", "", fault.CodeEntry, maxAttempts},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := newInstance(t, c.source, func(cfg *Config) {
				cfg.Runtime.Function.Initializer = c.initializer
				cfg.Runtime.Env = append(cfg.Runtime.Env, "RUNTIME_INITIALIZER_HANDLER="+c.initializer)
			})
			f := h.invoke("{}").Fault
			require.NotNil(t, f)
			require.Equal(t, c.code, f.Code)
			require.Equal(t, c.attempts == 1, f.Final, "%s", f.Body)
			require.EqualValues(t, c.attempts-1, h.cfg.Metrics.Restarts.Get())
			h.due()
			require.NotNil(t, h.invoke("{}").Fault)
			if c.attempts == 1 {
				require.Zero(t, h.cfg.Metrics.Restarts.Get(), "a call does not try again")
			}
			require.NoError(t, os.WriteFile(filepath.Join(h.fn.CodeRoot, "index.js"), []byte("exports.init = (c, cb) => cb(null); exports.handler = async (e, c) => 1"), 0o644))
			h.Reload()
			require.Nil(t, h.invoke("{}").Fault)
		})
	}
}

// TestDeathAfterTheAnswerIsRestartedAtOnce: it costs the next call a start, however often it happens.
func TestDeathAfterTheAnswerIsRestartedAtOnce(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	const source = "exports.handler = async (e, c) => { setTimeout(() => Promise.reject(new Error('late')), 5); return 1 }"
	h := newInstance(t, source, func(c *Config) { c.Log = zap.New(core) })
	const calls = 8
	for i := range calls {
		require.Nil(t, h.invoke("{}").Fault)
		h.eventually(func() bool { return logs.FilterMessage("worker replaced").Len() == i+1 })
	}
	for _, entry := range logs.FilterMessage("worker replaced").All() {
		require.EqualValues(t, 0, entry.ContextMap()["delay"], "%v", entry.ContextMap())
	}
}

// TestDeathBeforeTheAnswerBacksOff backs off: starting again at once would only repeat it.
func TestDeathBeforeTheAnswerBacksOff(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	h := newInstance(t, "exports.handler = async (e, c) => process.exit(1)", func(c *Config) { c.Log = zap.New(core) })
	for range 3 {
		require.Equal(t, fault.Crash, h.invoke("{}").Fault.Kind)
	}
	h.eventually(func() bool { return logs.FilterMessage("worker replaced").Len() == 3 })
	last := logs.FilterMessage("worker replaced").All()[2]
	require.Equal(t, 200*time.Millisecond, last.ContextMap()["delay"])
}

// custom runs a worker that only sleeps, with the runtime API in this process: listen is what starts depend on.
func custom(t *testing.T, listen func(start int) error) *harness {
	t.Helper()
	var starts atomic.Int32
	return newInstance(t, "", func(c *Config) {
		lang, err := language.ByName("custom")
		require.NoError(t, err)
		c.Runtime.Language, c.Runtime.Program = lang, filepath.Join(c.Runtime.Function.CodeRoot, "bootstrap")
		require.NoError(t, os.WriteFile(c.Runtime.Program, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755))
		c.Runtime.ListenRuntime = func(api runtime.Events) (string, func(), error) {
			if err := listen(int(starts.Add(1))); err != nil {
				return "", nil, err
			}
			go answer(api)
			return "127.0.0.1:1", func() {}, nil
		}
	})
}

// answer is a runtime that answers every event.
func answer(api runtime.Events) {
	for {
		event, err := api.Next(func() bool { return true })
		if err != nil {
			return
		}
		if err := api.Respond(event.Headers["X-Cff-Request-Id"][0], []byte("1")); err != nil {
			panic(err)
		}
	}
}

// worker returns the one that takes calls.
func (h *harness) worker() *runtime.Worker {
	h.t.Helper()
	var w *runtime.Worker
	h.eventually(func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		w = h.workers[0]
		return w != nil
	})
	return w
}

// TestStartIsTriedUntilAShortagePasses: a start that fails for want of something is tried until it works, whether a
// worker was ready before or not.
func TestStartIsTriedUntilAShortagePasses(t *testing.T) {
	for name, first := range map[string]int{"at the start": 1, "later": 2} {
		t.Run(name, func(t *testing.T) {
			var tries atomic.Int32
			h := custom(t, func(start int) error {
				if start < first || start >= first+maxAttempts+2 {
					return nil
				}
				tries.Add(1)
				return fmt.Errorf("listen: %w", []error{unix.EMFILE, unix.EAGAIN, unix.ENOMEM, unix.ENFILE}[start%4])
			})
			if first > 1 {
				require.Nil(t, h.invoke("{}").Fault)
				require.NoError(t, h.worker().Signal(unix.SIGKILL))
			}
			h.eventually(func() bool { return tries.Load() > 0 })
			require.Nil(t, h.invoke("{}").Fault, "the call waits")
			require.EqualValues(t, maxAttempts+2, tries.Load())
			select {
			case <-h.Fatal():
				t.Error("no setting is wrong")
			case <-h.Failed():
				t.Error("the function has not failed")
			default:
			}
		})
	}
}

// TestLaterFailedStartIsRetriedByCalls: once a worker was ready, what the machine lacks is tried again by calls.
func TestLaterFailedStartIsRetriedByCalls(t *testing.T) {
	var broken atomic.Bool
	h := custom(t, func(int) error {
		if broken.Load() {
			return errors.New("no such device")
		}
		return nil
	})
	require.Nil(t, h.invoke("{}").Fault)
	broken.Store(true)
	require.NoError(t, h.worker().Signal(unix.SIGKILL))
	h.eventually(func() bool { return h.State() == Failed })
	require.Contains(t, h.invoke("{}").Fault.Message, "no such device")
	broken.Store(false)
	h.due()
	require.Nil(t, h.invoke("{}").Fault)
}

// TestHangingStartHoldsUpNeitherCancelNorReload: nothing waits for it that need not.
func TestHangingStartHoldsUpNeitherCancelNorReload(t *testing.T) {
	gate := make(chan struct{})
	var open sync.Once
	release := func() { open.Do(func() { close(gate) }) }
	defer release()
	var hanging atomic.Int32
	h := custom(t, func(start int) error {
		if start == 2 {
			hanging.Add(1)
			<-gate
		}
		return nil
	})
	require.Nil(t, h.invoke("{}").Fault)
	require.NoError(t, h.worker().Signal(unix.SIGKILL))
	h.eventually(func() bool { return hanging.Load() == 1 })
	require.Equal(t, Init, h.State())
	require.Zero(t, h.InFlight())
	waiting := h.start("waiting", false, "{}")
	h.eventually(func() bool { return h.Waiting() == 1 })
	canceled := h.start("canceled", false, "{}")
	h.eventually(func() bool { return h.Waiting() == 2 })
	require.True(t, h.Cancel("canceled"))
	require.Equal(t, fault.Canceled, (<-canceled).Fault.Kind)
	h.Reload()
	h.Signal(unix.SIGCONT)
	release()
	require.Nil(t, (<-waiting).Fault)
	require.Equal(t, 1, h.worker().Generation, "the worker of before the reload takes no calls")
	h.eventually(func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.live) == 1
	})
}

// TestStopDuringAHangingStartLeavesNoWorker: calls are refused at once, and the worker does not outlive the stop.
func TestStopDuringAHangingStartLeavesNoWorker(t *testing.T) {
	gate := make(chan struct{})
	var hanging atomic.Int32
	h := custom(t, func(start int) error {
		hanging.Add(1)
		<-gate
		return nil
	})
	h.eventually(func() bool { return hanging.Load() == 1 })
	waiting := h.start("waiting", false, "{}")
	h.eventually(func() bool { return h.Waiting() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, h.Drain(ctx))
	require.Equal(t, fault.Unavailable, (<-waiting).Fault.Kind)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		h.Stop(time.Now().Add(20 * time.Second))
	}()
	<-h.Base().Done()
	require.Equal(t, fault.Unavailable, h.Invoke(context.Background(), &fncontext.Invocation{RequestID: "late", Function: h.fn}, nil).Fault.Kind)
	close(gate)
	<-stopped
	h.eventually(func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.live) == 0
	})
}

package instance

import (
	"context"
	"encoding/json"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime/language"
	testharness "gantry/test/harness"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// obedient are functions that do what the event says: they note that they run, then wait for a file, end the process,
// or loop. What they print goes to stderr itself, past the worker.
var obedient = map[string]struct{ file, source string }{
	"php": {"index.php", `<?php
class Ends implements JsonSerializable {
    public function jsonSerialize(): array { return ['n' => 'last']; }
    public function __destruct() { exit(3); }
}
function handler($e, $c) {
    file_put_contents($e->folder . '/ran', "$e->n\n", FILE_APPEND);
    $left = $c->getRemainingTimeInMilliSeconds();
    if (isset($e->print)) {
        fwrite(STDERR, "stderr $e->n\n");
        $c->getLogger()->info("logger $e->n");
        fwrite(STDOUT, "stdout $e->n"); // without an end of line
    }
    switch ($e->do ?? '') {
        case 'wait': while (!file_exists($e->folder . '/go')) { usleep(1000); } break;
        case 'loop': while (true) { usleep(1000); }
        case 'kill': posix_kill(getmypid(), 9); break;
        case 'exit': exit(3);
        case 'after': return new Ends();
        case 'memory': $all = []; while (true) { $all[] = str_repeat('x', 1 << 20); }
    }
    return ['n' => $e->n, 'left' => $left, 'pid' => getmypid()];
}
`},
	"python": {"index.py", `import os, time

class Ends(dict):
    def __del__(self): os._exit(3)

def handler(e, c):
    with open(e["folder"] + "/ran", "a") as ran: ran.write("%d\n" % e["n"])
    left, what = c.getRemainingTimeInMilliSeconds(), e["do"]
    if "print" in e:
        os.write(2, b"stderr %d\n" % e["n"])
        c.getLogger().info("logger %d" % e["n"])
        os.write(1, b"stdout %d" % e["n"]) # without an end of line
    if what == "wait":
        while not os.path.exists(e["folder"] + "/go"): time.sleep(0.001)
    elif what == "loop":
        while True: time.sleep(0.001)
    elif what == "kill": os.kill(os.getpid(), 9)
    elif what == "exit": os._exit(3)
    elif what == "after": return Ends(n="last")
    return {"n": e["n"], "left": left, "pid": os.getpid()}
`},
}

// eachObedient runs a test with every language whose workers take calls ahead. The room has space for 50, and change
// may change the rest.
func eachObedient(t *testing.T, change func(*Config), test func(t *testing.T, h *obedientHarness)) {
	t.Helper()
	for name, function := range obedient {
		t.Run(name, func(t *testing.T) {
			lang, err := language.ByName(name)
			require.NoError(t, err)
			program, err := lang.FindProgram(os.Getenv("PATH"), "", "", nil)
			require.NoError(t, err)
			h := &obedientHarness{folder: t.TempDir(), out: &testharness.Output{}}
			sink := logger.NewSink(h.out, true, nil)
			h.harness = newInstance(t, "", func(c *Config) {
				r := c.Runtime
				r.Language, r.Program, r.Ahead = lang, program, true
				r.Sink, c.Sink, c.WaitingRoom = sink, sink, 50
				r.Env = append(r.Env, "RUNTIME_HANDLER=index.handler", "RUNTIME_MAX_RESP_BODY_SIZE=1048576")
				require.NoError(t, os.WriteFile(filepath.Join(r.Function.CodeRoot, function.file), []byte(function.source), 0o644))
				if change != nil {
					change(c)
				}
			})
			t.Cleanup(func() { sink.Close(time.Now().Add(10 * time.Second)) })
			require.NoError(t, h.WaitReady(h.Base()))
			require.True(t, h.workers[0].WritesAhead())
			test(t, h)
		})
	}
}

type obedientHarness struct {
	*harness
	folder string
	out    *testharness.Output
}

// do starts a call with a number of its own that does that.
func (h *obedientHarness) do(n int, what string) <-chan Result {
	return h.start("call-"+strconv.Itoa(n), false, h.event(n, what, ""))
}

func (h *obedientHarness) event(n int, what, more string) string {
	return fmt.Sprintf(`{"folder":%q,"n":%d,"do":%q%s}`, h.folder, n, what, more)
}

// behindOne starts a call that does that, and then as many others, which are written behind it in their order.
func (h *obedientHarness) behindOne(what string, others int) (first <-chan Result, rest []<-chan Result) {
	h.t.Helper()
	first = h.do(0, what)
	h.eventually(func() bool { return h.ran() != "" })
	for n := 1; n <= others; n++ {
		rest = append(rest, h.do(n, ""))
		h.eventually(func() bool { return h.written() == n })
	}
	return first, rest
}

// written is how many calls have been written ahead and have not begun.
func (h *obedientHarness) written() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unbegun
}

// ran is the numbers of the calls that the function has begun, in their order.
func (h *obedientHarness) ran() string {
	text, _ := os.ReadFile(filepath.Join(h.folder, "ran"))
	return strings.Join(strings.Fields(string(text)), " ")
}

func (h *obedientHarness) letGo() {
	require.NoError(h.t, os.WriteFile(filepath.Join(h.folder, "go"), nil, 0o644))
}

type obedientAnswer struct {
	N    int
	Left float64
	PID  int
}

func (h *obedientHarness) answer(r Result) (a obedientAnswer) {
	h.t.Helper()
	if r.Fault != nil {
		require.NoError(h.t, r.Fault)
	}
	require.NoError(h.t, json.Unmarshal(r.Body, &a), string(r.Body))
	return a
}

// answers holds that the calls from 1 on are answered, with the whole of their time left when they began.
func (h *obedientHarness) answers(rest []<-chan Result) {
	h.t.Helper()
	whole := float64(h.fn.Timeout.Milliseconds())
	for i, result := range rest {
		r := <-result
		a := h.answer(r)
		require.Equal(h.t, i+1, a.N)
		require.LessOrEqual(h.t, a.Left, whole)
		require.Greater(h.t, a.Left, whole-400)
		require.Less(h.t, r.Duration, h.fn.Timeout)
	}
}

// TestCallsWrittenAheadRunOnceInOrder: and every line of output has the id of its call, between the call's own lines.
func TestCallsWrittenAheadRunOnceInOrder(t *testing.T) {
	eachObedient(t, nil, func(t *testing.T, h *obedientHarness) {
		const callers, each = 16, 25
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				for i := range each {
					n := caller*each + i
					more := ""
					if n%3 > 0 { // the silent ones show that nothing moves into them
						more = `,"print":true`
					}
					r := h.call("call-"+strconv.Itoa(n), false, h.event(n, "", more))
					if r.Fault != nil || h.answer(r).N != n || r.Duration <= 0 || r.Duration > time.Second {
						t.Errorf("call %d: %s %v after %v", n, r.Body, r.Fault, r.Duration)
					}
				}
			})
		}
		wg.Wait()
		ran := map[string]bool{}
		for _, n := range strings.Fields(h.ran()) {
			require.False(t, ran[n], "call %s has run twice", n)
			ran[n] = true
		}
		require.Len(t, ran, callers*each)
		h.linesBelong(callers * each)
	})
}

// linesBelong holds the log's lines of that many calls.
func (h *obedientHarness) linesBelong(calls int) {
	h.t.Helper()
	h.eventually(func() bool { return strings.Count(h.out.String(), "Finish invoke") == calls })
	open, lines := map[string]int{}, 0
	for line := range strings.Lines(h.out.String()) {
		var l struct {
			Message   string `json:"message"`
			RequestID string `json:"request_id"`
		}
		require.NoError(h.t, json.Unmarshal([]byte(line), &l), line)
		number, ours := strings.CutPrefix(l.RequestID, "call-")
		switch {
		case strings.HasPrefix(l.Message, "Start invoke"):
			open[l.RequestID] = 0
		case strings.HasPrefix(l.Message, "Finish invoke"):
			n, err := strconv.Atoi(number)
			require.NoError(h.t, err)
			want := 3
			if n%3 == 0 {
				want = 0
			}
			require.Equal(h.t, want, open[l.RequestID], "lines of %s", l.RequestID)
			delete(open, l.RequestID)
		case ours:
			_, begun := open[l.RequestID]
			require.True(h.t, begun, "a line outside of its call: %s", line)
			_, n, _ := strings.Cut(l.Message, " ")
			require.Equal(h.t, number, n, line)
			open[l.RequestID]++
			lines++
		default:
			require.NotContains(h.t, line, "gantry-", "a mark is left")
			require.NotContains(h.t, line, "std", "a line without its call")
		}
	}
	require.Empty(h.t, open)
	require.NotZero(h.t, lines)
}

// TestCallsBehindOneThatPassesItsDeadlineGoToTheNextWorker: none of them has begun, and their time has not.
func TestCallsBehindOneThatPassesItsDeadlineGoToTheNextWorker(t *testing.T) {
	limit := func(c *Config) { c.Runtime.Function.Timeout, c.RoomWait = time.Second, 20*time.Second }
	eachObedient(t, limit, func(t *testing.T, h *obedientHarness) {
		first, rest := h.behindOne("loop", 4)
		r := <-first
		requireKind(t, fault.Timeout, r.Fault)
		h.answers(rest)
		require.Equal(t, "0 1 2 3 4", h.ran())
	})
}

// TestCallsBehindOneThatComesBackAfterItsDeadlineAreNotBegunThere: the worker goes on, and finds nothing.
func TestCallsBehindOneThatComesBackAfterItsDeadlineAreNotBegunThere(t *testing.T) {
	limit := func(c *Config) { c.Runtime.Function.Timeout, c.RoomWait = time.Second, 20*time.Second }
	eachObedient(t, limit, func(t *testing.T, h *obedientHarness) {
		pid := h.workers[0].PID()
		first, rest := h.behindOne("wait", 4)
		requireKind(t, fault.Timeout, (<-first).Fault)
		h.letGo()
		for _, result := range rest {
			require.NotEqual(t, pid, h.answer(<-result).PID)
		}
		require.Equal(t, "0 1 2 3 4", h.ran())
	})
}

func TestCallsBehindOneThatEndsTheWorkerGoToTheNextOne(t *testing.T) {
	for _, how := range []string{"kill", "exit", "memory"} {
		t.Run(how, func(t *testing.T) {
			limit := func(c *Config) { c.Runtime.Env = append(c.Runtime.Env, "RUNTIME_MEMORY=64") }
			eachObedient(t, limit, func(t *testing.T, h *obedientHarness) {
				if how == "memory" && h.cfg.Runtime.Language.Name != "php" {
					t.Skip("the interpreter has no limit of its own")
				}
				stopper, behind := h.behindOne("wait", 1) // so that the next one is written ahead too
				last := h.do(2, how)
				h.eventually(func() bool { return h.written() == 2 })
				var rest []<-chan Result
				for n := 3; n < 6; n++ {
					rest = append(rest, h.do(n, ""))
					h.eventually(func() bool { return h.written() == n })
				}
				h.letGo()
				h.answer(<-stopper)
				h.answers(behind)
				kind := fault.Crash
				if how == "memory" {
					kind = fault.OutOfMemory
				}
				requireKind(t, kind, (<-last).Fault)
				for i, result := range rest {
					require.Equal(t, 3+i, h.answer(<-result).N)
				}
				require.Equal(t, "0 1 2 3 4 5", h.ran())
			})
		})
	}
}

// TestCallsBehindAnAnswerThatIsTheWorkersLastGoToTheNextOne: it ends between two calls, of which the agent has let the
// second one begin.
func TestCallsBehindAnAnswerThatIsTheWorkersLastGoToTheNextOne(t *testing.T) {
	eachObedient(t, nil, func(t *testing.T, h *obedientHarness) {
		first, rest := h.behindOne("wait", 1)
		last := h.do(2, "after")
		h.eventually(func() bool { return h.written() == 2 })
		rest = append(rest, last)
		for n := 3; n < 6; n++ {
			rest = append(rest, h.do(n, ""))
			h.eventually(func() bool { return h.written() == n })
		}
		h.letGo()
		h.answer(<-first)
		for i, result := range rest {
			r := <-result
			if i == 1 {
				require.Nil(t, r.Fault)
				require.JSONEq(t, `{"n":"last"}`, string(r.Body))
				continue
			}
			require.Equal(t, i+1, h.answer(r).N)
		}
		require.Equal(t, "0 1 2 3 4 5", h.ran())
	})
}

// TestCancelOfACallThatIsWrittenAheadHarmsNoOther: it is answered at once, never runs, and the worker lives on.
func TestCancelOfACallThatIsWrittenAheadHarmsNoOther(t *testing.T) {
	eachObedient(t, nil, func(t *testing.T, h *obedientHarness) {
		first, rest := h.behindOne("wait", 4)
		require.True(t, h.Cancel("call-2"))
		requireCanceled(t, <-rest[1])
		require.False(t, h.Cancel("call-2"))
		h.eventually(func() bool { return h.written() == 3 })
		h.letGo()
		pid := h.answer(<-first).PID
		for _, i := range []int{0, 2, 3} {
			a := h.answer(<-rest[i])
			require.Equal(t, i+1, a.N)
			require.Equal(t, pid, a.PID)
		}
		require.Equal(t, "0 1 3 4", h.ran())
	})
}

func TestCancelOfARunningCallLeavesThoseBehindIt(t *testing.T) {
	eachObedient(t, nil, func(t *testing.T, h *obedientHarness) {
		first, rest := h.behindOne("wait", 3)
		require.True(t, h.Cancel("call-0"))
		requireCanceled(t, <-first)
		h.answers(rest)
		require.Equal(t, "0 1 2 3", h.ran())
	})
}

func TestDrainRefusesCallsThatAreWrittenAhead(t *testing.T) {
	eachObedient(t, nil, func(t *testing.T, h *obedientHarness) {
		first, rest := h.behindOne("wait", 3)
		drained := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			drained <- h.Drain(ctx)
		}()
		for _, result := range rest {
			requireKind(t, fault.Unavailable, (<-result).Fault)
		}
		h.letGo()
		h.answer(<-first)
		require.NoError(t, <-drained)
		require.Equal(t, "0", h.ran())
	})
}

func TestReloadTakesCallsThatAreWrittenAheadToTheNewWorker(t *testing.T) {
	eachObedient(t, nil, func(t *testing.T, h *obedientHarness) {
		pid := h.workers[0].PID()
		first, rest := h.behindOne("wait", 3)
		h.Reload()
		for _, result := range rest {
			require.NotEqual(t, pid, h.answer(<-result).PID)
		}
		h.letGo()
		require.Equal(t, pid, h.answer(<-first).PID)
		require.Equal(t, "0 1 2 3", h.ran())
	})
}

// TestCallsThatAreWrittenAheadWait: they count for the size of the waiting room, and for the longest wait in it.
func TestCallsThatAreWrittenAheadWait(t *testing.T) {
	limit := func(c *Config) { c.WaitingRoom, c.RoomWait = 2, time.Second }
	eachObedient(t, limit, func(t *testing.T, h *obedientHarness) {
		first, rest := h.behindOne("wait", 2)
		require.Equal(t, 2, h.Waiting())
		require.Equal(t, 1, h.InFlight())
		requireKind(t, fault.Throttled, (<-h.do(3, "")).Fault)
		for _, result := range rest {
			r := <-result
			requireKind(t, fault.Throttled, r.Fault)
			require.Contains(t, r.Fault.Message, "GANTRY_QUEUE_WAIT")
		}
		h.letGo()
		h.answer(<-first)
		require.Equal(t, 4, h.answer(<-h.do(4, "")).N)
		require.Equal(t, "0 4", h.ran())
	})
}

// TestLargeAndAsynchronousCallsAreNotWrittenAhead: they come in their turn.
func TestLargeAndAsynchronousCallsAreNotWrittenAhead(t *testing.T) {
	eachObedient(t, nil, func(t *testing.T, h *obedientHarness) {
		first, rest := h.behindOne("wait", 1)
		large := h.start("large", false, h.event(2, "", `,"more":"`+strings.Repeat("x", 1<<17)+`"`))
		h.eventually(func() bool { return h.Waiting() == 2 })
		async := h.start("async", true, h.event(4, "", ""))
		h.eventually(func() bool { return h.WaitingAsync() == 1 })
		require.Equal(t, 1, h.written())
		small := h.do(3, "")
		h.eventually(func() bool { return h.Waiting() == 3 })
		require.Equal(t, 1, h.written(), "it would overtake the large one")
		h.letGo()
		h.answer(<-first)
		h.answers(rest)
		for _, result := range []<-chan Result{large, small, async} {
			h.answer(<-result)
		}
		require.Equal(t, "0 1 2 3 4", h.ran())
	})
}

// TestNothingIsWrittenAheadWithExtensions: they are notified right before each call.
func TestNothingIsWrittenAheadWithExtensions(t *testing.T) {
	extended := func(c *Config) { c.Extended = func() bool { return true } }
	eachObedient(t, extended, func(t *testing.T, h *obedientHarness) {
		first := h.do(0, "wait")
		h.eventually(func() bool { return h.ran() != "" })
		second := h.do(1, "")
		h.eventually(func() bool { return h.Waiting() == 1 })
		require.Zero(t, h.written())
		h.letGo()
		h.answer(<-first)
		h.answer(<-second)
	})
}

// TestStopAnswersCallsThatAreWrittenAhead: the one that runs, too.
func TestStopAnswersCallsThatAreWrittenAhead(t *testing.T) {
	eachObedient(t, nil, func(t *testing.T, h *obedientHarness) {
		first, rest := h.behindOne("loop", 3)
		h.Stop(time.Now().Add(5 * time.Second))
		for _, result := range append(rest, first) {
			requireKind(t, fault.Unavailable, (<-result).Fault)
		}
		require.Equal(t, "0", h.ran())
	})
}

// TestCancelsAndDeadlinesAmongManyCalls: whatever ends whichever call, each call is answered, and runs once at most.
func TestCancelsAndDeadlinesAmongManyCalls(t *testing.T) {
	limit := func(c *Config) { c.Runtime.Function.Timeout, c.RoomWait = 2*time.Second, 60*time.Second }
	eachObedient(t, limit, func(t *testing.T, h *obedientHarness) {
		var wg sync.WaitGroup
		for caller := range 12 {
			wg.Go(func() {
				for i := range 8 {
					n := caller*8 + i
					what := map[int]string{3: "loop", 7: "kill", 9: "exit", 11: "after"}[(n+caller)%48]
					id := uuid.NewString()
					result := h.start(id, false, h.event(n, what, ""))
					if n%5 == 0 {
						h.Cancel(id)
					}
					if r := <-result; r.Fault != nil && what == "" && n%5 > 0 && r.Fault.Kind != fault.Canceled {
						t.Errorf("call %d: %v", n, r.Fault)
					}
				}
			})
		}
		wg.Wait()
		ran := map[string]bool{}
		for _, n := range strings.Fields(h.ran()) {
			require.False(t, ran[n], "call %s has run twice", n)
			ran[n] = true
		}
	})
}

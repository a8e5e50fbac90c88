package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// load sends events as long as it runs, whichever processes die, and records the results.
type load struct {
	t    *testing.T
	fn   *function
	stop func()

	mu       sync.Mutex
	accepted map[string]bool
	accepts  []accept // in the order of their answers
	refused  map[string]int
	silent   int // requests without an answer: their agent was killed
	slowest  time.Duration
	// refusedAt is the start of the latest request that an agent has refused.
	refusedAt map[string]time.Time
}

// accept is the time at which an agent accepted a request.
type accept struct {
	at    time.Time
	agent string
}

const (
	// senders is how many callers each agent has.
	senders = 4
	// perSecond is the rate of all callers of an agent. It is low enough for a busy machine, so that no test waits for
	// a backlog of requests at its end.
	perSecond = 100
)

// newLoad sends events to each of the agents, each with some callers of its own.
func newLoad(f *function, agents ...*agent) *load {
	l := &load{t: f.t, fn: f, accepted: map[string]bool{}, refused: map[string]int{}, refusedAt: map[string]time.Time{}}
	ctx, cancel := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	for _, a := range agents {
		for range senders {
			callers.Go(func() {
				for pace := time.NewTicker(senders * time.Second / perSecond); ctx.Err() == nil; <-pace.C {
					l.send(ctx, a)
				}
			})
		}
	}
	l.stop = sync.OnceFunc(func() { cancel(); callers.Wait() })
	f.t.Cleanup(l.stop)
	return l
}

var varying = regexp.MustCompile(`[0-9a-f-]{36}|127\.0\.0\.1:\d+`)

// send makes one request. A caller that is refused waits a moment, as a caller would.
func (l *load) send(ctx context.Context, a *agent) {
	began := time.Now()
	got, err := a.ask("POST", "invocations-async", "{}")
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, now.Sub(began))
	switch id := requestID(got); {
	case err != nil:
		l.silent++
	case got.status == 202 && id != "":
		l.accepted[id] = true
		l.accepts = append(l.accepts, accept{now, a.name})
		return
	default:
		l.refusedAt[a.name] = began
		l.refused[fmt.Sprintf("%d %s", got.status, varying.ReplaceAllString(got.body, "…"))]++
	}
	l.mu.Unlock()
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
	l.mu.Lock()
}

// add sends one more event, which must be accepted and end with SUCCESS.
func (l *load) add(a *agent, event string) string {
	l.t.Helper()
	id := a.accept(event)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted[id] = true
	l.accepts = append(l.accepts, accept{time.Now(), a.name})
	return id
}

// hold sends events whose runs at an agent do not end, until n are in flight there; at another agent they end at once.
// It returns the held ones.
func (l *load) hold(a *agent, n int) (held []string) {
	l.t.Helper()
	sent := map[string]bool{}
	eventually(l.t, func() bool {
		sent[l.add(a, `{"hold":"`+a.name+`"}`)] = true
		held = held[:0]
		for id, runs := range l.fn.runs() {
			if sent[id] && runs[0].agent == a.name {
				held = append(held, id)
			}
		}
		return len(held) >= n
	}, "agent %s to hold %d requests", a.name, n)
	return held
}

// except exempts a request from having to end with SUCCESS.
func (l *load) except(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.accepted, id)
}

// waitRefused waits until an agent has refused a request that was sent after a moment.
func (l *load) waitRefused(a *agent, after time.Time) {
	l.t.Helper()
	eventually(l.t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.refusedAt[a.name].After(after)
	}, "agent %s to refuse", a.name)
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted)
}

// waitCount waits until n requests have been accepted.
func (l *load) waitCount(n int) {
	l.t.Helper()
	eventually(l.t, func() bool { return l.count() >= n }, "%d requests to be accepted", n)
}

// after is the time from a moment until one of the agents accepted a request; any agent if none is given. ok is false
// if none did.
func (l *load) after(at time.Time, agents ...*agent) (took time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.accepts {
		if x.at.After(at) && (len(agents) == 0 || slices.ContainsFunc(agents, func(a *agent) bool { return a.name == x.agent })) {
			return x.at.Sub(at), true
		}
	}
	return 0, false
}

// recovered waits until each of the agents has accepted a request after a moment, and returns the longest time.
func (l *load) recovered(at time.Time, agents ...*agent) (took time.Duration) {
	l.t.Helper()
	for _, a := range agents {
		eventually(l.t, func() bool {
			d, ok := l.after(at, a)
			took = max(took, d)
			return ok
		}, "agent %s to accept again", a.name)
	}
	return took
}

// gap is the longest time without an accept.
func (l *load) gap() (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 1; i < len(l.accepts); i++ {
		longest = max(longest, l.accepts[i].at.Sub(l.accepts[i-1].at))
	}
	return longest
}

// drained waits until an agent lists no active requests.
func (l *load) drained(a *agent) time.Duration {
	l.t.Helper()
	began := time.Now()
	var got answer
	eventually(l.t, func() bool {
		got = a.request("GET", "active-async-invocations?limit=1", "")
		return got.status == 200 && strings.Contains(got.body, `"count":0,`)
	}, "requests are left: %s", &got.body)
	return time.Since(began)
}

// waitOutcomeMessages waits until all accepted requests have an outcome message in a file. A refused request may have
// been stored, and then has one too. No request may be accepted meanwhile.
func (l *load) waitOutcomeMessages() {
	l.t.Helper()
	defer l.logOutbox()
	missing := 0
	eventually(l.t, func() bool {
		missing = 0
		arrived := l.fn.outcomeMessages()
		for id := range l.accepted {
			if !arrived[id] {
				missing++
			}
		}
		return missing == 0
	}, "%d outcome messages", &missing)
}

// logOutbox logs, if the test has failed, which outcome messages wait to be sent: others that are missing are lost.
func (l *load) logOutbox() {
	if !l.t.Failed() {
		return
	}
	for _, suffix := range []string{"_outcomes_0", "_events_0"} {
		info := l.fn.cluster.stream(suffix)
		if info == nil {
			l.t.Logf("%s: no answer", suffix)
			continue
		}
		c := l.fn.cluster.consumer(info.Config.Name)
		l.t.Logf("%s: %d messages, of which a consumer has %d not delivered and %d not acknowledged, %d of them redelivered",
			info.Config.Name, info.State.Msgs, c.NumPending, c.NumAckPending, c.NumRedelivered)
	}
}

// acceptedAt is the time of acceptance: a request id is a UUID of version 7, which begins with it.
func acceptedAt(id string) (time.Time, bool) {
	if len(id) != 36 {
		return time.Time{}, false
	}
	millis, err := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
	return time.UnixMilli(millis), err == nil
}

// run is one line that the function recorded.
type run struct {
	at    time.Time
	agent string
}

// runs reads these lines, by request id.
func (f *function) runs() map[string][]run {
	f.t.Helper()
	file, err := os.Open(filepath.Join(f.folder, "runs"))
	require.NoError(f.t, err)
	defer file.Close()
	all := map[string][]run{}
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) != 3 {
			continue // a line that a kill cut off
		}
		millis, err := strconv.ParseInt(fields[0], 10, 64)
		require.NoError(f.t, err)
		all[fields[1]] = append(all[fields[1]], run{time.UnixMilli(millis), fields[2]})
	}
	require.NoError(f.t, scanner.Err())
	return all
}

// record is an agent's record of a request.
type record struct {
	Status string    `json:"status"`
	End    time.Time `json:"end"`
	Due    time.Time `json:"due"`
}

func (r record) ended() bool {
	return r.Status == "SUCCESS" || r.Status == "FAIL" || r.Status == "DISCARD"
}

// records reads the stream of records: the platform API rounds times to seconds.
func (c *cluster) records() (map[string]record, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	info := c.stream("_records")
	if info == nil {
		return nil, errors.New("there is no stream of records")
	}
	all := map[string]record{}
	if info.State.Msgs == 0 {
		return all, nil
	}
	reader, err := c.js.OrderedConsumer(ctx, info.Config.Name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	messages, err := reader.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		var r record
		if err := json.Unmarshal(msg.Data(), &r); err != nil {
			return nil, err
		}
		all[msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:]] = r
		if meta, err := msg.Metadata(); err != nil || meta.NumPending == 0 {
			return all, err
		}
	}
}

// check compares the function's own lines with the accepted requests and their records, and logs the figures. It
// returns the number of runs at each agent.
func (l *load) check(remarks ...string) (by map[string]int) {
	l.t.Helper()
	l.stop()
	var records map[string]record
	open := 0
	eventually(l.t, func() bool { // a server that lists them may lag behind a moment
		open = 0
		var err error
		records, err = l.fn.cluster.records()
		for id := range l.accepted {
			if records[id].Status != "SUCCESS" {
				open++
			}
		}
		return err == nil && open == 0
	}, "every record to be SUCCESS; %d are not", &open)
	lost, twice, late := 0, 0, 0
	by = map[string]int{}
	all := l.fn.runs()
	for id, runs := range all {
		for _, r := range runs {
			by[r.agent]++
			// Times in the record are exact, those of the function whole milliseconds, rounded down.
			if outcome := records[id]; outcome.ended() && r.at.After(outcome.End) {
				late++
			}
		}
		if len(runs) > 1 {
			twice++
		}
	}
	for id := range l.accepted {
		if len(all[id]) == 0 {
			lost++
		}
	}
	l.t.Logf("%d accepted, refused %s, %d without an answer; lost %d, ran more than once %d, run after the outcome %d; runs %v; longest gap %s, slowest answer %s%s",
		len(l.accepted), l.refusals(), l.silent, lost, twice, late, by, round(l.gap()), round(l.slowest), strings.Join(append([]string{""}, remarks...), "; "))
	require.Zero(l.t, lost, "lost")
	require.Zero(l.t, late, "run after the outcome was recorded")
	for text := range l.refused {
		require.Regexp(l.t, `^503 .*FSS\.0503.*asynchronous invocation is not available`, text)
	}
	return by
}

func (l *load) refusals() string {
	if len(l.refused) == 0 {
		return "0"
	}
	var all []string
	for _, text := range slices.Sorted(maps.Keys(l.refused)) {
		all = append(all, fmt.Sprintf("%d × %s", l.refused[text], text))
	}
	return strings.Join(all, ", ")
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

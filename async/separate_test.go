package async

import (
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

const testQuiet = 100 * time.Millisecond

// soon lets an agent remove what an earlier release left without much of a wait.
func soon(c *Config) { c.SeparateQuiet, c.Log = testQuiet, zap.NewNop() }

// TestQueueOfAnEarlierReleaseIsTakenOver: requests in every state run as they would have, what has an outcome does not,
// and the records stay.
func TestQueueOfAnEarlierReleaseIsTakenOver(t *testing.T) {
	for name, alone := range map[string]bool{"child": true, "cluster": false} {
		t.Run(name, func(t *testing.T) {
			s, folder := startServer(t, t.TempDir()), t.TempDir()
			o := newEarlier(t, s)
			taken, _ := o.accept("taken")
			o.put(taken, `{"status":"RUNNING","start":"2026-01-02T03:04:05Z","attempts":{"started":1}}`)
			require.NoError(t, o.take().Nak())
			later, _ := o.accept("later")
			msg := o.take()
			for lastToken(msg.Subject()) != later { // the other one came first
				require.NoError(t, msg.Nak())
				msg = o.take()
			}
			o.put(later, `{"status":"WAIT","errorCode":4001,"attempts":{"started":1,"userFailures":1}}`)
			require.NoError(t, msg.NakWithDelay(1500*time.Millisecond))
			due := time.Now().Add(1400 * time.Millisecond)
			waiting, _ := o.accept("waiting")
			running, _ := o.accept("running")
			o.put(running, `{"status":"RUNNING","start":"2026-01-02T03:04:05Z","attempts":{"started":1}}`)
			unsent, _ := o.accept("unsent")
			o.put(unsent, fmt.Sprintf(`{"status":"FAIL","end":%q,"attempts":{"started":1},`+
				`"pending":{"destination":{"destination":"DIS","param":"{\"stream_name\":\"s\"}"},"text":{"from":"record"}}}`,
				time.Now().Format(time.RFC3339Nano)))
			ended, queued := newID(), newID()
			for _, id := range []string{ended, queued} {
				o.put(id, fmt.Sprintf(`{"status":"SUCCESS","end":%q,"attempts":{"started":1}}`, time.Now().Format(time.RFC3339Nano)))
			}
			o.message(queued, "s")

			f := &testFunction{}
			var early bool
			f.answer = func(_ int, _ *fncontext.Invocation, event string) *fault.Error {
				early = early || event == "later" && time.Now().Before(due)
				return nil
			}
			q := open(t, s, f, soon, func(c *Config) { c.Alone, c.Folder = alone, folder })
			require.NoError(t, q.Start(t.Context()))
			for _, id := range []string{waiting, running, taken, later} {
				waitStatus(t, q, id, Success)
			}
			require.Equal(t, 2, one(t, q, running).Attempts.Started)
			require.Equal(t, 1, one(t, q, running).Attempts.Lost)
			require.Equal(t, "record", sent(t, filepath.Join(folder, "notifications/DIS/s", unsent+".json"))["from"])
			require.Equal(t, "outbox", sent(t, filepath.Join(folder, "notifications/DIS/s", queued+".json"))["from"])
			require.Eventually(t, o.removed, patience, 10*time.Millisecond)
			require.Eventually(t, func() bool { return q.open.old.Load() == nil }, patience, time.Millisecond)
			require.False(t, early, "the delay of a retry counts")
			require.ElementsMatch(t, []string{"taken", "later", "waiting", "running"}, f.events)
			again := open(t, s, &testFunction{}, soon)
			require.NoError(t, again.Start(t.Context()))
			require.Nil(t, again.open.old.Load())
			for id, want := range map[string]Status{
				taken: Success, later: Success, waiting: Success, running: Success, unsent: Fail, ended: Success, queued: Success,
			} {
				require.Equal(t, want, one(t, again, id).Status)
			}
			page, err := again.Records(t.Context(), &Filter{Limit: 10})
			require.NoError(t, err)
			require.Equal(t, 7, page.Count)
		})
	}
}

// TestMovedRecordsKeepTheTimeThatTheyHaveLeft, and those that have none are not moved. One that is there stays.
func TestMovedRecordsKeepTheTimeThatTheyHaveLeft(t *testing.T) {
	s := startServer(t, t.TempDir())
	o := newEarlier(t, s)
	q := open(t, s, &testFunction{}, soon)
	q.Pause()
	e, err := q.engine(t.Context())
	require.NoError(t, err)
	w := &separateWatch{engine: e, old: e.old.Load()}
	old, over := newID(), newID()
	record := func(id string) *testMsg { return &testMsg{subject: o.prefix + "." + id, data: `{"status":"SUCCESS"}`} }
	moved, err := w.moveRecord(t.Context(), record(old), time.Now().Add(-25*time.Hour))
	require.NoError(t, err)
	require.True(t, moved)
	msg, err := e.last(t.Context(), recordStream, e.lay.record+old)
	require.NoError(t, err)
	left, err := time.ParseDuration(msg.Header.Get("Nats-TTL"))
	require.NoError(t, err)
	require.InDelta(t, time.Hour, left, float64(time.Minute))
	moved, err = w.moveRecord(t.Context(), record(old), time.Now())
	require.NoError(t, err)
	require.False(t, moved)
	moved, err = w.moveRecord(t.Context(), record(over), time.Now().Add(-26*time.Hour))
	require.NoError(t, err)
	require.False(t, moved)
}

type testMsg struct {
	jetstream.Msg
	subject, data string
}

func (m *testMsg) Subject() string { return m.subject }
func (m *testMsg) Data() []byte    { return []byte(m.data) }

// TestStreamsStayAsLongAsAnAgentOfAnEarlierReleaseFetches: agents of both releases accept, each once; the new one runs
// what the other has accepted. The streams are closed only once that one is gone, opened when it comes back, and removed
// when they are empty.
func TestStreamsStayAsLongAsAnAgentOfAnEarlierReleaseFetches(t *testing.T) {
	s, f := startServer(t, t.TempDir()), &testFunction{}
	o := newEarlier(t, s)
	leave := o.stay()
	q := open(t, s, f, soon)
	require.NoError(t, q.Start(t.Context()))
	id, _ := o.accept("theirs")
	waitStatus(t, q, id, Success)
	waitStatus(t, q, accept(t, q, "ours"), Success)
	once := func(id string) bool {
		first, err := q.AcceptOnce(t.Context(), id, &Event{Body: []byte("once"), Version: "latest"})
		require.NoError(t, err)
		return first
	}
	tick, other := newID(), newID()
	require.True(t, once(tick))
	_, first := o.accept("once", tick)
	require.False(t, first)
	_, first = o.accept("once", other)
	require.True(t, first)
	require.False(t, once(other))
	waitStatus(t, q, tick, Success)
	waitStatus(t, q, other, Success)
	open := func() bool {
		stream, err := o.js.Stream(t.Context(), o.name+"_events")
		return err == nil && slices.Contains(stream.CachedInfo().Config.Subjects, o.prefix+".event.*")
	}
	require.Never(t, func() bool { return !open() }, 20*testQuiet, testQuiet/4)
	require.Len(t, o.left(), 4)

	held, _ := o.accept("held") // keeps them from being removed
	q.open.underWay.Store(held, nil)
	leave()
	require.Eventually(t, func() bool { return !open() }, patience, 5*time.Millisecond)
	require.False(t, once(tick), "also once they are closed")
	require.False(t, once(held))
	late := newID()
	require.True(t, once(late))
	require.False(t, once(late))
	waitStatus(t, q, late, Success)
	leave = o.stay()
	require.Eventually(t, open, patience, 5*time.Millisecond, "it cannot accept otherwise")
	id, _ = o.accept("back")
	waitStatus(t, q, id, Success)
	leave()
	q.open.underWay.Delete(held)
	waitStatus(t, q, held, Success)
	require.Eventually(t, o.removed, patience, 5*time.Millisecond)
	require.Eventually(t, func() bool { return q.open.old.Load() == nil }, patience, time.Millisecond)
	require.False(t, once(late))
	require.Equal(t, []int{1, 1, 1, 1, 3}, timesOf(f, "theirs", "ours", "held", "back", "once"))
}

// timesOf returns how often the function got each event.
func timesOf(f *testFunction, events ...string) (n []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		n = append(n, 0)
		for _, seen := range f.events {
			if seen == e {
				n[len(n)-1]++
			}
		}
	}
	return n
}

// TestAgentOfAnEarlierReleaseThatComesBackIsSeen: it makes its streams anew. What it accepts runs, ticks of timers count
// once, and its configurations are those of the others.
func TestAgentOfAnEarlierReleaseThatComesBackIsSeen(t *testing.T) {
	s, f := startServer(t, t.TempDir()), &testFunction{}
	q := open(t, s, f, soon)
	putConfiguration(t, q, `{"max_async_event_age_in_seconds":77}`)
	o := newEarlier(t, s)
	leave := o.stay()
	id := newID()
	_, first := o.accept("once", id)
	require.True(t, first)
	first, err := q.AcceptOnce(t.Context(), id, &Event{Body: []byte("once"), Version: "latest"})
	require.NoError(t, err)
	require.False(t, first)
	require.Eventually(t, func() bool { return q.open.old.Load() != nil }, patience, time.Millisecond)
	waitStatus(t, q, id, Success)
	require.Eventually(t, func() bool { return o.age("") == 77 }, patience, time.Millisecond)
	leave()
	require.Eventually(t, o.removed, patience, 5*time.Millisecond)
	require.Equal(t, Success, one(t, q, id).Status)
	require.Equal(t, 1, f.calls())
}

// TestInterruptedRemovalIsFinished: any of the streams may be missing.
func TestInterruptedRemovalIsFinished(t *testing.T) {
	for i, what := range []string{"outcome messages", "configurations", "records", "events"} {
		t.Run(what, func(t *testing.T) {
			s, f, folder := startServer(t, t.TempDir()), &testFunction{}, t.TempDir()
			before := open(t, s, f, soon)
			before.Pause()
			configure(t, before, &Destination{destination.DIS, `{"stream_name":"s"}`}, nil)
			o := newEarlier(t, s)
			done := newID()
			o.put(done, fmt.Sprintf(`{"status":"SUCCESS","end":%q,"attempts":{"started":1}}`, time.Now().Format(time.RFC3339Nano)))
			waiting, _ := o.accept("waiting")
			require.NoError(t, o.js.DeleteStream(t.Context(), o.streams()[i]))
			q := open(t, s, f, soon, func(c *Config) { c.Folder = folder })
			id := accept(t, q, "new")
			waitStatus(t, q, id, Success)
			sent(t, filepath.Join(folder, "notifications/DIS/s", id+".json"))
			if what == "events" { // it is removed last, and says that there are others
				require.Nil(t, one(t, q, done))
				return
			}
			waitStatus(t, q, waiting, Success)
			sent(t, filepath.Join(folder, "notifications/DIS/s", waiting+".json"))
			require.Eventually(t, o.removed, patience, 5*time.Millisecond)
			require.Equal(t, what == "records", one(t, q, done) == nil)
			require.Equal(t, Success, one(t, q, waiting).Status)
		})
	}
}

// TestRequestsOfAnEarlierReleaseAreListedAndCancelled: those that wait, those that an agent runs, here or there, and
// those whose agent has died.
func TestRequestsOfAnEarlierReleaseAreListedAndCancelled(t *testing.T) {
	s := startServer(t, t.TempDir())
	o := newEarlier(t, s)
	defer o.stay()()
	q := open(t, s, &testFunction{}, soon)
	q.Pause()
	require.NoError(t, q.Start(t.Context()))
	waiting, _ := o.accept("waiting")
	orphan, _ := o.accept("orphan")
	o.put(orphan, `{"status":"RUNNING","start":"2026-01-02T03:04:05Z","attempts":{"started":1}}`)
	running, _ := o.accept("running")
	o.put(running, `{"status":"RUNNING","start":"2026-01-02T03:04:05Z","attempts":{"started":1}}`)
	ours := accept(t, q, "ours")
	asked := make(chan string, 9)
	_, err := o.conn.Subscribe(o.prefix+".cancel", func(msg *nats.Msg) {
		asked <- string(msg.Data)
		if string(msg.Data) == running {
			_ = msg.Respond(nil)
		}
	})
	require.NoError(t, err)
	require.NoError(t, o.conn.Flush())
	page, err := q.Records(t.Context(), &Filter{Limit: 10, Active: true})
	require.NoError(t, err)
	var listed []string
	for _, r := range page.Records {
		listed = append(listed, r.RequestID+" "+string(r.Status))
	}
	require.Equal(t, []string{waiting + " WAIT", orphan + " RUNNING", running + " RUNNING", ours + " WAIT"}, listed)
	n, oldest := q.Depth()
	require.Equal(t, int64(4), n)
	require.Positive(t, oldest)

	for _, id := range []string{waiting, orphan, running, ours} {
		require.NoError(t, q.Cancel(t.Context(), id, false))
	}
	for id := range asked {
		if id == running {
			break
		}
	}
	require.Equal(t, Discard, one(t, q, waiting).Status)
	require.Equal(t, Fail, one(t, q, orphan).Status)
	require.Equal(t, Running, one(t, q, running).Status, "its agent records the outcome")
	require.Equal(t, Discard, one(t, q, ours).Status)
	entry, err := o.records.Get(t.Context(), waiting)
	require.NoError(t, err, "agents of the earlier release see it")
	require.Contains(t, string(entry.Value()), `"DISCARD"`)
	stream, err := o.js.Stream(t.Context(), o.name+"_events")
	require.NoError(t, err)
	require.Equal(t, uint64(1), stream.CachedInfo().State.Msgs)
	requireFault(t, q.Cancel(t.Context(), waiting, false), fault.Invalid, "Invalid RequestId")
}

// TestOutcomesReachFunctionsOfAnEarlierRelease: they go to its streams as long as there are any, where agents of both
// releases take them, and a recursive cancel follows.
func TestOutcomesReachFunctionsOfAnEarlierRelease(t *testing.T) {
	s, f, end := startServer(t, t.TempDir()), &testFunction{}, make(chan struct{})
	defer close(end)
	o := newEarlier(t, s, "other")
	leave := o.stay()
	q := open(t, s, f, soon, func(c *Config) { c.Folder = t.TempDir() })
	configure(t, q, &Destination{destination.Function, `{"func_urn":"urn:fss:r:p:function:default:other"}`}, nil)
	accept(t, q, "first")
	require.Contains(t, string(o.take().Data()), `"request_payload":"first"`)

	other := &testFunction{}
	other.answer = func(_ int, inv *fncontext.Invocation, _ string) *fault.Error { return other.block(inv, end) }
	q2 := open(t, s, other, soon, func(c *Config) {
		fn := *c.Function
		fn.Name, c.Function = "other", &fn
	})
	require.NoError(t, q2.Start(t.Context()))
	id := accept(t, q, "second")
	require.Eventually(t, func() bool { return other.calls() == 1 }, patience, time.Millisecond)
	made := other.seen[0].RequestID
	_, err := o.js.Stream(t.Context(), o.name+"_events")
	require.NoError(t, err)
	msg, err := q2.open.last(t.Context(), o.name+"_events", o.prefix+".event."+made)
	require.NoError(t, err)
	require.NotNil(t, msg)
	require.Eventually(t, func() bool { return q.Cancel(t.Context(), id, true) == nil }, patience, 5*time.Millisecond)
	waitStatus(t, q2, made, Fail)
	leave()
	stream, err := o.js.Stream(t.Context(), o.name+"_events")
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context())) // the first was taken, and is not of interest any more
	require.Eventually(t, o.removed, patience, 5*time.Millisecond)
	accept(t, q, "third")
	require.Eventually(t, func() bool { return other.calls() == 2 }, patience, time.Millisecond)
}

// TestRecordsThatHaveNoRoomStayInTheirStream, and are listed there. The records of new requests go first.
func TestRecordsThatHaveNoRoomStayInTheirStream(t *testing.T) {
	s := startServer(t, t.TempDir())
	o := newEarlier(t, s)
	id := newID()
	o.put(id, fmt.Sprintf(`{"status":"SUCCESS","end":%q,"attempts":{"started":1}}`, time.Now().Format(time.RFC3339Nano)))
	logs, observe := observed()
	q := open(t, s, &testFunction{}, soon, observe, func(c *Config) { c.MaxRecordBytes = 300 << 10 })
	require.NoError(t, q.Start(t.Context()))
	require.Eventually(t, func() bool { return logs.FilterMessageSnippet("are not removed yet").Len() == 1 }, patience, time.Millisecond)
	require.Len(t, o.left(), 4)
	require.Equal(t, Success, one(t, q, id).Status)
	waitStatus(t, q, accept(t, q, "new"), Success)
}

// TestRecordsOfStreamsThatWereMadeAnewAreMoved: another agent has removed the streams, and an agent of the earlier
// release has made them again, before this one noticed. The numbers of their messages begin anew.
func TestRecordsOfStreamsThatWereMadeAnewAreMoved(t *testing.T) {
	s := startServer(t, t.TempDir())
	o := newEarlier(t, s)
	leave := o.stay()
	q := open(t, s, &testFunction{}, soon)
	require.NoError(t, q.Start(t.Context()))
	old := q.open.old.Load()
	w := &separateWatch{engine: q.open, old: old, movedTo: 1000}
	_, _, err := w.step(t.Context())
	require.NoError(t, err)
	for _, stream := range o.streams() {
		require.NoError(t, o.js.DeleteStream(t.Context(), stream))
	}
	leave()
	o = newEarlier(t, s)
	id := newID()
	o.put(id, fmt.Sprintf(`{"status":"SUCCESS","end":%q,"attempts":{"started":1}}`, time.Now().Format(time.RFC3339Nano)))
	gone, _, err := w.step(t.Context())
	require.NoError(t, err)
	require.True(t, gone)
	require.Eventually(t, o.removed, patience, 5*time.Millisecond)
	require.Equal(t, Success, one(t, q, id).Status)
}

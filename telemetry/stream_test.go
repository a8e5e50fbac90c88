package telemetry

import (
	"context"
	"fmt"
	"gantry/logger"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestEventsArriveInTheirOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		for i, name := range numbers(40) { // before the subscription and after it
			if i == 20 {
				defer func(b *inbox) { require.Equal(t, numbers(40), b.what()) }(h.three())
			}
			switch i % 3 {
			case 0:
				h.start(name)
			case 1:
				h.line(name)
			default:
				h.output("extensionB", name)
			}
		}
		h.Flush(t.Context())
	})
}

// three subscribes an inbox that takes three events at once.
func (h *harness) three() *inbox {
	b := &inbox{}
	h.subscribe(b, func(s *Subscriber) { s.MaxItems = 3 })
	return b
}

func TestBatchIsSentWhenItsTimeIsOver(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		h.subscribe(b, nil)
		for range 3 {
			time.Sleep(time.Second)
			began := time.Now()
			h.line("a")
			time.Sleep(60 * time.Millisecond)
			h.start("b")
			time.Sleep(DefaultTimeout)
			synctest.Wait()
			require.Equal(t, DefaultTimeout, b.attempts(began)[len(b.tries)-1], "from the first event on")
		}
		require.Equal(t, []int{2, 2, 2}, b.sizes())
	})
}

func TestBatchIsSentAtItsNumberOfItems(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		h.subscribe(b, func(s *Subscriber) { s.MaxItems = 5 })
		for _, name := range numbers(4) {
			h.line(name)
		}
		synctest.Wait()
		require.Empty(t, b.sizes())
		h.start("4")
		synctest.Wait()
		require.Equal(t, []int{5}, b.sizes(), "no time has passed")
		b.answer = func(context.Context, int) error { time.Sleep(time.Second); return nil }
		for i := 5; i < 17; i++ { // more than a batch comes while one is under way
			h.line(fmt.Sprint(i))
		}
		time.Sleep(3*time.Second + DefaultTimeout)
		synctest.Wait()
		require.Equal(t, []int{5, 5, 5, 2}, b.sizes())
		require.Equal(t, numbers(17), b.what())
	})
}

func TestBatchIsSentAtItsNumberOfBytes(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		h.subscribe(b, func(s *Subscriber) { s.MaxBytes = 4096 })
		text := strings.Repeat("x", 1000)
		for range 4 {
			h.line(text)
		}
		synctest.Wait()
		require.Empty(t, b.sizes())
		h.line(text)
		synctest.Wait()
		require.Equal(t, []int{4}, b.sizes(), "about MaxBytes, which counts more than the text")
		time.Sleep(DefaultTimeout)
		synctest.Wait()
		require.Equal(t, []int{4, 1}, b.sizes())
	})
}

func TestIdleSendsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		h.Idle() // no subscriber yet
		h.subscribe(b, nil)
		h.Idle()
		h.line("a")
		h.Idle()
		synctest.Wait()
		require.Equal(t, []int{1}, b.sizes())
		h.line("b")
		synctest.Wait()
		require.Equal(t, []int{1}, b.sizes(), "it was for what waited then")
	})
}

func TestFlushWaitsOnlyForEventsBeforeIt(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{answer: func(context.Context, int) error { time.Sleep(time.Second); return nil }}
		h.Flush(t.Context()) // no subscriber
		h.subscribe(b, func(s *Subscriber) { s.MaxItems = 2 })
		began := time.Now()
		h.Flush(t.Context())
		require.Zero(t, time.Since(began), "there is nothing")
		for _, name := range numbers(5) {
			h.line(name)
		}
		go func() { // what comes later is not waited for
			time.Sleep(1500 * time.Millisecond)
			for range 20 {
				h.line("later")
			}
		}()
		h.Flush(t.Context())
		require.Equal(t, numbers(5), b.what()[:5])
		require.Equal(t, 3*time.Second, time.Since(began), "three batches")
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		h.Flush(ctx)
		require.Equal(t, 3300*time.Millisecond, time.Since(began))
	})
}

// TestFlushEndsWithTheSubscription: what it waits for is dropped then.
func TestFlushEndsWithTheSubscription(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		sub := h.subscribe(&inbox{answer: hang}, nil)
		h.line("a")
		go func() {
			time.Sleep(time.Second)
			require.True(t, h.Unsubscribe(sub))
		}()
		began := time.Now()
		h.Flush(t.Context())
		require.Equal(t, time.Second, time.Since(began))
	})
}

// TestOverflowDropsLinesBeforePlatformEvents: lines are dropped first, then platform events, oldest first; the
// subscriber gets the report.
func TestOverflowDropsLinesBeforePlatformEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		open := make(chan struct{})
		b := &inbox{answer: func(context.Context, int) error { <-open; return nil }}
		h.subscribe(b, nil)
		h.start("taken")
		h.Idle()
		synctest.Wait() // it is on its way from now on
		for i := range maxWaiting {
			if i%2 == 0 {
				h.start(fmt.Sprint("p", i))
			} else {
				h.line(fmt.Sprint("l", i))
			}
		}
		require.Zero(t, h.dropped(overflow))
		h.start("new")
		h.line("new line")
		require.EqualValues(t, 2, h.dropped(overflow))
		for range maxWaiting / 2 { // more than there are lines
			h.start("more")
		}
		require.EqualValues(t, 2+maxWaiting/2, h.dropped(overflow))
		require.Zero(t, h.lines.n)
		require.Zero(t, h.bytes)
		require.Equal(t, "p2", h.platform.front().RequestID, "the oldest one is gone")
		close(open)
		h.Flush(t.Context())
		reported := 0
		for _, e := range b.events() {
			require.Empty(t, e.Record)
			if e.Name == "platform.logsDropped" {
				reported++
				require.EqualValues(t, 2+maxWaiting/2, e.DroppedRecords)
				require.Equal(t, overflow.text(), e.Reason)
			}
		}
		require.Equal(t, 1, reported)
		require.Equal(t, "platform.logsDropped", b.batches[1][len(b.batches[1])-1].Name, "with the next batch")
	})
}

func TestOverflowOfTextDropsTheOldestLines(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		open := make(chan struct{})
		b := &inbox{answer: func(context.Context, int) error { <-open; return nil }}
		h.subscribe(b, nil)
		h.start("taken")
		h.Idle()
		synctest.Wait()
		const size, fit = logger.MaxLine, maxWaitingBytes / logger.MaxLine
		for i := range fit + 3 {
			h.line(fmt.Sprintf("%-*d", size, i))
			h.start("platform")
			require.LessOrEqual(t, h.bytes, maxWaitingBytes)
		}
		require.EqualValues(t, 3, h.dropped(overflow))
		close(open)
		h.Flush(t.Context())
		events := b.events()
		require.Contains(t, events, received{Name: "platform.logsDropped", StartTime: "2000-01-01T00:00:00.000Z", DroppedRecords: 3, DroppedBytes: 3 * size, Reason: overflow.text()})
		lines := slices.DeleteFunc(events, func(e received) bool { return e.Record == "" })
		require.Len(t, lines, fit)
		require.Equal(t, "3", strings.TrimSpace(lines[0].Record))
	})
}

// TestSubscribersOwnLinesAreLimitedPerBatch: a subscriber that prints for each event does not get everything it prints.
func TestSubscribersOwnLinesAreLimitedPerBatch(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		h.subscribe(b, nil)
		for range 2 {
			for range maxOwnLines + 30 {
				h.output("extensionA", "mine")
				h.output("extensionB", "another's")
				h.line("the function's")
			}
			h.Flush(t.Context())
		}
		seen := map[string]int{}
		for _, text := range b.what() {
			seen[text]++
		}
		require.Equal(t, map[string]int{"mine": 2 * maxOwnLines, "another's": 2 * (maxOwnLines + 30), "the function's": 2 * (maxOwnLines + 30), "platform.logsDropped": 2}, seen)
		require.EqualValues(t, 60, h.dropped(feedback))
		for _, e := range b.events() {
			if e.Name == "platform.logsDropped" {
				require.Equal(t, []any{int64(30), int64(30 * len("mine")), feedback.text()}, []any{e.DroppedRecords, e.DroppedBytes, e.Reason})
			}
		}
	})
}

// TestBatchOfOwnLinesAloneWaitsLonger: a batch of nothing but what the subscriber printed is in no hurry; any other
// event is.
func TestBatchOfOwnLinesAloneWaitsLonger(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		h.subscribe(b, nil)
		sent := func(began time.Time) time.Duration {
			n := len(b.sizes())
			for len(b.sizes()) == n {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			return time.Since(began)
		}
		for range 3 {
			began := time.Now()
			h.output("extensionA", "mine")
			time.Sleep(DefaultTimeout / 2)
			h.output("extensionA", "mine")
			require.Equal(t, ownTimeout, sent(began))
			h.output("extensionA", "mine")
			time.Sleep(ownTimeout / 2)
			began = time.Now()
			h.line("another's")
			require.Equal(t, DefaultTimeout, sent(began))
			h.line("another's")
			began = time.Now()
			h.output("extensionA", "mine")
			require.Equal(t, DefaultTimeout, sent(began))
			h.output("extensionA", "mine")
			h.Idle()
			synctest.Wait()
		}
		require.Equal(t, []int{2, 2, 2, 1, 2, 2, 2, 1, 2, 2, 2, 1}, b.sizes())
	})
}

// TestUnnamedSubscriberLimitsLinesOfAllExtensions: a subscriber whose name is not known may be any of the extensions.
func TestUnnamedSubscriberLimitsLinesOfAllExtensions(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.subscribe(&inbox{}, func(s *Subscriber) { s.Name = "" })
		for range maxOwnLines {
			h.output("extensionA", "a")
			h.output("extensionB", "b")
			h.line("the function's")
		}
		h.Flush(t.Context())
		require.EqualValues(t, maxOwnLines, h.dropped(feedback))
		require.EqualValues(t, 2*maxOwnLines, h.Counts().Delivered)
	})
}

func TestLateSubscriberGetsTheLatestEventsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		for i := range replayEvents + 50 {
			if i < 100 {
				h.line("old")
			} else {
				h.start(fmt.Sprint(i))
			}
		}
		time.Sleep(time.Hour) // the start is not over yet
		b := &inbox{}
		h.subscribe(b, nil)
		require.Equal(t, []int{replayEvents + 1}, b.sizes(), "at once")
		events := b.events()
		require.Equal(t, "old", events[0].Record)
		require.Equal(t, "1049", events[replayEvents-1].TraceID)
		require.Equal(t, []any{"platform.logsDropped", int64(50), unasked.text()}, []any{events[replayEvents].Name, events[replayEvents].DroppedRecords, events[replayEvents].Reason})
	})
}

func TestReplayKeepsTheLatestTextWithinItsBytes(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		for i := range 10 {
			h.line(fmt.Sprintf("%-*d", logger.MaxLine, i))
		}
		b := &inbox{}
		h.subscribe(b, nil)
		require.EqualValues(t, 10-replayBytes/logger.MaxLine, h.dropped(unasked))
		require.Equal(t, fmt.Sprint(10-replayBytes/logger.MaxLine), strings.TrimSpace(b.events()[0].Record))
	})
}

// TestReplayGivesOnlyTheTypesAskedFor: what was kept and is not asked for was never wanted.
func TestReplayGivesOnlyTheTypesAskedFor(t *testing.T) {
	for types, want := range map[Type][]string{
		TypePlatform: {"p0", "p1"}, TypeFunction: {"f0", "f1"}, TypeExtension: {"e0", "e1"},
		TypePlatform | TypeExtension: {"p0", "e0", "p1", "e1"}, allTypes: {"p0", "f0", "e0", "p1", "f1", "e1"},
	} {
		inBubble(t, func(t *testing.T, h *harness) {
			round := func(i int) {
				h.start(fmt.Sprint("p", i))
				h.line(fmt.Sprint("f", i))
				h.output("extensionB", fmt.Sprint("e", i))
			}
			round(0)
			b := &inbox{}
			h.subscribe(b, func(s *Subscriber) { s.Types = types })
			round(1)
			h.Flush(t.Context())
			require.Equal(t, want, b.what())
			c := h.Counts()
			require.EqualValues(t, len(want), c.Accepted)
			require.Equal(t, c.Accepted, c.Delivered)
			for i := range TypeNames {
				require.Equal(t, types&(1<<i) != 0, h.Keeps(1<<i))
			}
		})
	}
}

func TestEventsAreKeptOnlyUntilTheWindowEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.line("early")
		time.Sleep(time.Hour)
		h.Settled()
		time.Sleep(6 * time.Second)
		h.Settled() // the second worker's start makes it no longer
		h.line("late")
		time.Sleep(replayWindow - 6*time.Second - time.Nanosecond)
		synctest.Wait()
		require.True(t, h.Keeps(allTypes))
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.False(t, h.Keeps(allTypes))
		require.EqualValues(t, 2, h.dropped(unasked))
		h.line("for nobody")
		h.start("for nobody")
		require.EqualValues(t, 2, h.Counts().Accepted)
		b := &inbox{}
		h.subscribe(b, nil)
		h.line("now")
		h.Flush(t.Context())
		require.Equal(t, []string{"now"}, b.what(), "and no event of the time without a subscriber")
		h.Settled() // means nothing any more
		time.Sleep(time.Hour)
		h.line("later")
		h.Flush(t.Context())
		require.Equal(t, []string{"now", "later"}, b.what())
	})
}

func TestSubscriberInTheWindowGetsEarlyAndLateEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.line("early")
		h.Settled()
		time.Sleep(replayWindow - time.Millisecond)
		b := &inbox{}
		h.subscribe(b, nil)
		time.Sleep(time.Minute)
		h.line("late")
		h.Flush(t.Context())
		require.Equal(t, []string{"early", "late"}, b.what())
	})
}

func TestSecondSubscriberIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		require.False(t, h.Subscribed())
		sub := h.subscribe(&inbox{}, nil)
		require.Same(t, sub, h.Current())
		other := &Subscriber{Types: allTypes}
		require.False(t, h.Subscribe(other))
		require.False(t, h.Unsubscribe(other))
		require.False(t, h.Unsubscribe(nil))
		require.True(t, h.Subscribed())
	})
}

// TestUnsubscribeAbandonsADeliveryUnderWay: the request ends at once, what was under way and what waits is abandoned,
// and the next subscriber gets what comes from then on.
func TestUnsubscribeAbandonsADeliveryUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		ended := make(chan struct{})
		first := &inbox{answer: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			time.Sleep(time.Second) // it takes its time
			close(ended)
			return ctx.Err()
		}}
		sub := h.subscribe(first, nil)
		h.line("under way")
		h.Idle()
		synctest.Wait()
		h.line("waits")
		require.True(t, h.Unsubscribe(sub))
		require.False(t, h.Unsubscribe(sub))
		require.EqualValues(t, 1, h.dropped(abandoned))
		h.line("between")
		second := &inbox{}
		h.subscribe(second, nil)
		require.Equal(t, []string{"between", "platform.logsDropped"}, second.what())
		for i := range 20 { // whatever the first one's loop does meanwhile
			time.Sleep(100 * time.Millisecond)
			h.line(fmt.Sprint(i))
		}
		<-ended
		time.Sleep(DefaultTimeout)
		synctest.Wait()
		require.EqualValues(t, 2, h.dropped(abandoned))
		got := slices.DeleteFunc(second.what(), func(s string) bool { return s == "platform.logsDropped" })
		require.Equal(t, append([]string{"between"}, numbers(20)...), got)
		require.Empty(t, first.what())
	})
}

// TestEventsAreKeptForTheNextSubscriber: after the end of a subscription the stream keeps a little for the next one,
// for a while.
func TestEventsAreKeptForTheNextSubscriber(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.Settled()
		sub := h.subscribe(&inbox{}, nil)
		time.Sleep(time.Hour)
		h.Unsubscribe(sub)
		h.line("kept")
		require.True(t, h.Keeps(TypeFunction))
		time.Sleep(replayWindow)
		synctest.Wait()
		require.False(t, h.Keeps(allTypes))
		require.EqualValues(t, 1, h.dropped(unasked))
	})
}

func TestEnvelopeBeginsWithTheSubscription(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.start("early")
		var bodies []string
		sub := &Subscriber{
			Name: "extensionA", Types: TypePlatform | TypeExtension, Envelope: true, MaxItems: 10, MaxBytes: DefaultMaxBytes, Timeout: DefaultTimeout,
			Send: func(_ context.Context, body []byte) error { bodies = append(bodies, string(body)); return nil },
		}
		require.True(t, h.Subscribe(sub))
		h.Flush(t.Context())
		require.Len(t, bodies, 1)
		require.JSONEq(t, `[{"time":"2000-01-01T00:00:00.000Z","type":"platform.start","record":{"requestId":"early","version":"v2"}},
			{"time":"2000-01-01T00:00:00.000Z","type":"platform.telemetrySubscription","record":{"name":"extensionA","state":"Subscribed","types":["platform","extension"]}}]`, bodies[0])
		require.EqualValues(t, 2, h.Counts().Delivered)
	})
}

func TestPlatformLinesAreNoEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.output(logger.SourcePlatform, "Start invoke request")
		require.Zero(t, h.Counts().Accepted)
	})
}

// TestTextIsCopied: the line's owner uses its memory again.
func TestTextIsCopied(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		text := make([]byte, 0, 32)
		for _, name := range numbers(100) {
			text = append(text[:0], name...)
			h.Line(&logger.Line{Time: time.Now(), Source: logger.SourceFunction, Text: text})
		}
		big := strings.Repeat("b", 2*slabSize)
		h.line(big)
		h.line("end")
		h.subscribe(b, nil)
		h.Flush(t.Context())
		require.Equal(t, append(numbers(100), big, "end"), b.what())
	})
}

// TestCloseEndsInTimeWhenASubscriberHangs: a subscriber that hangs holds it until its own time is over, and not longer.
func TestCloseEndsInTimeWhenASubscriberHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.subscribe(&inbox{answer: hang}, nil)
		h.line("a")
		h.Idle()
		synctest.Wait()
		h.line("b")
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		h.Close(ctx)
		require.Equal(t, 2*time.Second, time.Since(began))
		require.EqualValues(t, 2, h.dropped(abandoned))
		require.Equal(t, 1, h.logs.FilterMessage("telemetry was lost").Len())
		h.balanced()
		h.line("after")
		h.start("after")
		h.Idle()
		h.Settled()
		h.Flush(t.Context())
		require.EqualValues(t, 2, h.Counts().Accepted)
		require.False(t, h.Subscribe(&Subscriber{Types: allTypes}))
		require.False(t, h.Keeps(allTypes))
		h.Close(t.Context()) // once more
	})
}

func TestCloseDeliversTheLastEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		h.subscribe(b, nil)
		h.line("last")
		h.Close(t.Context())
		require.Equal(t, []string{"last"}, b.what())
		require.Zero(t, h.logs.FilterLevelExact(zap.WarnLevel).Len())
	})
}

// TestCloseWithoutSubscriberLogsNoLoss: nothing counts as lost, and the counters agree all the same.
func TestCloseWithoutSubscriberLogsNoLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.line("a")
		h.start("b")
		h.Settled()
		h.Close(t.Context())
		require.EqualValues(t, 2, h.dropped(unasked))
		require.Zero(t, h.logs.Len())
	})
}

// TestCloseWaitsForEarlierSubscribers: their last request may still be under way.
func TestCloseWaitsForEarlierSubscribers(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		sub := h.subscribe(&inbox{answer: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return ctx.Err()
		}}, nil)
		h.line("a")
		h.Idle()
		synctest.Wait()
		require.True(t, h.Unsubscribe(sub))
		began := time.Now()
		h.Close(t.Context())
		require.Equal(t, time.Second, time.Since(began))
		h.balanced()
	})
}

func TestNilStreamAcceptsEveryCall(t *testing.T) {
	var s *Stream
	s.Line(&logger.Line{Source: logger.SourceFunction, Text: []byte("x")})
	s.Publish(&Event{Kind: Start})
	s.Idle()
	s.Settled()
	s.Flush(t.Context())
	require.False(t, s.Keeps(allTypes))
	require.False(t, s.Subscribed())
	require.Nil(t, s.Current())
	require.False(t, s.Subscribe(&Subscriber{Types: allTypes}))
	require.False(t, s.Unsubscribe(&Subscriber{}))
	require.Zero(t, s.Counts())
	s.Close(t.Context())
}

func BenchmarkPublish(b *testing.B) {
	kinds := map[string]func(*Stream){
		"line": func() func(*Stream) {
			l := &logger.Line{Time: time.Now(), RequestID: "7c1d", Source: logger.SourceFunction, Text: []byte(strings.Repeat("x", 100))}
			return func(s *Stream) { s.Line(l) }
		}(),
		"event": func() func(*Stream) {
			e := &Event{Kind: Start, Begin: time.Now(), RequestID: "7c1d"}
			return func(s *Stream) { s.Publish(e) }
		}(),
	}
	sizes := map[string]func(*Stream){
		"nobody":     (*Stream).forget,
		"window":     func(*Stream) {}, // keeps the last ones for a later subscriber
		"subscriber": func(s *Stream) { s.Subscribe(benchmarkSubscriber()) },
	}
	for kind, publish := range kinds {
		for who, prepare := range sizes {
			b.Run(kind+"/"+who, func(b *testing.B) {
				s := NewStream("f", "latest", zap.NewNop())
				prepare(s)
				b.ReportAllocs()
				for b.Loop() {
					publish(s)
				}
				s.Close(b.Context())
			})
		}
	}
}

func benchmarkSubscriber() *Subscriber {
	return &Subscriber{Types: allTypes, MaxItems: DefaultMaxItems, MaxBytes: DefaultMaxBytes, Timeout: DefaultTimeout, Send: func(context.Context, []byte) error { return nil }}
}

// TestStreamThatKeepsAllKeepsItForAnySubscriber: a subscriber that comes after the window, and after more than is kept
// otherwise, gets everything in order.
func TestStreamThatKeepsAllKeepsItForAnySubscriber(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.KeepAll()
		var want []string
		for i := range 3 * replayEvents {
			want = append(want, fmt.Sprint(i))
			h.line(want[i])
		}
		h.Settled()
		time.Sleep(time.Hour)
		b := &inbox{}
		h.subscribe(b, nil)
		h.Flush(t.Context())
		require.Equal(t, want, b.what())
		h.Unsubscribe(h.Current())
		h.line("again")
		time.Sleep(time.Hour)
		b = &inbox{}
		h.subscribe(b, nil)
		h.Flush(t.Context())
		require.Equal(t, []string{"again"}, b.what())
	})
}

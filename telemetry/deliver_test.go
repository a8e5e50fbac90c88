package telemetry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errRefused = errors.New("status 500")

// failing answers the first n attempts with err.
func failing(n int, err error) func(context.Context, int) error {
	return func(_ context.Context, try int) error {
		if try <= n {
			return err
		}
		return nil
	}
}

const ms = time.Millisecond

func TestFailedBatchIsTriedFourTimesThenDropped(t *testing.T) {
	for n, want := range map[int][]time.Duration{
		0: {0}, 1: {0, 100 * ms}, 2: {0, 100 * ms, 500 * ms}, 3: {0, 100 * ms, 500 * ms, 2100 * ms}, 4: {0, 100 * ms, 500 * ms, 2100 * ms},
	} {
		inBubble(t, func(t *testing.T, h *harness) {
			b := &inbox{answer: failing(n, errRefused)}
			h.subscribe(b, nil)
			began := time.Now()
			h.line("a")
			h.Flush(t.Context())
			require.Equal(t, want, b.attempts(began))
			if n < 4 {
				require.Equal(t, []string{"a"}, b.what())
				require.Zero(t, h.dropped(undelivered))
				return
			}
			require.EqualValues(t, 1, h.dropped(undelivered))
			h.line("next")
			h.Flush(t.Context())
			require.Equal(t, []string{"next", "platform.logsDropped"}, b.what())
			require.True(t, h.Subscribed())
		})
	}
}

func TestFinalIsNotTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{answer: func(_ context.Context, try int) error {
			switch try {
			case 1, 2, 3, 4, 5:
				return fmt.Errorf("%w: status 400", ErrFinal)
			}
			return nil
		}}
		h.subscribe(b, nil)
		began := time.Now()
		for range 5 {
			h.line("a")
			h.Flush(t.Context())
		}
		require.Zero(t, time.Since(began))
		require.Len(t, b.tries, 5)
		require.EqualValues(t, 5, h.dropped(undelivered))
		require.True(t, h.Subscribed(), "it listens, after all")
	})
}

// TestDropsAreReportedOnce: with the next batch that is taken, those of batches that failed included.
func TestDropsAreReportedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{answer: failing(3, ErrFinal)}
		h.subscribe(b, nil)
		for i := range 3 {
			for range maxOwnLines + 1 + i {
				h.output("extensionA", "mine")
			}
			h.line("another's")
			h.Flush(t.Context())
		}
		require.Empty(t, b.what())
		for range 2 {
			h.line("good")
			h.Flush(t.Context())
		}
		require.Equal(t, []string{"good", "platform.logsDropped", "platform.logsDropped", "good"}, b.what())
		reported := map[string][2]int64{}
		for _, e := range b.events() {
			if e.Name == "platform.logsDropped" {
				reported[e.Reason] = [2]int64{e.DroppedRecords, e.DroppedBytes}
			}
		}
		require.Equal(t, map[string][2]int64{
			feedback.text():    {1 + 2 + 3, 6 * int64(len("mine"))},
			undelivered.text(): {3*maxOwnLines + 3, 3*maxOwnLines*int64(len("mine")) + 3*int64(len("another's"))},
		}, reported)
		require.EqualValues(t, 2, h.Counts().Delivered, "what the stream adds is not counted")
	})
}

// TestDropsAreNotReportedWithoutTheType: a subscriber to lines alone gets lines alone.
func TestDropsAreNotReportedWithoutTheType(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{answer: failing(1, ErrFinal)}
		h.subscribe(b, func(s *Subscriber) { s.Types = TypeFunction | TypeExtension })
		for range 2 {
			h.line("a")
			h.start("not asked for")
			h.Flush(t.Context())
		}
		require.Equal(t, []string{"a"}, b.what())
	})
}

// TestSubscriptionEndsAfterThreeGoneBatches batches in a row; the next subscriber gets the report of what was lost.
func TestSubscriptionEndsAfterThreeGoneBatches(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		gone := fmt.Errorf("%w: connection refused", ErrGone)
		b := &inbox{answer: func(_ context.Context, try int) error {
			if try == 2*len(retryPauses)+3 { // the third batch, so that the row begins anew
				return nil
			}
			return gone
		}}
		h.subscribe(b, nil)
		for i := range 6 {
			require.True(t, h.Subscribed())
			h.line(fmt.Sprint(i))
			h.Flush(t.Context())
			synctest.Wait()
		}
		require.False(t, h.Subscribed())
		require.Equal(t, []string{"2", "platform.logsDropped"}, b.what())
		require.EqualValues(t, 5, h.dropped(undelivered))
		require.Equal(t, 1, h.logs.FilterMessageSnippet("the telemetry subscription ends").Len())
		next := &inbox{}
		h.subscribe(next, nil)
		h.line("new")
		h.Flush(t.Context())
		require.Equal(t, []string{"new", "platform.logsDropped"}, next.what())
		require.EqualValues(t, 3, next.events()[1].DroppedRecords)
	})
}

// TestGoneHasToBeInARow: any other error shows that the subscriber still listens.
func TestGoneHasToBeInARow(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		batch := 0
		b := &inbox{answer: func(context.Context, int) error {
			if batch%goneLimit == 0 {
				return ErrFinal
			}
			return ErrGone
		}}
		h.subscribe(b, nil)
		for batch = range 3 * goneLimit {
			h.line("a")
			h.Flush(t.Context())
			synctest.Wait()
		}
		require.True(t, h.Subscribed())
	})
}

// TestLossIsLogged at once, and then once a minute.
func TestLossIsLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.subscribe(&inbox{answer: func(context.Context, int) error { return ErrFinal }}, nil)
		logged := func() []int64 {
			var events []int64
			for _, l := range h.logs.FilterMessageSnippet("telemetry is lost").All() {
				events = append(events, l.ContextMap()["events"].(int64))
			}
			return events
		}
		lose := func() {
			h.line("a")
			h.Flush(t.Context())
			synctest.Wait()
		}
		lose()
		require.Equal(t, []int64{1}, logged())
		time.Sleep(complainEvery / 2)
		lose()
		lose()
		require.Equal(t, []int64{1}, logged())
		time.Sleep(complainEvery / 2)
		lose()
		require.Equal(t, []int64{1, 3}, logged())
	})
}

// TestHangingAttemptEndsWithTheSubscription: in the middle of the retries, too.
func TestHangingAttemptEndsWithTheSubscription(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * ms, 300 * ms, 5 * time.Second} {
		inBubble(t, func(t *testing.T, h *harness) {
			sub := h.subscribe(&inbox{answer: func(ctx context.Context, try int) error {
				if try < 4 {
					return errRefused
				}
				return hang(ctx, try)
			}}, nil)
			h.line("a")
			h.Idle()
			time.Sleep(after)
			began := time.Now()
			require.True(t, h.Unsubscribe(sub))
			synctest.Wait()
			h.balanced()
			require.EqualValues(t, 1, h.dropped(abandoned))
			require.Zero(t, time.Since(began))
			require.Zero(t, h.logs.Len(), "nobody is to blame")
		})
	}
}

// TestBatchAfterALargeOneIsWhole: a batch after a large one is whole, and no larger than it has to be.
func TestBatchAfterALargeOneIsWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		h.subscribe(b, func(s *Subscriber) { s.MaxBytes = 8 * DefaultMaxBytes })
		large := make([]byte, 6*DefaultMaxBytes)
		for i := range large {
			large[i] = 'l'
		}
		for _, text := range []string{"a", string(large), "b", "c"} {
			h.line(text)
			h.Flush(t.Context())
		}
		require.Equal(t, []string{"a", string(large), "b", "c"}, b.what())
	})
}

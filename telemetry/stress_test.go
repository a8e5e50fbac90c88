package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"gantry/logger"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// storm is a stream with several publishers, and subscribers that come, go, fail and hang.
type storm struct {
	*harness
	size       int // of texts, at most
	publishers sync.WaitGroup
	over       atomic.Bool

	mu        sync.Mutex
	delivered int64
	reported  int64
	last      map[string]int // of each publisher, the number it was seen with
}

// stormEvents is how many events each of four publishers has.
const stormEvents = 2000

// slowest is how long a subscriber may take that does not care for its context.
const slowest = 2 * time.Second

// TestEveryEventIsDeliveredOrCountedInAStorm: whatever happens, every event is delivered or counted as dropped, every
// drop is reported or still to be reported, and each publisher's events stay in order.
func TestEveryEventIsDeliveredOrCountedInAStorm(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for seed := range rounds {
		inBubble(t, func(t *testing.T, h *harness) {
			s := &storm{harness: h, size: 200 << (seed % 7), last: map[string]int{}}
			for i := range 4 {
				s.publishers.Go(func() { s.publish(i, rand.New(rand.NewPCG(uint64(seed), uint64(i)))) })
			}
			subscribers := make(chan struct{})
			go func() {
				defer close(subscribers)
				s.subscribers(rand.New(rand.NewPCG(uint64(seed), 99)))
			}()
			s.publishers.Wait()
			s.over.Store(true)
			<-subscribers
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seed%5)*time.Second)
			defer cancel()
			began := time.Now()
			h.Close(ctx)
			require.LessOrEqual(t, time.Since(began), time.Duration(seed%5)*time.Second+slowest)
			s.agrees(t)
		})
	}
}

// publish publishes its events in bursts.
func (s *storm) publish(number int, random *rand.Rand) {
	source := []string{logger.SourceFunction, "extensionA", "extensionB", ""}[number]
	for i := range stormEvents {
		if text := fmt.Sprintf("%d:%d", number, i); source == "" {
			s.start(text)
		} else {
			s.output(source, text+strings.Repeat(" ", random.IntN(s.size)))
		}
		switch random.IntN(60) {
		case 0:
			time.Sleep(time.Duration(random.IntN(300)) * ms)
		case 1:
			s.Idle()
		case 2:
			ctx, cancel := context.WithTimeout(s.t.Context(), 50*ms)
			s.Flush(ctx)
			cancel()
		case 3:
			s.Settled()
		}
	}
}

// subscribers come and go until it is over, never longer away than events are kept.
func (s *storm) subscribers(random *rand.Rand) {
	for !s.over.Load() {
		sub := &Subscriber{Name: "extensionA", Types: allTypes, MaxItems: 1 + random.IntN(500), MaxBytes: 1 << (10 + random.IntN(8)), Timeout: time.Duration(random.IntN(200)) * ms}
		fate := rand.New(rand.NewPCG(random.Uint64(), 0)) // used by one loop only
		sub.Send = func(ctx context.Context, body []byte) error { return s.receive(ctx, body, fate) }
		for !s.Subscribe(sub) { // the last one may still be there
			time.Sleep(ms)
		}
		time.Sleep(time.Duration(random.IntN(3000)) * ms)
		if random.IntN(3) > 0 {
			s.Unsubscribe(sub)
		}
		time.Sleep(time.Duration(random.IntN(100)) * ms)
		if random.IntN(2) == 0 {
			s.Unsubscribe(sub)
		} else {
			for s.Current() == sub && !s.over.Load() {
				time.Sleep(time.Second)
				s.Unsubscribe(sub)
			}
		}
	}
}

func (s *storm) receive(ctx context.Context, body []byte, fate *rand.Rand) error {
	switch fate.IntN(150) {
	case 0, 8, 9:
		return errRefused
	case 1, 10, 11:
		return fmt.Errorf("%w: refused", ErrGone)
	case 2:
		return ErrFinal
	case 3:
		<-ctx.Done()
		return ctx.Err()
	case 4, 5, 6, 7:
		time.Sleep(time.Duration(fate.Int64N(int64(slowest)))) // it may take the batch after the attempt was given up
	}
	var events []received
	if err := json.Unmarshal(body, &events); err != nil {
		s.t.Errorf("%s: %s", err, body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if e.Name == "platform.logsDropped" {
			s.reported += e.DroppedRecords
			continue
		}
		s.delivered++
		who, number, _ := strings.Cut(strings.TrimSpace(e.Record+e.TraceID), ":")
		n, err := strconv.Atoi(number)
		if err != nil {
			s.t.Errorf("%+v", e)
		}
		if ctx.Err() == nil { // else its successor may have been faster
			if last, seen := s.last[who]; seen && n <= last {
				s.t.Errorf("%s: %d after %d", who, n, last)
			}
			s.last[who] = n
		}
	}
	return nil
}

func (s *storm) agrees(t *testing.T) {
	synctest.Wait()
	s.balanced()
	c := s.Counts()
	require.EqualValues(t, 4*stormEvents, c.Accepted)
	require.Equal(t, s.delivered, c.Delivered)
	var drops, unreported int64
	for r := range reasons {
		drops += s.dropped(r)
		unreported += s.Stream.dropped[r].records
	}
	require.Equal(t, drops, s.reported+unreported, "%+v", c)
	t.Logf("%+v, reported %d", c, s.reported)
}

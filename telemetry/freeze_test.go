package telemetry

import (
	"context"
	"errors"
	"gantry/logger"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// TestFrozenSubscriberGetsItsBatchLater: a subscriber that is stopped in the middle of a batch gets it when it goes
// on, however long that takes.
func TestFrozenSubscriberGetsItsBatchLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream("f", "v", zap.NewNop())
		var stopped atomic.Bool
		var tries, taken atomic.Int64
		require.True(t, s.Subscribe(&Subscriber{Types: TypePlatform, MaxItems: 1000, MaxBytes: DefaultMaxBytes, Timeout: DefaultTimeout, Send: func(ctx context.Context, _ []byte) error {
			tries.Add(1)
			if sleep(ctx, 1500*time.Millisecond); stopped.Load() {
				sleep(ctx, 500*time.Millisecond)
				return errors.New("timeout")
			}
			taken.Add(1)
			return nil
		}}))
		freeze := func(on bool) {
			stopped.Store(on)
			s.Freeze(on)
			s.Freeze(on) // twice is once
		}
		s.Publish(&Event{Kind: Start, Begin: time.Now(), RequestID: "a"})
		time.Sleep(time.Second) // it is being sent
		freeze(true)
		s.Publish(&Event{Kind: Start, Begin: time.Now(), RequestID: "b"})
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, tries.Load(), "nothing is sent to a process that is stopped")
		require.Zero(t, taken.Load())
		freeze(false)
		time.Sleep(time.Minute)
		require.EqualValues(t, 3, tries.Load())
		require.EqualValues(t, 2, taken.Load())
		freeze(true)
		s.Publish(&Event{Kind: Start, Begin: time.Now(), RequestID: "c"})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.Close(ctx) // though it is stopped
		c := s.Counts()
		require.EqualValues(t, 3, c.Accepted)
		require.EqualValues(t, 2, c.Delivered)
		require.EqualValues(t, 1, c.Dropped["abandoned"])
	})
}

// TestRefusalsCountDespiteRepeatedFreezes: answers count as answers, though the subscriber is stopped again and again.
func TestRefusalsCountDespiteRepeatedFreezes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream("f", "v", zap.NewNop())
		tries := 0
		require.True(t, s.Subscribe(&Subscriber{Types: TypePlatform, MaxItems: 1000, MaxBytes: DefaultMaxBytes, Timeout: DefaultTimeout, Send: func(context.Context, []byte) error {
			tries++
			s.Freeze(true)
			s.Freeze(false)
			return errors.New("status 500")
		}}))
		s.Publish(&Event{Kind: Start, Begin: time.Now(), RequestID: "a"})
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 1+len(retryPauses), tries)
		require.EqualValues(t, 1, s.Counts().Dropped["undelivered"])
		s.Close(t.Context())
	})
}

// TestOwnLinesAloneDoNotHastenTheNextBatch: what the subscriber prints for a batch does not make the next one follow
// at once.
func TestOwnLinesAloneDoNotHastenTheNextBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream("f", "v", zap.NewNop())
		began := time.Now()
		var at []time.Duration
		require.True(t, s.Subscribe(&Subscriber{Name: "x", Types: allTypes, MaxItems: 1000, MaxBytes: DefaultMaxBytes, Timeout: DefaultTimeout, Send: func(context.Context, []byte) error {
			at = append(at, time.Since(began))
			s.Line(&logger.Line{Time: time.Now(), Source: "x", Text: []byte("got a batch")})
			return nil
		}}))
		s.Line(&logger.Line{Time: time.Now(), Source: logger.SourceFunction, Text: []byte("a")})
		time.Sleep(2500 * time.Millisecond) // twice its own line alone
		s.Line(&logger.Line{Time: time.Now(), Source: logger.SourceFunction, Text: []byte("b")})
		time.Sleep(time.Second / 2)
		synctest.Wait()
		require.Equal(t, []time.Duration{100 * time.Millisecond, 1100 * time.Millisecond, 2100 * time.Millisecond, 2600 * time.Millisecond}, at)
		s.Close(t.Context())
	})
}

package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"gantry/logger"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// ordered counts the events of publishers, and holds that those of each come in their order.
type ordered struct {
	t    *testing.T
	n    int64
	last map[string]int
}

func (o *ordered) see(word string) {
	o.n++
	who, number, _ := strings.Cut(word, ":")
	n, err := strconv.Atoi(number)
	if last, seen := o.last[who]; err != nil || seen && n <= last {
		o.t.Errorf("%s after %d: %v", word, last, err)
	}
	o.last[who] = n
}

// TestEachReaderAccountsForEveryEvent while four publishers work, taps come and go, and others are slow: what a reader
// got and what it lost are all events of its types, and each publisher's stay in order.
func TestEachReaderAccountsForEveryEvent(t *testing.T) {
	const publishers, each = 4, 2000 // together less than the subscriber's buffer
	s := NewStream("f", "v", zap.NewNop())
	subscriber := &ordered{t: t, last: map[string]int{}}
	require.True(t, s.Subscribe(&Subscriber{
		Name: "extensionA", Types: allTypes, MaxItems: 100, MaxBytes: DefaultMaxBytes, Timeout: ms,
		Send: func(_ context.Context, body []byte) error {
			var events []received
			if err := json.Unmarshal(body, &events); err != nil {
				return err
			}
			for _, e := range events {
				subscriber.see(e.Record + e.TraceID)
			}
			return nil
		},
	}))
	var readers, working, guests sync.WaitGroup
	for _, c := range []struct {
		types     Type
		maxEvents int
		want      int64
	}{
		{allTypes, publishers * each, publishers * each},
		{allTypes, 3, publishers * each},
		{TypePlatform, publishers * each, publishers * each / 2},
		{TypeFunction, 10, publishers * each / 2},
	} {
		tap := s.Tap(c.types, c.maxEvents, roomy)
		readers.Go(func() {
			seen := &ordered{t: t, last: map[string]int{}}
			for e, err := tap.Next(context.Background()); err == nil; e, err = tap.Next(context.Background()) {
				seen.see(word(&e))
			}
			lost, bytes := tap.Dropped()
			if seen.n+lost != c.want || c.maxEvents == publishers*each && lost+bytes > 0 {
				t.Errorf("%+v: seen %d, lost %d, %d bytes", c, seen.n, lost, bytes)
			}
		})
	}
	var over atomic.Bool
	for range 2 {
		guests.Go(func() {
			for !over.Load() {
				tap, seen := s.Tap(allTypes, 20, roomy), &ordered{t: t, last: map[string]int{}}
				ctx, cancel := context.WithTimeout(context.Background(), ms)
				for e, err := tap.Next(ctx); err == nil; e, err = tap.Next(ctx) {
					seen.see(word(&e))
				}
				cancel()
				tap.Close()
			}
		})
	}
	for i := range publishers {
		working.Go(func() {
			for n := range each {
				text := fmt.Sprintf("%d:%d", i, n)
				if n%2 == 0 {
					s.Publish(&Event{Kind: Start, Begin: time.Now(), RequestID: text})
				} else {
					s.Line(&logger.Line{Time: time.Now(), Source: logger.SourceFunction, Text: []byte(text)})
				}
			}
		})
	}
	working.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.Close(ctx)
	readers.Wait()
	over.Store(true)
	guests.Wait()
	require.EqualValues(t, publishers*each, subscriber.n)
	require.EqualValues(t, publishers*each, s.Counts().Delivered)
}

// BenchmarkTap is BenchmarkPublish with readers inside the process.
func BenchmarkTap(b *testing.B) {
	l := &logger.Line{Time: time.Now(), RequestID: "7c1d", Source: logger.SourceFunction, Text: []byte(strings.Repeat("x", 100))}
	e := &Event{Kind: Start, Begin: time.Now(), RequestID: "7c1d"}
	kinds := map[string]func(*Stream){
		"line":  func(s *Stream) { s.Line(l) },
		"event": func(s *Stream) { s.Publish(e) },
	}
	read := func(s *Stream) {
		tap := s.Tap(allTypes, replayEvents, replayBytes)
		go func() {
			for _, err := tap.Next(context.Background()); err == nil; _, err = tap.Next(context.Background()) {
			}
		}()
	}
	who := map[string]func(*Stream){
		"no reader": func(*Stream) {},
		"tap":       read,
		"slow tap":  func(s *Stream) { s.Tap(allTypes, replayEvents, replayBytes) },
		"two taps": func(s *Stream) {
			read(s)
			read(s)
		},
		"subscriber": func(s *Stream) { s.Subscribe(benchmarkSubscriber()) },
		"subscriber and tap": func(s *Stream) {
			s.Subscribe(benchmarkSubscriber())
			read(s)
		},
	}
	for kind, publish := range kinds {
		for name, prepare := range who {
			b.Run(kind+"/"+name, func(b *testing.B) {
				s := NewStream("f", "latest", zap.NewNop())
				s.forget()
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

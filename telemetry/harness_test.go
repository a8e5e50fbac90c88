package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"gantry/logger"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// received is an event as a subscriber reads it, in the flat shape.
type received struct {
	Name, StartTime, EndTime, TraceID, Status, ErrorType string
	Extension, State, Detail, Level, Record, Reason      string
	Part                                                 *int
	Last                                                 *bool
	DroppedRecords, DroppedBytes                         int64
	Metrics                                              map[string]float64
}

// inbox is a subscriber that keeps what it took.
type inbox struct {
	t      *testing.T
	answer func(ctx context.Context, try int) error // nil takes everything; try counts all attempts from 1

	mu      sync.Mutex
	tries   []time.Time
	batches [][]received
}

func (b *inbox) send(ctx context.Context, batch []byte) error {
	b.mu.Lock()
	b.tries = append(b.tries, time.Now())
	try := len(b.tries)
	b.mu.Unlock()
	if b.answer != nil {
		if err := b.answer(ctx, try); err != nil {
			return err
		}
	}
	var events []received
	if err := json.Unmarshal(batch, &events); err != nil {
		b.t.Errorf("%s: %s", err, batch)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.batches = append(b.batches, events)
	return nil
}

// sizes are the numbers of events of the batches that were taken.
func (b *inbox) sizes() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	var n []int
	for _, batch := range b.batches {
		n = append(n, len(batch))
	}
	return n
}

func (b *inbox) events() []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []received
	for _, batch := range b.batches {
		all = append(all, batch...)
	}
	return all
}

// what are the request ids of platform events, the texts of lines, and the names of all others, in order.
func (b *inbox) what() []string {
	var all []string
	for _, e := range b.events() {
		switch {
		case e.Record != "":
			all = append(all, e.Record)
		case e.TraceID != "":
			all = append(all, e.TraceID)
		default:
			all = append(all, e.Name)
		}
	}
	return all
}

// attempts are the times of all attempts since start.
func (b *inbox) attempts(start time.Time) []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []time.Duration
	for _, at := range b.tries {
		all = append(all, at.Sub(start))
	}
	return all
}

const allTypes = TypePlatform | TypeFunction | TypeExtension

// harness is a stream in a bubble, whose time passes only while all its goroutines wait.
type harness struct {
	*Stream
	t    *testing.T
	logs *observer.ObservedLogs
}

// inBubble runs a test with a stream, closes the stream, and holds that every event has become something.
func inBubble(t *testing.T, test func(t *testing.T, h *harness)) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		h := &harness{Stream: NewStream("order", "v2", zap.New(core)), t: t, logs: logs}
		test(t, h)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		h.Close(ctx)
		h.balanced()
	})
}

func (h *harness) balanced() {
	h.t.Helper()
	c := h.Counts()
	sum := c.Delivered
	for _, n := range c.Dropped {
		sum += n
	}
	require.Equal(h.t, c.Accepted, sum, "%+v", c)
	require.Zero(h.t, h.waiting())
	require.Zero(h.t, h.bytes)
}

// subscribe makes the inbox the subscriber; change may be nil.
func (h *harness) subscribe(b *inbox, change func(*Subscriber)) *Subscriber {
	h.t.Helper()
	b.t = h.t
	sub := &Subscriber{Name: "extensionA", Types: allTypes, MaxItems: DefaultMaxItems, MaxBytes: DefaultMaxBytes, Timeout: DefaultTimeout, Send: b.send}
	if change != nil {
		change(sub)
	}
	require.True(h.t, h.Subscribe(sub))
	synctest.Wait()
	return sub
}

func (h *harness) line(text string) { h.output(logger.SourceFunction, text) }

func (h *harness) output(source, text string) {
	h.Line(&logger.Line{Time: time.Now(), Source: source, Text: []byte(text)})
}

func (h *harness) start(id string) { h.Publish(&Event{Kind: Start, Begin: time.Now(), RequestID: id}) }

func (h *harness) dropped(why reason) int64 { return h.Counts().Dropped[reasonNames[why]] }

// numbers are the names 0 to n-1.
func numbers(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// hang answers nothing until the subscription ends.
func hang(ctx context.Context, _ int) error {
	<-ctx.Done()
	return ctx.Err()
}

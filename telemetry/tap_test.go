package telemetry

import (
	"context"
	"errors"
	"fmt"
	"gantry/logger"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// roomy are limits that no test reaches.
const roomy = 1 << 20

// word is what a test named an event.
func word(e *Event) string {
	if e.Kind == FunctionLine || e.Kind == ExtensionLine {
		return strings.TrimSpace(string(e.Text))
	}
	return e.RequestID
}

// follow reads a tap on a goroutine of its own until io.EOF, and returns a function that waits for that.
func follow(t *testing.T, tap *Tap) (words func() []string) {
	var all []string
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			e, err := tap.Next(context.Background())
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				return
			}
			all = append(all, word(&e))
		}
	}()
	return func() []string {
		<-ended
		return all
	}
}

// rest closes a tap and returns what waits in it.
func rest(t *testing.T, tap *Tap) []string {
	tap.Close()
	return follow(t, tap)()
}

func requireDropped(t *testing.T, tap *Tap, events, bytes int64) {
	t.Helper()
	e, b := tap.Dropped()
	require.Equal(t, []int64{events, bytes}, []int64{e, b})
}

// TestTapGetsAllKindsInTheirOrder with all that a reader of a call's output needs.
func TestTapGetsAllKindsInTheirOrder(t *testing.T) {
	s := NewStream("f", "v", zap.NewNop())
	at := time.Now().Round(0)
	figures := &Figures{Duration: 61 * ms, Billed: 62 * ms, MemoryMB: 256, MemoryUsed: 71, Init: 311 * ms}
	want := []Event{
		{Kind: Start, Begin: at, RequestID: "7c1d"},
		{Kind: FunctionLine, Begin: at, RequestID: "7c1d", Level: "WARN", Text: []byte("a"), Part: 1, More: true},
		{Kind: ExtensionLine, Begin: at, Extension: "extensionA", Text: []byte("b")},
		{Kind: ExtensionState, Begin: at, Extension: "extensionA", State: StateExited, Detail: "exit code 1"},
		{Kind: RuntimeDone, Begin: at, RequestID: "7c1d", Status: StatusError, ErrorType: "TypeError"},
		{Kind: Report, Begin: at, End: at.Add(61 * ms), RequestID: "7c1d", Status: StatusSuccess, Figures: figures},
	}
	tap := s.Tap(allTypes, roomy, roomy)
	const rounds = 500
	go func() {
		for range rounds {
			for _, e := range want {
				l := logger.Line{Time: e.Begin, RequestID: e.RequestID, Level: e.Level, Text: e.Text, Part: e.Part, More: e.More}
				switch e.Kind {
				case FunctionLine:
					l.Source = logger.SourceFunction
					s.Line(&l)
				case ExtensionLine:
					l.Source = e.Extension
					s.Line(&l)
				default:
					s.Publish(&e)
				}
				s.Line(&logger.Line{Time: at, Source: logger.SourcePlatform, Text: []byte("has an event of its own")})
			}
		}
		s.Close(context.Background())
	}()
	for range rounds {
		for _, e := range want {
			got, err := tap.Next(t.Context())
			require.NoError(t, err)
			got.seq = 0
			require.Equal(t, e, got)
		}
	}
	_, err := tap.Next(t.Context())
	require.Equal(t, io.EOF, err)
	requireDropped(t, tap, 0, 0)
}

func TestTapsGetTheTypesTheyAskFor(t *testing.T) {
	s := NewStream("f", "v", zap.NewNop())
	s.forget() // only the taps want anything now
	h := &harness{Stream: s}
	require.False(t, s.Keeps(allTypes))
	platform := s.Tap(TypePlatform, roomy, roomy)
	require.True(t, s.Keeps(TypePlatform))
	require.False(t, s.Keeps(TypeFunction|TypeExtension))
	lines := s.Tap(TypeFunction|TypePlatform, roomy, roomy)
	extensions := s.Tap(TypeExtension, roomy, roomy)
	nothing := s.Tap(0, roomy, roomy)
	taps := []*Tap{platform, lines, extensions, nothing}
	var words []func() []string
	for _, tap := range taps {
		words = append(words, follow(t, tap))
	}
	want := make([][]string, len(taps))
	for i := range 3000 {
		p, f, e := fmt.Sprint("p", i), fmt.Sprint("f", i), fmt.Sprint("e", i)
		h.start(p)
		h.line(f)
		h.output("extensionA", e)
		want[0] = append(want[0], p)
		want[1] = append(want[1], p, f)
		want[2] = append(want[2], e)
	}
	lines.Close()
	extensions.Close()
	require.False(t, s.Keeps(TypeFunction|TypeExtension), "the taps that wanted them are closed")
	s.Close(t.Context())
	for i := range taps {
		require.Equal(t, want[i], words[i]())
		requireDropped(t, taps[i], 0, 0)
	}
	require.Zero(t, s.Counts().Accepted, "they were for no subscriber")
}

func TestTapDropsLinesFirstAndOldestFirst(t *testing.T) {
	h := &harness{Stream: NewStream("f", "v", zap.NewNop())}
	events := h.Tap(allTypes, 4, roomy)
	bytes := h.Tap(allTypes, roomy, 8)
	one := h.Tap(allTypes, 1, roomy)
	for i := range 3 {
		h.start(fmt.Sprint("p", i))
		h.line(fmt.Sprint("line", i))
	}
	requireDropped(t, events, 2, 10)
	requireDropped(t, bytes, 2, 10)
	requireDropped(t, one, 5, 15)
	h.start("p3")
	h.start("p4")
	h.line("too long for it")
	require.Equal(t, []string{"p1", "p2", "p3", "p4"}, rest(t, events))
	requireDropped(t, events, 5, 5+5+5+15)
	require.Equal(t, []string{"p0", "p1", "p2", "p3", "p4"}, rest(t, bytes))
	requireDropped(t, bytes, 4, 5+5+5+15)
	require.Equal(t, []string{"p4"}, rest(t, one))
	h.Close(t.Context())
}

// TestSlowTapLosesForItselfAlone: the subscriber and a tap that is read get everything.
func TestSlowTapLosesForItselfAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		b := &inbox{}
		slow := h.Tap(allTypes, 100, roomy)
		h.subscribe(b, func(s *Subscriber) { s.MaxItems = 7 })
		read := h.Tap(allTypes, roomy, roomy)
		words := follow(t, read)
		const n = 5000
		var texts int64
		for i, name := range numbers(n) {
			if i%2 == 0 {
				h.start(name)
			} else {
				h.line(name)
				texts += int64(len(name))
			}
		}
		h.Flush(t.Context())
		read.Close()
		require.Equal(t, numbers(n), words())
		requireDropped(t, read, 0, 0)
		require.Equal(t, numbers(n), b.what())
		require.EqualValues(t, n, h.Counts().Delivered)
		left := rest(t, slow)
		require.Len(t, left, 100)
		require.Equal(t, "4998", left[99], "the last platform event: no line stays while there are so many")
		requireDropped(t, slow, n-100, texts)
	})
}

// TestNextReturnsWhatWaitsBeforeTheEnd of the stream, or of the tap itself.
func TestNextReturnsWhatWaitsBeforeTheEnd(t *testing.T) {
	for name, end := range map[string]func(*harness, *Tap){
		"stream": func(h *harness, _ *Tap) { h.Close(context.Background()) },
		"tap":    func(_ *harness, tap *Tap) { tap.Close() },
		"both": func(h *harness, tap *Tap) {
			var both sync.WaitGroup
			both.Go(tap.Close)
			both.Go(func() { h.Close(context.Background()) })
			both.Go(tap.Close)
			both.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := &harness{Stream: NewStream("f", "v", zap.NewNop())}
			tap := h.Tap(allTypes, roomy, roomy)
			for i, n := range numbers(100) {
				if i%2 == 0 {
					h.start(n)
				} else {
					h.line(n)
				}
			}
			end(h, tap)
			h.start("later")
			h.line("later")
			require.Equal(t, numbers(100), follow(t, tap)())
			tap.Close()
			_, err := tap.Next(t.Context())
			require.Equal(t, io.EOF, err)
			requireDropped(t, tap, 0, 0)
			h.Close(t.Context())
		})
	}
}

func TestEndWakesAllThatWaitForTheTap(t *testing.T) {
	for _, end := range []func(*harness, *Tap){
		func(h *harness, _ *Tap) { h.Close(context.Background()) },
		func(_ *harness, tap *Tap) { tap.Close() },
	} {
		inBubble(t, func(t *testing.T, h *harness) {
			tap := h.Tap(allTypes, roomy, roomy)
			var waiting sync.WaitGroup
			for range 5 {
				waiting.Go(func() {
					if _, err := tap.Next(context.Background()); !errors.Is(err, io.EOF) {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			end(h, tap)
			waiting.Wait()
		})
	}
}

// TestEachEventGoesToOneOfThoseThatWait: a wake-up that came for two events serves two.
func TestEachEventGoesToOneOfThoseThatWait(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		tap := h.Tap(allTypes, roomy, roomy)
		got := make(chan string, 5)
		for range 5 {
			go func() {
				e, err := tap.Next(context.Background())
				if err != nil {
					t.Error(err)
				}
				got <- word(&e)
			}()
		}
		synctest.Wait()
		for _, n := range numbers(5) {
			h.line(n)
		}
		synctest.Wait()
		require.Len(t, got, 5)
		close(got)
		var all []string
		for text := range got {
			all = append(all, text)
		}
		require.ElementsMatch(t, numbers(5), all)
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		tap := h.Tap(allTypes, roomy, roomy)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err := tap.Next(ctx)
		require.Equal(t, context.DeadlineExceeded, err)
		require.Equal(t, time.Minute, time.Since(began))
		h.line("a")
		_, err = tap.Next(ctx)
		require.Equal(t, context.DeadlineExceeded, err, "what waits does not hide it")
		require.Equal(t, []string{"a"}, rest(t, tap), "and is not lost")
	})
}

// TestSubscriberDoesNotChangeWhatATapGets: taps from before the subscriber and from after it, and after its end.
func TestSubscriberDoesNotChangeWhatATapGets(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		h.start("0")
		before := h.Tap(allTypes, roomy, roomy)
		h.line("1")
		b := &inbox{answer: hang}
		sub := h.subscribe(b, func(s *Subscriber) { s.Types, s.Envelope = TypePlatform, true })
		require.True(t, h.Keeps(TypeFunction), "the tap wants it")
		after := h.Tap(TypeFunction|TypeExtension, roomy, roomy)
		h.line("2")
		h.start("3")
		for range maxOwnLines + 1 { // more than it gets itself
			h.output("extensionA", "own")
		}
		words := follow(t, before)
		require.True(t, h.Unsubscribe(sub))
		h.line("4")
		time.Sleep(2 * replayWindow)
		require.True(t, h.Keeps(allTypes), "the taps want it")
		h.start("5")
		h.line("6")
		c := h.Counts()
		require.EqualValues(t, 2+1+1, c.Accepted, "platform events and the subscription, then what was kept for the next one")
		own := slices.Repeat([]string{"own"}, maxOwnLines+1)
		require.Equal(t, slices.Concat([]string{"2"}, own, []string{"4", "6"}), rest(t, after))
		require.True(t, h.Keeps(allTypes), "the other tap wants it")
		before.Close()
		require.False(t, h.Keeps(allTypes))
		require.Equal(t, slices.Concat(numbers(4)[1:], own, []string{"4", "5", "6"}), words())
		second := &inbox{}
		h.subscribe(second, nil)
		h.line("7")
		h.Flush(t.Context())
		require.Equal(t, []string{"7"}, second.what(), "and taps leave it nothing from the time before")
	})
}

// TestReadersShareTheTextOfALine: it is copied once, and the line's owner may use its memory again.
func TestReadersShareTheTextOfALine(t *testing.T) {
	inBubble(t, func(t *testing.T, h *harness) {
		one, two := h.Tap(TypeFunction, roomy, roomy), h.Tap(allTypes, roomy, roomy)
		text := []byte("text")
		h.Line(&logger.Line{Time: time.Now(), Source: logger.SourceFunction, Text: text})
		copy(text, "over")
		h.line("")
		a, err := one.Next(t.Context())
		require.NoError(t, err)
		b, err := two.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, "text", string(a.Text))
		require.Same(t, &a.Text[0], &b.Text[0])
		require.Same(t, &a.Text[0], &h.lines.front().text[0], "the subscriber's")
		require.Equal(t, []string{""}, rest(t, one))
	})
}

func TestTapOfAClosedOrNilStreamHasEnded(t *testing.T) {
	closed := NewStream("f", "v", zap.NewNop())
	closed.Close(t.Context())
	for _, s := range []*Stream{closed, nil} {
		tap := s.Tap(allTypes, roomy, roomy)
		s.Publish(&Event{Kind: Start})
		s.Line(&logger.Line{Source: logger.SourceFunction, Text: []byte("x")})
		require.False(t, s.Keeps(allTypes))
		_, err := tap.Next(t.Context())
		require.Equal(t, io.EOF, err)
		requireDropped(t, tap, 0, 0)
		tap.Close()
		tap.Close()
	}
}

// TestPublishAllocatesNothingWithoutATap, also when there was one.
func TestPublishAllocatesNothingWithoutATap(t *testing.T) {
	for name, forget := range map[string]bool{"kept for a subscriber": false, "no reader": true} {
		t.Run(name, func(t *testing.T) {
			s := NewStream("f", "v", zap.NewNop())
			s.Tap(allTypes, roomy, roomy).Close()
			if forget {
				s.forget()
			}
			l := &logger.Line{Time: time.Now(), Source: logger.SourceFunction, Text: []byte("a line of text")}
			e := &Event{Kind: Start, Begin: time.Now(), RequestID: "7c1d"}
			for range 2 * replayEvents { // the buffers have their size then
				s.Line(l)
				s.Publish(e)
			}
			require.Zero(t, testing.AllocsPerRun(1000, func() { s.Publish(e) }))
			require.Zero(t, testing.AllocsPerRun(1000, func() { s.Line(l) }), "a slab now and then is less than one")
			s.Close(t.Context())
		})
	}
}

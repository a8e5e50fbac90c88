package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// scaleFillers fill a queue: each waits for the acknowledgement of its event.
	scaleFillers = 1024
	// scaleSettle comes after events were accepted, before the next start is timed.
	scaleSettle = 3 * time.Second
	// scaleWarmups are first events before those that count: the bench's own code and the servers' caches.
	scaleWarmups = 5
)

// starts is how long the first events of new functions take, in ms.
type starts struct {
	opening []float64 // of the queue
	start   []float64 // from then, from the acceptance to the start of the call
	both    []float64
}

// timeStarts opens functions, one after the other, and times the first event of each.
func (s *scaleRun) timeStarts(ctx context.Context, name string) (t starts, err error) {
	for i := range s.scaling.starts + scaleWarmups {
		f := newScaled(s.cluster, fmt.Sprintf("first-%s%d", name, i), &s.gate)
		var start time.Duration
		opening, err := f.start(ctx)
		if err == nil {
			start, err = f.run(ctx)
		}
		f.close()
		if err != nil {
			return t, err
		}
		if i >= scaleWarmups {
			t.opening = append(t.opening, millis(opening))
			t.start = append(t.start, millis(start))
			t.both = append(t.both, millis(opening+start))
		}
	}
	return t, nil
}

// beside compares the start of functions' first events beside another function's full queue with the start on servers
// that had nothing else.
func (s *scaleRun) beside(ctx context.Context) error {
	there := fmt.Sprintf("%d functions known, %d agents", s.made, len(s.open))
	before := s.first
	if s.made+len(s.open) > 0 {
		progress("scale, first events without the backlog, %s", there)
		var err error
		if before, err = s.timeStarts(ctx, "before"); err != nil {
			return err
		}
	}
	held := &gate{}
	held.hold()
	f := newScaled(s.cluster, "backlog", held)
	defer func() { // its call ends with the queue, and no more of its events start
		f.queue.Pause()
		held.release()
		f.close()
	}()
	queued, took, err := s.fill(ctx, f)
	if err != nil {
		return err
	}
	if err := pause(ctx, scaleSettle); err != nil {
		return err
	}
	progress("scale, first events beside the backlog")
	after, err := s.timeStarts(ctx, "after")
	if err != nil {
		return err
	}
	figure := fmt.Sprintf("first events beside %d of another function, to an empty cluster", queued)
	if queued < s.sizes.backlog {
		figure = fmt.Sprintf("first events beside %d of another function (%d wanted, -fill ended), to an empty cluster",
			queued, s.sizes.backlog)
	}
	s.scaleRatio(figure+": acceptance to start", s.first.start, after.start, atMost(2))
	s.table.add(
		scaleValue("… empty, ms", "%.1f", target{}, s.first.start...),
		scaleValue("… "+there+", no backlog, ms", "%.1f", target{}, before.start...),
		scaleValue("… beside the backlog, ms", "%.1f", target{}, after.start...),
	)
	s.scaleRatio(figure+": opening and acceptance to start", s.first.both, after.both, atMost(2))
	s.table.add(
		scaleValue("… empty, ms", "%.1f", target{}, s.first.both...),
		scaleValue("… "+there+", no backlog, ms", "%.1f", target{}, before.both...),
		scaleValue("… beside the backlog, ms", "%.1f", target{}, after.both...),
		scaleValue("… opening alone beside the backlog, ms", "%.1f", target{}, after.opening...),
		scaleValue("events of the backlog queued per second", "%.0f", target{}, float64(queued)/took.Seconds()),
	)
	return nil
}

// fill queues the backlog at full speed, as far as the time allows.
func (s *scaleRun) fill(ctx context.Context, f *scaled) (queued int, took time.Duration, err error) {
	if _, err := f.start(ctx); err != nil {
		return 0, 0, err
	}
	progress("scale, %d events of one function, for %s at most", s.sizes.backlog, s.sizes.fill)
	began := time.Now()
	var taken, done atomic.Int64
	err = together(min(scaleFillers, s.sizes.backlog), func(int) error {
		for taken.Add(1) <= int64(s.sizes.backlog) && time.Since(began) < s.sizes.fill {
			if err := f.accept(ctx); err != nil {
				return err
			}
			if n := done.Add(1); n%100_000 == 0 {
				progress("scale, %d events queued after %s", n, time.Since(began).Round(time.Second))
			}
		}
		return nil
	})
	return int(done.Load()), time.Since(began), err
}

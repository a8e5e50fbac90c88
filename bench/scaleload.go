package main

import (
	"context"
	"fmt"
	"gantry/async"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	scaleCallers = 16
	scaleFillers = 256 // which fill a queue
)

// list times the listing of one function's records among those of all.
func (s *scaleRun) list(ctx context.Context) error {
	f := s.open[len(s.open)-1]
	var ms []float64
	for range scaleStarts {
		began := time.Now()
		page, err := f.queue.Records(ctx, &async.Filter{Limit: 100})
		if err != nil {
			return err
		}
		if page.Count != 1 {
			return fmt.Errorf("%d records of a function with one request", page.Count)
		}
		ms = append(ms, millis(time.Since(began)))
	}
	s.table.add(&row{
		section: "scale", figure: fmt.Sprintf("listing a function's records among %d functions, ms", s.functions),
		values: ms, target: atMost(50), format: "%.1f",
	})
	return nil
}

// accept compares acceptance over the functions that are open with a bare client on one stream of the same servers.
func (s *scaleRun) accept(ctx context.Context) error {
	var bare, ours []float64
	for n := range s.rounds {
		progress("scale, accepts, round %d of %d", n+1, s.rounds)
		for _, i := range rand.Perm(2) {
			if i == 0 {
				rate, err := publish(ctx, s.cluster.js)
				if err != nil {
					return err
				}
				bare = append(bare, rate)
				continue
			}
			rate, err := s.accepts(ctx, runTime)
			if err != nil {
				return err
			}
			ours = append(ours, rate)
		}
	}
	s.table.add(compare(
		"scale", fmt.Sprintf("durable accepts/s, 16 callers over %d functions, to a bare client", len(s.open)),
		bare, ours, atLeast(0.7),
	))
	return nil
}

// accepts is one run of 16 callers, each of which goes round the functions.
func (s *scaleRun) accepts(ctx context.Context, length time.Duration) (perSecond float64, err error) {
	until, began := time.Now().Add(length), time.Now()
	var n atomic.Int64
	err = together(scaleCallers, func(caller int) error {
		for i := caller; time.Now().Before(until); i += scaleCallers {
			event := &async.Event{Body: []byte(openEvent), Version: "latest"}
			if _, err := s.open[i%len(s.open)].queue.Accept(ctx, event); err != nil {
				return err
			}
			n.Add(1)
		}
		return nil
	})
	return float64(n.Load()) / time.Since(began).Seconds(), err
}

// beside compares the start of a function's first event beside another function's full queue with the start of one on
// servers that had nothing else.
func (s *scaleRun) beside(ctx context.Context) error {
	f := newScaled(s.cluster, -2)
	defer func() { // its call ends with the queue, and no more of its events start
		f.queue.Pause()
		close(f.hold)
		f.close()
	}()
	if _, err := f.open(ctx); err != nil {
		return err
	}
	progress("scale, %d events of one function", s.backlog)
	var left atomic.Int64
	left.Store(int64(s.backlog))
	if err := together(scaleFillers, func(int) error {
		for left.Add(-1) >= 0 {
			event := &async.Event{Body: []byte(openEvent), Version: "latest"}
			if _, err := f.queue.Accept(ctx, event); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := pause(ctx, scaleSettle); err != nil {
		return err
	}
	starts, err := s.timeStarts(ctx, -3)
	if err != nil {
		return err
	}
	s.table.add(compare(
		"scale", fmt.Sprintf("ms to the start of an event beside %d of another function, to an empty cluster", s.backlog),
		s.starts, starts, atMost(2),
	))
	return nil
}

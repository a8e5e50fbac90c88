package main

import (
	"context"
	"fmt"
	"gantry/async"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
)

const (
	scaleCallers = 16
	scaleListed  = 20 // records of the function that is listed
)

// list times the listing of one function's records among those of all.
func (s *scaleRun) list(ctx context.Context) error {
	f := newScaled(s.cluster, "listed", &s.gate)
	defer f.close()
	if _, err := f.start(ctx); err != nil {
		return err
	}
	for range scaleListed {
		if err := f.accept(ctx); err != nil {
			return err
		}
	}
	if err := f.settle(ctx, scaleListed); err != nil {
		return err
	}
	var ms []float64
	for range s.scaling.listings {
		began := time.Now()
		page, err := f.queue.Records(ctx, &async.Filter{Limit: 5 * scaleListed})
		if err != nil {
			return err
		}
		if len(page.Records) != scaleListed {
			return fmt.Errorf("%d records of a function with %d requests", len(page.Records), scaleListed)
		}
		ms = append(ms, millis(time.Since(began)))
	}
	slices.Sort(ms)
	s.table.add(
		scaleValue(
			fmt.Sprintf("listing %d records of one function among %d, p99 of %d, ms", scaleListed, s.made, len(ms)),
			"%.1f", atMost(50), percentile(ms, 99),
		),
		scaleValue("… all, ms", "%.1f", target{}, ms...),
	)
	return nil
}

// accept compares acceptance over the functions that are open with a bare client on one stream of the same servers:
// while their calls are held, and while they run.
func (s *scaleRun) accept(ctx context.Context) error {
	if err := s.openAgents(ctx); err != nil {
		return err
	}
	s.gate.hold()
	for _, f := range s.open { // the only calls of each that start meanwhile
		if _, err := f.run(ctx); err != nil {
			return err
		}
	}
	bare, ours, _, err := s.acceptRounds(ctx, "calls held", false)
	if err != nil {
		return err
	}
	figure := fmt.Sprintf("durable accepts/s, 16 callers over %d functions, to a bare client", len(s.open))
	s.scaleRatio(figure+": calls held", bare, ours, atLeast(0.7))
	s.table.add(compare(scaleSection, "… round by round", bare, ours, target{}))
	s.gate.release()
	progress("scale, the held calls run")
	if err := drained(ctx, s.open); err != nil {
		return err
	}
	bare, ours, ended, err := s.acceptRounds(ctx, "calls run", true)
	if err != nil {
		return err
	}
	s.scaleRatio(figure+": calls run and end meanwhile", bare, ours, atLeast(0.7))
	s.table.add(
		compare(scaleSection, "… round by round", bare, ours, target{}),
		scaleValue("… requests ended meanwhile, per second", "%.0f", target{}, ended...),
	)
	return nil
}

// acceptRounds measures both in turn, in alternating order, after one round that does not count. With drain each run
// over the functions is followed by the end of what it has accepted; ended is how many ended within it, per second.
func (s *scaleRun) acceptRounds(ctx context.Context, what string, drain bool) (bare, ours, ended []float64, err error) {
	for n := range s.rounds + 1 {
		progress("scale, accepts, %s, round %d of %d", what, n, s.rounds)
		for i := range 2 {
			if (i+n)%2 == 0 {
				rate, err := s.bareRate(ctx)
				if err != nil {
					return nil, nil, nil, err
				}
				bare = append(bare, rate)
				continue
			}
			rate, endRate, err := s.acceptRate(ctx)
			if err == nil && drain {
				err = drained(ctx, s.open)
			}
			if err != nil {
				return nil, nil, nil, err
			}
			ours, ended = append(ours, rate), append(ended, endRate)
		}
	}
	return bare[1:], ours[1:], ended[1:], nil
}

// acceptRate is one run of 16 callers, each of which goes round the functions.
func (s *scaleRun) acceptRate(ctx context.Context) (perSecond, endedPerSecond float64, err error) {
	var before, after int64
	for _, f := range s.open {
		before += f.ended()
	}
	perSecond, err = s.callers(func(caller, i int) error {
		return s.open[(caller+i*scaleCallers)%len(s.open)].accept(ctx)
	})
	for _, f := range s.open {
		after += f.ended()
	}
	return perSecond, float64(after-before) / s.scaling.accepts.Seconds(), err
}

// bareRate is one run of 16 callers of a bare client, each waiting for the store's acknowledgement. Its messages are as
// large as events are today: a subject for each, one header, the same body.
func (s *scaleRun) bareRate(ctx context.Context) (perSecond float64, err error) {
	return s.callers(func(int, int) error {
		_, err := s.cluster.js.PublishMsg(ctx, &nats.Msg{
			Subject: bareSubject + uuid.NewString(), Data: []byte(openEvent), Header: nats.Header{"Gantry-Version": {"latest"}},
		})
		return err
	})
}

// callers is one run of 16 callers of do, which gets the number of the caller and of its call.
func (s *scaleRun) callers(do func(caller, i int) error) (perSecond float64, err error) {
	began := time.Now()
	var n atomic.Int64
	err = together(scaleCallers, func(caller int) error {
		for i := 0; time.Since(began) < s.scaling.accepts; i++ {
			if err := do(caller, i); err != nil {
				return err
			}
			n.Add(1)
		}
		return nil
	})
	return float64(n.Load()) / time.Since(began).Seconds(), err
}

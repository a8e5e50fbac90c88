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

// accept compares acceptance over the functions that are open with a bare client on one stream of the same servers,
// which has one connection, or one for each function: while their calls are held, and while they run.
func (s *scaleRun) accept(ctx context.Context) error {
	if err := s.openAgents(ctx); err != nil {
		return err
	}
	clients, err := s.cluster.clients(len(s.open))
	defer clients.close()
	if err != nil {
		return err
	}
	s.gate.hold()
	for _, f := range s.open { // the only calls of each that start meanwhile
		if _, err := f.run(ctx); err != nil {
			return err
		}
	}
	held, err := s.acceptRounds(ctx, clients, "calls held", false)
	if err != nil {
		return err
	}
	s.addRates(held, len(s.open), "calls held")
	s.gate.release()
	progress("scale, the held calls run")
	if err := drained(ctx, s.open); err != nil {
		return err
	}
	run, err := s.acceptRounds(ctx, clients, "calls run", true)
	if err != nil {
		return err
	}
	s.addRates(run, len(s.open), "calls run and end meanwhile")
	s.table.add(scaleValue("… requests ended meanwhile, per second", "%.0f", target{}, run.ended...))
	return nil
}

// acceptRates are acceptances per second, one figure a round.
type acceptRates struct {
	one, many []float64 // of the bare client with one connection, and with as many as there are functions
	ours      []float64
	ended     []float64 // requests that ended within our turns
}

// addRates adds the rows of rounds to the table.
func (s *scaleRun) addRates(r *acceptRates, functions int, what string) {
	figure := fmt.Sprintf("durable accepts/s, 16 callers over %d functions, to a bare client with ", functions)
	s.scaleRatio(fmt.Sprintf("%s%d connections: %s", figure, functions, what), r.many, r.ours, atLeast(0.7))
	s.table.add(compare(scaleSection, "… round by round", r.many, r.ours, target{}))
	s.scaleRatio(figure+"one connection: "+what, r.one, r.ours, atLeast(0.7))
	s.table.add(compare(scaleSection, "… round by round", r.one, r.ours, target{}))
	between := fmt.Sprintf("… the bare client with %d connections, to itself with one", functions)
	s.scaleRatio(between, r.one, r.many, target{})
}

// acceptRounds measures all three in turn, in an order that changes, after one round that does not count. With drain
// each run over the functions is followed by the end of what it has accepted.
func (s *scaleRun) acceptRounds(
	ctx context.Context,
	clients bareClients,
	what string,
	drain bool,
) (*acceptRates, error) {
	r := &acceptRates{}
	for n := range s.rounds + 1 {
		progress("scale, accepts, %s, round %d of %d", what, n, s.rounds)
		turns := []func() error{
			func() error { return s.bareTurn(ctx, clients[:1], &r.one) },
			func() error { return s.bareTurn(ctx, clients, &r.many) },
			func() error { return s.ourTurn(ctx, drain, r) },
		}
		for i := range turns {
			if err := turns[(i+n)%len(turns)](); err != nil {
				return nil, err
			}
		}
	}
	for _, rates := range []*[]float64{&r.one, &r.many, &r.ours, &r.ended} {
		*rates = (*rates)[1:]
	}
	return r, nil
}

// ourTurn is one run of 16 callers, each of which goes round the functions.
func (s *scaleRun) ourTurn(ctx context.Context, drain bool, r *acceptRates) error {
	var before, after int64
	for _, f := range s.open {
		before += f.ended()
	}
	rate, err := s.callers(func(caller, i int) error {
		return s.open[(caller+i*scaleCallers)%len(s.open)].accept(ctx)
	})
	for _, f := range s.open {
		after += f.ended()
	}
	if err == nil && drain {
		err = drained(ctx, s.open)
	}
	r.ours = append(r.ours, rate)
	r.ended = append(r.ended, float64(after-before)/s.scaling.accepts.Seconds())
	return err
}

// bareTurn is one run of 16 callers of a bare client, each waiting for the store's acknowledgement and going round the
// connections. Its messages are as large as events are today: a subject for each, one header, the same body.
func (s *scaleRun) bareTurn(ctx context.Context, clients bareClients, rates *[]float64) error {
	rate, err := s.callers(func(caller, i int) error {
		_, err := clients[(caller+i*scaleCallers)%len(clients)].PublishMsg(ctx, &nats.Msg{
			Subject: bareSubject + uuid.NewString(), Data: []byte(openEvent), Header: nats.Header{"Gantry-Version": {"latest"}},
		})
		return err
	})
	*rates = append(*rates, rate)
	return err
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

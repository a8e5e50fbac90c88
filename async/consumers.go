package async

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// consumerAge is how long a consumer stays without an agent that fetches. Delays are in the records then.
const consumerAge = 2 * time.Minute

// makeConsumers makes the consumers of the function, or finds them: its agents share them. On a cluster they lie in the
// memory of one server, and are made again when that is lost: what has to survive is in the records.
func (e *engine) makeConsumers(ctx context.Context, a arrangement) error {
	cfg := jetstream.ConsumerConfig{
		Durable: e.key, AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1,
		MaxAckPending: -1, // a request that waits for its retry counts as one
	}
	if !e.q.cfg.Alone {
		cfg.InactiveThreshold = consumerAge
	}
	if e.volatile {
		cfg.Replicas, cfg.MemoryStorage = 1, true
	}
	e.consumer = cfg
	return together(
		func() (err error) {
			if e.lay.runner, err = e.makeRunner(ctx); err != nil {
				return fmt.Errorf("consumer of events: %w", err)
			}
			return nil
		},
		func() (err error) {
			if e.lay.outgoing, err = e.makeOutgoing(ctx); err != nil {
				return fmt.Errorf("consumer of outcome messages: %w", err)
			}
			return nil
		},
	)
}

func (e *engine) makeRunner(ctx context.Context) (jetstream.Consumer, error) {
	cfg := e.consumer
	cfg.FilterSubject, cfg.AckWait = e.lay.event+"*", ackWait
	return e.makeConsumer(ctx, e.lay.events, cfg)
}

func (e *engine) makeOutgoing(ctx context.Context) (jetstream.Consumer, error) {
	cfg := e.consumer
	cfg.FilterSubject, cfg.AckWait = e.lay.notify+"*", sendAckWait
	return e.makeConsumer(ctx, e.lay.outbox, cfg)
}

func (e *engine) makeConsumer(
	ctx context.Context,
	stream string,
	cfg jetstream.ConsumerConfig,
) (jetstream.Consumer, error) {
	ask := func(ctx context.Context, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
		return e.js.CreateOrUpdateConsumer(ctx, stream, cfg)
	}
	if cfg.MemoryStorage {
		return e.makeVolatile(ctx, stream, cfg, ask)
	}
	return insist(ctx, ask, cfg)
}

// makeVolatile makes a consumer in the memory of one server. While the server that has one of that name is down, no
// other server takes it over: it has to be removed first, which gets no answer but works (nats-server 2.15.2). One that
// answers is never removed: another agent may have made it meanwhile.
func (e *engine) makeVolatile(
	ctx context.Context,
	stream string,
	cfg jetstream.ConsumerConfig,
	ask func(context.Context, jetstream.ConsumerConfig) (jetstream.Consumer, error),
) (jetstream.Consumer, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, makeAnswer+rand.N(makeAnswer))
		made, err := ask(attempt, cfg)
		cancel()
		if !isOffline(err) || ctx.Err() != nil {
			return made, err
		}
		if err = e.answers(ctx, stream, cfg.Durable); isOffline(err) {
			e.discard(ctx, stream, cfg.Durable)
		}
	}
}

// answers returns an error if the servers do not find a consumer, or it does not answer.
func (e *engine) answers(ctx context.Context, stream, name string) error {
	ctx, cancel := context.WithTimeout(ctx, makeAnswer)
	defer cancel()
	_, err := e.js.Consumer(ctx, stream, name)
	return err
}

// isOffline recognises a consumer whose server is down: there is no answer, or another server says so, which has heard
// that it shut down.
func isOffline(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &api) && api.ErrorCode == consumerOffline
}

const consumerOffline jetstream.ErrorCode = 10119

// discard removes a consumer that does not answer.
func (e *engine) discard(ctx context.Context, stream, name string) {
	ctx, cancel := context.WithTimeout(ctx, discardAnswer)
	defer cancel()
	err := e.js.DeleteConsumer(ctx, stream, name)
	e.q.cfg.Log.Debug("a consumer of the queue does not answer, and is removed",
		zap.String("stream", stream), zap.Error(err))
}

const (
	// makeAnswer is how long the servers may take to answer for one consumer.
	makeAnswer = time.Second
	// discardAnswer is that for its removal, which most often gets none.
	discardAnswer = 500 * time.Millisecond
)

// together runs steps beside each other and returns their errors.
func together(steps ...func() error) error {
	var all sync.WaitGroup
	errs := make([]error, len(steps))
	for i, step := range steps {
		all.Go(func() { errs[i] = step() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// leaveConsumers removes the function's consumers if no other agent of the function waits at them and nothing is left:
// without an agent a function costs the servers one message. An agent that comes at that moment makes them again.
func (e *engine) leaveConsumers() {
	if e.q.cfg.Alone || e.lay == nil || e.away.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(e.ctx, leaveLimit)
	defer cancel()
	leave := func(c jetstream.Consumer) error {
		if c == nil {
			return nil
		}
		info, err := c.Info(ctx)
		if err != nil || info.NumWaiting > 0 || info.NumPending > 0 || info.NumAckPending > 0 {
			return err
		}
		return e.js.DeleteConsumer(ctx, info.Stream, info.Name)
	}
	err := together(
		func() error { return leave(e.lay.runner) },
		func() error { return leave(e.lay.outgoing) },
	)
	if err != nil {
		e.q.cfg.Log.Debug("consumers of this function stay for some minutes", zap.Error(err))
	}
}

// leaveLimit bounds leaveConsumers: it is in the way of a stop.
const leaveLimit = time.Second

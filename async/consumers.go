package async

import (
	"context"
	"errors"
	"fmt"
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
	return insist(ctx, func(ctx context.Context, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
		return e.js.CreateOrUpdateConsumer(ctx, stream, cfg)
	}, cfg)
}

// consumerOffline is JetStream's code for a consumer whose server is known to be down.
const consumerOffline jetstream.ErrorCode = 10119

// unreached reports whether a request about a consumer failed because its server is down: the others may say so, or
// nothing answers.
func unreached(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &api) && api.ErrorCode == consumerOffline
}

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

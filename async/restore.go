package async

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// restoreSpread is over how long the agents of a cluster spread what each does after a new connection: they may all
// have lost it together.
const restoreSpread = 2 * time.Second

// restore creates again what the store has lost: its folder was removed, a part of it was damaged, or a server has lost
// the consumers in its memory. The contents of streams are lost, except what is known of the function. It is called
// with every new connection.
func (e *engine) restore() {
	if e.volatile {
		pause(e.ctx, rand.N(restoreSpread))
	}
	ctx, cancel := context.WithTimeout(e.ctx, openTimeout)
	defer cancel()
	ctx, release := e.whileConnected(ctx)
	defer release()
	if e.volatile { // the fetches find out whether consumers are lost: a thousand agents ask no more than they have to
		if err := e.lookAtFunction(0); !errors.Is(err, nats.ErrStreamNotFound) {
			return
		}
	}
	messages, functions, records := e.missing(ctx)
	switch {
	case messages:
		e.epoch.Add(1)
		e.q.cfg.Log.Error("the queue's store is empty: requests, records and outcome messages that were in it are lost")
	case functions || records:
		e.q.cfg.Log.Error("a part of the queue's store is missing, and is made again")
	}
	e.noteRestored(e.restoreWhat(ctx, functions, messages || records))
}

func (e *engine) noteRestored(err error) {
	if e.volatile && isOffline(err) { // the next fetch finds the same, and makes the consumer anew
		e.q.cfg.Log.Debug("a consumer of the queue is on a server that is down", zap.Error(err))
		return
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) && e.confined.Load() {
		err = errors.Join(err, errMayNot)
	}
	if err != nil && e.ctx.Err() == nil {
		e.q.cfg.Log.Error("the queue cannot be made again", zap.Error(err))
	}
}

// restoreWhat makes what is missing. The consumers are made in any case; the handles go by name, and stay good.
func (e *engine) restoreWhat(ctx context.Context, functions, streams bool) error {
	a := arrangement{Shards: e.shards, Replicas: e.replicas}
	if functions {
		if err := e.makeFunctionStream(ctx); err != nil {
			return err
		}
		if err := e.storeArrangement(ctx, a); err != nil && !errors.Is(err, errOvertaken) {
			return err
		}
		if err := e.keepFunction(ctx); err != nil {
			return err
		}
	}
	if streams {
		if err := e.makeStreams(ctx, a); err != nil {
			return err
		}
	}
	if !e.volatile && !streams {
		e.noteLostConsumers(ctx)
	}
	return together(
		func() error { _, err := e.makeRunner(ctx); return err },
		func() error { _, err := e.makeOutgoing(ctx); return err },
		func() error { _ = e.lookAtFunction(0); return nil },
	)
}

// noteLostConsumers logs consumers that the store has lost, with what they knew of deliveries. It comes before they are
// made: the answer to the creation of one that is there may say that it is new (nats-server 2.15.2).
func (e *engine) noteLostConsumers(ctx context.Context) {
	for _, c := range []jetstream.Consumer{e.lay.runner, e.lay.outgoing} {
		info := c.CachedInfo()
		if _, err := e.js.Consumer(ctx, info.Stream, info.Name); errors.Is(err, jetstream.ErrConsumerNotFound) {
			e.noteDamage(info)
		}
	}
}

// noteDamage logs that a consumer is missing in a store that keeps it in files.
func (e *engine) noteDamage(info *jetstream.ConsumerInfo) {
	e.q.cfg.Log.Error("a part of the queue's store is missing, and is made again",
		zap.String("stream", info.Stream), zap.String("consumer", info.Name))
}

// missing reports which streams the servers do not have: those of messages, of functions, of records.
func (e *engine) missing(ctx context.Context) (messages, functions, records bool) {
	if e.confined.Load() {
		return false, false, false
	}
	is := func(stream string) bool {
		_, err := e.streamInfo(ctx, stream)
		missing := errors.Is(err, nats.ErrStreamNotFound)
		if err != nil && !missing && e.ctx.Err() == nil {
			e.q.causes.Warn("it is not known whether the queue's store is whole; it counts as whole", err)
		}
		return missing
	}
	_ = together(
		func() error { messages = is(e.lay.events); return nil },
		func() error { functions = is(functionStream); return nil },
		func() error { records = is(e.lay.records) || is(e.lay.outbox); return nil },
	)
	return messages, functions, records
}

// warnOfStranded logs accepted events that no agent will run: they came under another function, version or region, in
// the same folder.
func (e *engine) warnOfStranded(ctx context.Context) {
	err := e.eachStranded(ctx, func(what string, events int, oldest time.Time) {
		e.q.cfg.Log.Warn(
			"the data folder holds requests of another function, version or region, which do not run here; an agent with its settings on the same folder would run them",
			zap.String("what", what), zap.Int("requests", events), zap.Time("oldest", oldest),
		)
	})
	if err != nil {
		e.q.cfg.Log.Warn(
			"it is not known whether the data folder holds requests of other functions or versions",
			zap.Error(err),
		)
	}
}

// eachStranded calls each with every other function that has events in the child.
func (e *engine) eachStranded(ctx context.Context, each func(what string, events int, oldest time.Time)) error {
	events, oldest := map[string]int{}, map[string]time.Time{}
	for shard := range e.shards {
		err := e.eachSubject(ctx, eventStream(shard), shardSubject(shard, "*", "event")+"*", func(subject string) {
			key := strings.Split(subject, ".")[3] // gantry.queue.SHARD.KEY.event.ID
			if key == e.key {
				return
			}
			events[key]++
			if at, ok := acceptedAt(lastToken(subject)); ok && (oldest[key].IsZero() || at.Before(oldest[key])) {
				oldest[key] = at
			}
		})
		if err != nil {
			return err
		}
	}
	for key, n := range events {
		f, err := e.readFunction(ctx, key)
		if err != nil {
			return err
		}
		each("events of "+f.URN, n, oldest[key])
	}
	own := separateLayout(e.key).events
	all := e.js.ListStreams(ctx)
	for s := range all.Info() {
		if name := s.Config.Name; name != own && isSeparateEvents(name) && s.State.Msgs > 0 {
			each(s.Config.Description, int(s.State.Msgs), s.State.FirstTime)
		}
	}
	return all.Err()
}

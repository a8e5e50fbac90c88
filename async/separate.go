package async

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Earlier releases gave each function streams of its own: of events, of outcome messages (notifications), and buckets
// of records and of configurations. Agents of this release empty them, beside agents of the earlier one, and remove
// them once nothing is left in them and no such agent fetches. docs/ASYNC.md has the way back.

// separateQuiet is how long they have to be empty, and without an earlier agent, before they are removed; in the child
// there is no other agent.
const separateQuiet = 30 * time.Second

// findSeparate looks for the streams of an earlier release, and takes their configurations over.
func (e *engine) findSeparate(ctx context.Context) (err error) {
	if e.confined.Load() {
		return nil
	}
	old := separateLayout(e.key)
	if _, err := e.streamInfo(ctx, old.events); err != nil {
		if errors.Is(err, nats.ErrStreamNotFound) {
			return nil
		}
		return fmt.Errorf("streams of an earlier release: %w", err)
	}
	cfg := jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1, MaxDeliver: -1}
	cfg.Durable, cfg.AckWait = "run", ackWait
	if old.runner, err = e.makeConsumer(ctx, old.events, cfg); err != nil {
		return fmt.Errorf("consumer of an earlier release's events: %w", err)
	}
	cfg.Durable, cfg.AckWait = "notify", sendAckWait
	old.outgoing, err = e.makeConsumer(ctx, old.outbox, cfg)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) { // its removal was interrupted
		return fmt.Errorf("consumer of an earlier release's outcome messages: %w", err)
	}
	e.old.Store(old)
	return nil
}

// emptySeparate takes what is in the streams of an earlier release until they can be removed. Its fetches do not wait:
// those that wait are of earlier agents.
func (e *engine) emptySeparate(old *layout) {
	runs, sends := make(chan struct{}, e.q.cfg.Parallel), make(chan struct{}, sendParallel)
	e.q.cfg.Log.Info("requests of an earlier release are in streams of their own, and are taken over",
		zap.String("stream", old.events))
	e.tasks.Go(func() { e.followSeparate() })
	var since time.Time // nothing is left, and no earlier agent is there
	for ctx := e.q.fetching; ctx.Err() == nil && e.ctx.Err() == nil; {
		taken := e.takeSeparate(ctx, old.runner, old, runs, e.handle)
		if old.outgoing != nil {
			taken += e.takeSeparate(ctx, old.outgoing, old, sends, e.deliver)
		}
		if taken > 0 {
			since = time.Time{}
			continue
		}
		pause(ctx, separatePause)
		switch idle, err := e.separateIdle(ctx, old); {
		case err != nil:
			e.q.causes.Warn("it is not known whether streams of an earlier release are empty; they stay", err)
			since = time.Time{}
		case !idle:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		if !since.IsZero() && (e.q.cfg.Alone || time.Since(since) >= separateQuiet) {
			if err := e.removeSeparate(e.ctx, old); err == nil {
				return
			} else if e.ctx.Err() == nil {
				e.q.causes.Warn("streams of an earlier release are not removed yet; it is tried again", err)
			}
		}
	}
}

// takeSeparate fetches what is there, up to the room that is free, and starts it. It returns how many messages.
func (e *engine) takeSeparate(
	ctx context.Context,
	from jetstream.Consumer,
	in *layout,
	room chan struct{},
	handle func(*message),
) (taken int) {
	n := 0
	for n < fetchMost {
		select {
		case room <- struct{}{}:
			n++
			continue
		default:
		}
		break
	}
	if n == 0 {
		pause(ctx, fetchPause)
		return 0
	}
	epoch := e.epoch.Load()
	batch, err := from.FetchNoWait(n)
	if err == nil {
		for msg := range batch.Messages() {
			taken++
			e.running.Go(func() {
				defer func() { <-room }()
				handle(&message{Msg: msg, engine: e, in: in, epoch: epoch})
			})
		}
		err = batch.Error()
	}
	for left := n - taken; left > 0; left-- {
		<-room
	}
	if err != nil && ctx.Err() == nil {
		e.q.cfg.Log.Debug("no requests from streams of an earlier release", zap.Error(err))
	}
	return taken
}

// separateIdle reports whether nothing is in the streams of an earlier release, and none of its agents fetches.
func (e *engine) separateIdle(ctx context.Context, old *layout) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for _, one := range []struct {
		stream   string
		consumer jetstream.Consumer
	}{{old.events, old.runner}, {old.outbox, old.outgoing}} {
		if one.consumer == nil {
			continue
		}
		stream, err := e.streamInfo(ctx, one.stream)
		if errors.Is(err, nats.ErrStreamNotFound) { // another agent is removing them
			continue
		}
		if err != nil {
			return false, err
		}
		consumer, err := one.consumer.Info(ctx)
		if err != nil {
			return false, err
		}
		if stream.State.Msgs > 0 || consumer.NumWaiting > 0 {
			return false, nil
		}
	}
	return true, nil
}

// removeSeparate moves the records, and removes the streams; that of events last, because it says that there are some.
func (e *engine) removeSeparate(ctx context.Context, old *layout) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	moved, err := e.moveRecords(ctx, old)
	if err != nil {
		return fmt.Errorf("records: %w", err)
	}
	for _, stream := range []string{old.outbox, "KV_" + e.separateConfigs(), old.records, old.events} {
		if err := e.js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("stream %s: %w", stream, err)
		}
	}
	e.old.Store(nil)
	e.q.cfg.Log.Info("the streams of an earlier release are empty and removed; their records were moved",
		zap.Int("records", moved))
	return nil
}

// moveRecords copies the records to the shared stream. Each keeps the time that it has left.
func (e *engine) moveRecords(ctx context.Context, old *layout) (moved int, err error) {
	err = e.scan(ctx, old.records, old.record+"*", false, func(msg jetstream.Msg) error {
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		left := e.q.cfg.Retention + recordGrace - time.Since(meta.Timestamp)
		if len(msg.Data()) == 0 || left < time.Second {
			return nil
		}
		id := lastToken(msg.Subject())
		_, err = e.replace(ctx, e.lay.record+id, msg.Data(), 0, jetstream.WithMsgTTL(left))
		if errors.Is(err, errOvertaken) { // it was moved before
			return nil
		}
		moved++
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = nil
	}
	return moved, err
}

package async

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Earlier releases gave each function streams of its own: of events, of outcome messages (notifications), and buckets
// of records and of configurations. Agents of this release empty them, beside agents of the earlier one, and remove
// them once nothing is left in them and no such agent fetches (separatewatch.go). docs/ASYNC.md has the way back.

// findSeparate looks for the streams of an earlier release.
func (e *engine) findSeparate(ctx context.Context) error {
	if e.confined.Load() {
		return nil
	}
	old := separateLayout(e.key)
	_, err := e.streamInfo(ctx, old.events)
	if err == nil {
		err = e.consumeSeparate(ctx, old)
	}
	switch {
	case err == nil:
		e.old.Store(old)
	case errors.Is(err, nats.ErrStreamNotFound), errors.Is(err, jetstream.ErrStreamNotFound): // perhaps since a moment
	default:
		return fmt.Errorf("streams of an earlier release: %w", err)
	}
	return nil
}

// consumeSeparate makes the consumers of an earlier release's streams, or finds them. The removal of those of outcome
// messages and of records may have been interrupted; the shared ones take their place then.
func (e *engine) consumeSeparate(ctx context.Context, old *layout) error {
	cfg := jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1, MaxDeliver: -1}
	runs, sends := cfg, cfg
	runs.Durable, runs.AckWait = "run", ackWait
	sends.Durable, sends.AckWait = "notify", sendAckWait
	return together(
		func() (err error) { old.runner, err = e.makeConsumer(ctx, old.events, runs); return err },
		func() (err error) {
			old.outgoing, err = e.makeConsumer(ctx, old.outbox, sends)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				err = nil
			}
			return err
		},
		func() error {
			_, err := e.streamInfo(ctx, old.records)
			if errors.Is(err, nats.ErrStreamNotFound) {
				old.records, old.record, err = e.lay.records, e.lay.record, nil
			}
			return err
		},
	)
}

// separatePause comes between looks at streams of an earlier release.
const separatePause = time.Second

// noteSeparate has takeOver look for new streams of an earlier release at once.
func (e *engine) noteSeparate() {
	select {
	case e.foundSeparate <- struct{}{}:
	default:
	}
}

// isClosed reports whether nothing can be accepted into a stream of events of an earlier release. An agent of that
// release undoes it when it opens the queue.
func isClosed(cfg *jetstream.StreamConfig, old *layout) bool {
	return cfg.Sealed || !slices.Contains(cfg.Subjects, old.event+"*")
}

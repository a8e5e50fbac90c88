package async

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// separateWatch removes the streams of an earlier release, in steps that other agents, a death, and the return of an
// agent of that release may interrupt. Once such agents have not fetched for a while, the stream of events is closed:
// nothing more is accepted into it. Once the streams are empty the records are moved, and the stream of events is
// sealed, which such an agent cannot undo; if it is empty then, all go.
type separateWatch struct {
	*engine
	old *layout
	// made is when the streams were made: an agent of the earlier release may have made new ones after a removal.
	made time.Time
	// quiet is since when no agent of the earlier release fetches; zero if one does.
	quiet time.Time
	// closes says that this agent has closed the streams, and removes them; another one waits longer.
	closes bool
	// movedTo is the number of the last record that was moved, moved how many were, and none is before again.
	movedTo uint64
	moved   int
	again   time.Time
}

const (
	// separateQuiet is how long no agent of an earlier release may have fetched before its streams are closed: one that
	// is cut off from a cluster for longer has lost its requests to others. In the child there is no other agent.
	separateQuiet = 30 * time.Second
	// othersQuiet times that is how long an agent leaves the removal to the one that has closed the streams.
	othersQuiet = 4
	// moveAgain comes before another try to move records.
	moveAgain = time.Minute
	// moveParallel is how many records are written at once.
	moveParallel = 16
)

// run goes on until the streams are gone, or ctx ends.
func (w *separateWatch) run(ctx context.Context) {
	for ctx.Err() == nil && w.ctx.Err() == nil {
		gone, more, err := w.step(ctx)
		if gone {
			return
		}
		if err != nil {
			w.quiet = time.Time{}
			if ctx.Err() == nil && w.ctx.Err() == nil && !w.away.Load() {
				w.q.causes.Warn("streams of an earlier release are not removed yet; it is tried again", err)
			}
		}
		if !more || err != nil {
			pause(ctx, separatePause)
		}
	}
}

// step does what can be done now. more says that the next one need not wait.
func (w *separateWatch) step(ctx context.Context) (gone, more bool, err error) {
	look, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	events, left, err := w.look(look)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		w.done("the streams of an earlier release were removed by another agent")
		return true, false, nil
	}
	if err != nil {
		return false, false, err
	}
	if made := events.CachedInfo().Created; w.made.IsZero() {
		w.made = made
	} else if !made.Equal(w.made) {
		w.done("the streams of an earlier release were removed by another agent, and there are new ones")
		w.noteSeparate()
		return true, false, nil
	}
	waiting, err := w.waiting(look)
	if err != nil {
		return false, false, err
	}
	cfg, now := events.CachedInfo().Config, time.Now()
	switch alone := w.q.cfg.Alone; {
	case waiting > 0 && !alone:
		w.quiet, w.closes = time.Time{}, false
		if isClosed(&cfg, w.old) && (!cfg.Sealed || left == 0) {
			err = w.reopen(look, cfg)
		}
		return false, false, err
	case w.quiet.IsZero():
		w.quiet = now
		return false, alone, nil
	case !alone && now.Sub(w.quiet) < w.q.cfg.SeparateQuiet:
		return false, false, nil
	case !isClosed(&cfg, w.old):
		w.closes = true
		return false, true, w.close(look, cfg)
	case left > 0, now.Before(w.again),
		!w.closes && !alone && now.Sub(w.quiet) < othersQuiet*w.q.cfg.SeparateQuiet:
		return false, false, nil
	}
	return w.finish(ctx, cfg)
}

// finish moves the records, seals the stream of events, and removes all. It is interrupted for another look after what
// takes long.
func (w *separateWatch) finish(ctx context.Context, cfg jetstream.StreamConfig) (gone, more bool, err error) {
	before := w.movedTo
	if err := w.moveRecords(ctx); err != nil {
		w.again = time.Now().Add(moveAgain)
		return false, false, fmt.Errorf("records: %w", err)
	}
	if w.movedTo != before {
		return false, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if !cfg.Sealed {
		cfg.Sealed = true
		_, err := w.js.UpdateStream(ctx, cfg)
		return false, true, err
	}
	if err := w.remove(ctx); err != nil {
		return false, false, err
	}
	w.done("the streams of an earlier release are empty and removed; their records were moved")
	return true, false, nil
}

// done forgets the streams.
func (w *separateWatch) done(what string) {
	w.engine.old.Store(nil)
	w.q.cfg.Log.Info(what, zap.Int("records", w.moved))
}

// look returns the stream of events, and how many events and outcome messages are left.
func (w *separateWatch) look(ctx context.Context) (events jetstream.Stream, left uint64, err error) {
	if events, err = w.js.Stream(ctx, w.old.events); err != nil {
		return nil, 0, err
	}
	left = events.CachedInfo().State.Msgs
	outcomes, err := w.js.Stream(ctx, w.old.outbox)
	if errors.Is(err, jetstream.ErrStreamNotFound) { // a removal has begun
		return events, left, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return events, left + outcomes.CachedInfo().State.Msgs, nil
}

// waiting returns how many fetches wait: those of this release never do. A consumer that is missing is made again.
func (w *separateWatch) waiting(ctx context.Context) (n int, err error) {
	for _, c := range []jetstream.Consumer{w.old.runner, w.old.outgoing} {
		if c == nil {
			continue
		}
		info, err := c.Info(ctx)
		switch {
		case err == nil:
			n += info.NumWaiting
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			made := *w.old // the handles go by name
			if err := w.consumeSeparate(ctx, &made); err != nil {
				return 0, err
			}
		case !errors.Is(err, jetstream.ErrStreamNotFound): // a removal has begun
			return 0, err
		}
	}
	return n, nil
}

func (w *separateWatch) close(ctx context.Context, cfg jetstream.StreamConfig) error {
	cfg.Subjects = []string{w.prefix + ".closed"}
	_, err := w.js.UpdateStream(ctx, cfg)
	return err
}

// reopen lets an agent of an earlier release accept again that has come back; it does not ask for that itself. A sealed
// stream is made anew: it is empty.
func (w *separateWatch) reopen(ctx context.Context, cfg jetstream.StreamConfig) error {
	w.q.cfg.Log.Info("an agent of an earlier release is back; its streams stay", zap.String("stream", cfg.Name))
	sealed := cfg.Sealed
	cfg.Subjects = []string{w.old.event + "*"}
	cfg.Sealed, cfg.DenyDelete, cfg.DenyPurge = false, false, false
	if !sealed {
		_, err := w.js.UpdateStream(ctx, cfg)
		return err
	}
	if err := w.js.DeleteStream(ctx, cfg.Name); err != nil {
		return err
	}
	if _, err := insist(ctx, w.js.CreateOrUpdateStream, cfg); err != nil {
		return err
	}
	made := *w.old
	return w.consumeSeparate(ctx, &made)
}

// remove removes the streams; that of events last, because it says that there are some.
func (w *separateWatch) remove(ctx context.Context) error {
	own := separateLayout(w.key)
	for _, stream := range []string{own.outbox, w.configurationStream(), own.records, own.events} {
		if err := w.js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("stream %s: %w", stream, err)
		}
	}
	return nil
}

// moveRecords copies the records to the shared stream. Each keeps the time that it has left.
func (w *separateWatch) moveRecords(ctx context.Context) error {
	if !w.old.ownRecords() {
		return nil
	}
	var from jetstream.Consumer
	for {
		stream, err := w.js.Stream(ctx, w.old.records)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if s := stream.CachedInfo().State; s.Msgs == 0 || w.movedTo >= s.LastSeq {
			return nil
		}
		if err := w.roomToMove(ctx); err != nil {
			return err
		}
		if from == nil {
			if from, err = w.recordReader(ctx); err != nil {
				return err
			}
			defer w.removeScanner(w.ctx, w.old.records, from.CachedInfo().Name)
		}
		if err := w.moveBatch(ctx, from); err != nil {
			return err
		}
	}
}

// recordReader reads the records from the first that was not moved.
func (w *separateWatch) recordReader(ctx context.Context) (jetstream.Consumer, error) {
	return w.js.CreateConsumer(ctx, w.old.records, jetstream.ConsumerConfig{
		Name: w.key + "_move_" + rand.Text(), FilterSubject: w.old.record + "*", AckPolicy: jetstream.AckNonePolicy,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: w.movedTo + 1,
		Replicas: 1, MemoryStorage: true, InactiveThreshold: openTimeout,
	})
}

// moveBatch moves the next records; an error if none came.
func (w *separateWatch) moveBatch(ctx context.Context, from jetstream.Consumer) error {
	var all sync.WaitGroup
	var lock sync.Mutex
	var failed error
	room, last := make(chan struct{}, moveParallel), w.movedTo
	_, err := readBatch(from, func(msg jetstream.Msg) error {
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		last = meta.Sequence.Stream
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			moved, err := w.moveRecord(ctx, msg, meta.Timestamp)
			lock.Lock()
			defer lock.Unlock()
			if moved {
				w.moved++
			}
			failed = errors.Join(failed, err)
		})
		return nil
	})
	all.Wait()
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if last == w.movedTo {
		return errors.New("they cannot be read to their end")
	}
	w.movedTo = last
	return nil
}

func (w *separateWatch) moveRecord(ctx context.Context, msg jetstream.Msg, stored time.Time) (bool, error) {
	left := w.q.cfg.Retention + recordGrace - time.Since(stored)
	if len(msg.Data()) == 0 || left < time.Second {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := w.replace(ctx, w.lay.record+lastToken(msg.Subject()), msg.Data(), 0, jetstream.WithMsgTTL(left))
	if errors.Is(err, errOvertaken) { // it was moved before
		return false, nil
	}
	return err == nil, err
}

// roomToMove returns an error if the shared stream has no room for the next records: those of new requests go first.
func (w *separateWatch) roomToMove(ctx context.Context) error {
	stream, err := w.js.Stream(ctx, recordStream)
	if err != nil {
		return err
	}
	has, limit := int64(stream.CachedInfo().State.Bytes), stream.CachedInfo().Config.MaxBytes
	if limit > 0 && has+scanBatch*recordRoom/4 > limit/4*3 {
		return fmt.Errorf("they stay where they are until they expire, or the stream %s has room: it has %d bytes of %d",
			recordStream, has, limit)
	}
	return nil
}

package async

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

const (
	// scanBatch is how many messages a listing asks for at once.
	scanBatch = 500
	// scanAge is how long the consumer of a listing stays that its agent could not remove.
	scanAge = 5 * time.Second
	// scanAnswer is how long the servers may take to make that consumer.
	scanAnswer = 2 * time.Second
	// scanPause comes before another try while another agent of the function lists.
	scanPause = 20 * time.Millisecond
)

// errSlow ends a listing whose consumer the servers may have removed.
var errSlow = errors.New("the listing was interrupted for too long")

// errEnough ends a scan early.
var errEnough = errors.New("enough was read")

// scan calls each with all messages of a filter, in the order of their numbers, without their data if bare is set. An
// error of each ends it.
func (e *engine) scan(ctx context.Context, stream, filter string, bare bool, each func(jetstream.Msg) error) error {
	c, err := e.scanner(ctx, stream, filter, bare)
	if err != nil {
		return err
	}
	latest := time.Now()
	slow := func() bool { return e.confined.Load() && time.Since(latest) > scanAge/2 } // it may be another listing's then
	defer func() {
		if !slow() {
			e.removeScanner(e.ctx, stream, c.CachedInfo().Name)
		}
	}()
	for left := c.CachedInfo().NumPending; left > 0; {
		if slow() {
			return errSlow
		}
		rest, err := readBatch(c, each)
		switch {
		case errors.Is(err, nats.ErrNoResponders) && ctx.Err() == nil: // not every server knows the consumer yet
			pause(ctx, scanPause/4)
			continue
		case errors.Is(err, errEnough):
			return nil
		case err != nil || ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		default:
			left = rest
		}
		latest = time.Now()
	}
	return nil
}

// readBatch calls each with the next messages, and returns how many are left after them.
func readBatch(c jetstream.Consumer, each func(jetstream.Msg) error) (left uint64, err error) {
	batch, err := c.FetchNoWait(scanBatch)
	if err != nil {
		return 0, err
	}
	for msg := range batch.Messages() { // without one, the rest was removed meanwhile
		meta, err := msg.Metadata()
		if err != nil {
			return 0, err
		}
		left = meta.NumPending
		if err := each(msg); err != nil {
			return 0, err
		}
	}
	return left, batch.Error()
}

// scanner makes the consumer of one listing. A confined agent has one name for all: permissions name consumers. Its
// listings come one after the other.
func (e *engine) scanner(ctx context.Context, stream, filter string, bare bool) (jetstream.Consumer, error) {
	id := rand.Text()
	cfg := jetstream.ConsumerConfig{
		Name: e.key + listing, FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy, HeadersOnly: bare,
		Replicas: 1, MemoryStorage: true, InactiveThreshold: scanAge,
		Metadata: map[string]string{"listing": id}, // makes it another consumer than a listing's of another agent
	}
	if !e.confined.Load() {
		cfg.Name += "_" + id
	}
	for begun := time.Now(); ; {
		attempt, cancel := context.WithTimeout(ctx, scanAnswer)
		c, err := e.js.CreateConsumer(attempt, stream, cfg)
		cancel()
		exists := errors.Is(err, jetstream.ErrConsumerExists)
		if !exists && !isOffline(err) || ctx.Err() != nil {
			return c, err
		}
		if !exists || time.Since(begun) > scanAge+scanAge/4 { // the server that has it is down: it stays until removed
			e.removeScanner(ctx, stream, cfg.Name)
			begun = time.Now()
		}
		pause(ctx, scanPause)
	}
}

func (e *engine) removeScanner(ctx context.Context, stream, name string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := e.js.DeleteConsumer(ctx, stream, name); err != nil && e.ctx.Err() == nil {
		e.q.cfg.Log.Debug("the consumer of a listing stays for some seconds", zap.Error(err))
	}
}

// eachSubject calls each with the subject of every message of a filter. A tombstone is none.
func (e *engine) eachSubject(ctx context.Context, stream, filter string, each func(string)) error {
	if e.confined.Load() {
		return e.scan(ctx, stream, filter, true, func(msg jetstream.Msg) error {
			if !isTombstone(msg.Headers()) {
				each(msg.Subject())
			}
			return nil
		})
	}
	info, err := e.leader.StreamInfo(stream, nats.Context(ctx), &nats.StreamInfoRequest{SubjectsFilter: filter})
	if err != nil {
		return err
	}
	for subject := range info.State.Subjects {
		each(subject)
	}
	return nil
}

// oldest returns the time of the first event in the queue; zero if there is none.
func (e *engine) oldest(ctx context.Context) (at time.Time, err error) {
	for _, l := range e.layouts() {
		first, err := e.oldestIn(ctx, l)
		if err != nil && !e.gone(ctx, l, l.events, err) {
			return time.Time{}, err
		}
		if !first.IsZero() && (at.IsZero() || first.Before(at)) {
			at = first
		}
	}
	return at, nil
}

func (e *engine) oldestIn(ctx context.Context, l *layout) (at time.Time, err error) {
	if !l.shared { // it holds this function's alone, and allows no other consumer
		info, err := e.leader.StreamInfo(l.events, nats.Context(ctx))
		if err != nil || info.State.Msgs == 0 {
			return at, err
		}
		return info.State.FirstTime, nil
	}
	if !e.confined.Load() {
		msg, err := e.leader.GetMsg(l.events, 0, nats.Context(ctx), nats.DirectGetNext(l.event+"*"))
		switch {
		case errors.Is(err, nats.ErrMsgNotFound):
			return at, nil
		case err != nil:
			return at, err
		}
		return msg.Time, nil
	}
	err = e.scan(ctx, l.events, l.event+"*", true, func(msg jetstream.Msg) error {
		if isTombstone(msg.Headers()) {
			return nil
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		at = meta.Timestamp
		return errEnough
	})
	return at, err
}

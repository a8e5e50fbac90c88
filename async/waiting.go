package async

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// boundLoad sets what the function may have in its streams. The child's have the limit in bytes themselves.
func (e *engine) boundLoad() {
	unknown := func(err error) {
		if e.ctx.Err() == nil {
			e.q.causes.Warn("it is not known how much the queue has; requests are accepted", err)
		}
	}
	e.load.most = e.q.cfg.MaxEvents
	e.load.count, e.outLoad.count = e.waitingEvents, e.waitingOutcomes
	for _, l := range []*load{&e.load, &e.outLoad} {
		l.unknown, l.now = unknown, e.q.cfg.Now
		if !e.q.cfg.Alone {
			l.mostBytes = e.q.cfg.MaxBytes
		}
	}
}

// beginLoad takes what the consumers said when they were made for the first look.
func (e *engine) beginLoad() {
	if e.old.Load() != nil {
		return // the first event looks in all streams
	}
	runs, sends := e.lay.runner.CachedInfo(), e.lay.outgoing.CachedInfo()
	e.space.waiting = int64(runs.NumPending) + int64(runs.NumAckPending)
	e.load.begin(e.space.waiting)
	e.outLoad.begin(int64(sends.NumPending) + int64(sends.NumAckPending))
}

// waitingEvents asks how many events of the function are in the queue, those under way included.
func (e *engine) waitingEvents(ctx context.Context) (int64, error) {
	return e.waitingWith(ctx, e.lay.runner, func(l *layout) string { return l.events })
}

// waitingOutcomes asks how many outcome messages of the function are in their queue.
func (e *engine) waitingOutcomes(ctx context.Context) (int64, error) {
	return e.waitingWith(ctx, e.lay.outgoing, func(l *layout) string { return l.outbox })
}

// waitingWith adds what a stream of an earlier release has.
func (e *engine) waitingWith(ctx context.Context, c jetstream.Consumer, stream func(*layout) string) (int64, error) {
	n, err := waitingIn(ctx, c)
	if old := e.old.Load(); err == nil && old != nil {
		switch info, err := e.streamInfo(ctx, stream(old)); {
		case err == nil:
			n += int64(info.State.Msgs)
		case !e.gone(ctx, old, stream(old), err):
			return 0, err
		}
	}
	return n, err
}

func waitingIn(ctx context.Context, c jetstream.Consumer) (int64, error) {
	info, err := c.Info(ctx)
	if err != nil {
		return 0, err
	}
	return int64(info.NumPending) + int64(info.NumAckPending), nil
}

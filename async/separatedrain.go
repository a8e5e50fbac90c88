package async

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// takeOver empties the streams of an earlier release, and looks for new ones: an agent of that release may come back.
func (e *engine) takeOver() {
	for ctx := e.q.fetching; ctx.Err() == nil && e.ctx.Err() == nil; {
		if old := e.old.Load(); old != nil {
			e.emptySeparate(old)
			continue
		}
		if e.q.cfg.Alone || e.confined.Load() {
			return
		}
		select {
		case <-e.foundSeparate:
		case <-time.After(functionAge + rand.N(functionAge/2)):
		case <-ctx.Done():
		case <-e.ctx.Done():
		}
		if e.away.Load() || ctx.Err() != nil {
			continue
		}
		look, cancel := context.WithTimeout(e.ctx, storeTimeout)
		if err := e.findSeparate(look); err != nil && e.ctx.Err() == nil {
			e.q.causes.Warn("it is not known whether agents of an earlier release are there; it is looked again", err)
		}
		cancel()
	}
}

// emptySeparate takes what is in the streams of an earlier release until they are removed.
func (e *engine) emptySeparate(old *layout) {
	e.q.cfg.Log.Info("requests of an earlier release are in streams of their own, and are taken over",
		zap.String("stream", old.events))
	e.tasks.Go(func() { e.followSeparate(old) })
	ctx, stop := context.WithCancel(e.q.fetching)
	var all sync.WaitGroup
	all.Go(func() { e.drainSeparate(ctx, old.runner, old, e.q.cfg.Parallel, e.handle) })
	if old.outgoing != nil {
		all.Go(func() { e.drainSeparate(ctx, old.outgoing, old, sendParallel, e.deliver) })
	}
	w := &separateWatch{engine: e, old: old}
	w.run(ctx)
	stop()
	all.Wait()
}

// drainSeparate is fetch for a stream of an earlier release. Its fetches do not wait: those that wait are of earlier
// agents, by which these are seen.
func (e *engine) drainSeparate(
	ctx context.Context,
	from jetstream.Consumer,
	in *layout,
	parallel int,
	handle func(*message),
) {
	room := make(chan struct{}, parallel)
	for {
		n := claim(ctx, room)
		if n == 0 {
			return
		}
		taken, err := e.takeNow(from, in, n, room, handle)
		vacate(room, n-taken)
		if ctx.Err() != nil || e.ctx.Err() != nil {
			return
		}
		if err != nil { // the watch finds out what is missing
			e.q.cfg.Log.Debug("no requests from streams of an earlier release", zap.Error(err))
		}
		if taken == 0 {
			pause(ctx, separatePause)
		}
	}
}

// takeNow fetches up to n messages that are there, and starts them; it returns how many.
func (e *engine) takeNow(
	from jetstream.Consumer,
	in *layout,
	n int,
	room chan struct{},
	handle func(*message),
) (taken int, err error) {
	epoch := e.epoch.Load()
	batch, err := from.FetchNoWait(n)
	if err != nil {
		return 0, err
	}
	taken = e.begin(batch, in, room, func(msg jetstream.Msg) *message {
		return &message{Msg: msg, engine: e, in: in, epoch: epoch}
	}, handle)
	return taken, batch.Error()
}

package agent

import (
	"context"
	"gantry/async"
	"gantry/jetstream/child"
	"time"

	"go.uber.org/zap"
)

// queue is what asynchronous invocation needs; without a queue, why says so.
type queue struct {
	*async.Queue
	child *child.Child
	why   string
	log   *zap.Logger
}

// pause stops fetching: nothing new starts.
func (q *queue) pause() {
	if q != nil && q.Queue != nil {
		q.Pause()
	}
}

// stop ends the queue after the last call: records first, then the child.
func (q *queue) stop(deadline time.Time) {
	if q == nil || q.Queue == nil {
		return
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	q.Close(ctx)
	if q.child != nil {
		if err := q.child.Stop(ctx); err != nil {
			q.log.Warn("the queue's program did not end in time; nothing that was accepted is lost", zap.Error(err))
		}
	}
}

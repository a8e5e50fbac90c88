package async

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// fetch takes as many messages as there is room for, until Pause. A message is fetched only when it can be processed:
// from then on the server expects heartbeats or an acknowledgement.
func (e *engine) fetch(from jetstream.Consumer, parallel int, handle func(*message)) {
	room := make(chan struct{}, parallel)
	ctx := e.q.fetching
	var since time.Time // the first of the fetches that have failed in a row
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		n := 1
		for n < fetchMost && len(room) < cap(room) {
			room <- struct{}{} // only this goroutine adds
			n++
		}
		taken, err := e.take(ctx, from, n, room, handle)
		for ; taken < n; taken++ {
			<-room
		}
		if ctx.Err() != nil || e.ctx.Err() != nil {
			return
		}
		since = e.noteFetch(from, err, since)
	}
}

// fetchPatience is how long fetches may fail before the log says so: an election, or a start of the child, passes.
const fetchPatience = 15 * time.Second

// noteFetch logs a fetch that failed, and waits before the next one. It returns since when fetches fail.
func (e *engine) noteFetch(from jetstream.Consumer, err error, since time.Time) time.Time {
	if err == nil {
		return time.Time{}
	}
	if since.IsZero() {
		since = time.Now()
	}
	if time.Since(since) < fetchPatience {
		e.q.cfg.Log.Debug("no requests from the queue", zap.Error(err))
	} else {
		e.q.causes.Warn(
			"nothing comes out of the queue, and what was accepted waits",
			err,
			zap.String(
				"stream",
				from.CachedInfo().Stream,
			),
			zap.Time("since", since),
			zap.NamedError("connection", e.conn.LastError()),
		)
	}
	pause(e.q.fetching, fetchPause)
	return since
}

// take fetches up to n messages and starts them; it returns how many. Each gives its place in the room back. No message
// is no error.
func (e *engine) take(
	ctx context.Context,
	from jetstream.Consumer,
	n int,
	room chan struct{},
	handle func(*message),
) (taken int, err error) {
	wait, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	wait, release := e.whileConnected(wait) // a new server does not know the pending fetches
	defer release()
	epoch := e.epoch.Load()
	batch, err := from.Fetch(n, jetstream.FetchContext(wait))
	if err == nil {
		for msg := range batch.Messages() {
			taken++
			e.running.Go(func() {
				defer func() { <-room }()
				handle(&message{msg, e, epoch})
			})
		}
		err = batch.Error()
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) && !e.away.Load() {
		err = nil
	}
	return taken, err
}

// underWayPause comes before another look at a request that was handed out twice.
const underWayPause = time.Second

// handle looks after one request until it has an outcome, or waits for its next attempt.
func (e *engine) handle(msg *message) {
	id := msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:]
	if _, underWay := e.underWay.LoadOrStore(id, nil); underWay {
		// JetStream redelivered a request that this agent is still processing (a heartbeat was lost). Keep the running
		// attempt, and ask for redelivery later.
		_ = msg.NakWithDelay(underWayPause)
		return
	}
	defer e.underWay.Delete(id)
	beating, stop := context.WithCancel(e.ctx)
	defer stop()
	go e.beat(beating, msg)
	r := &run{engine: e, msg: msg, id: id}
	if err := r.do(); err != nil {
		// Nothing was decided: JetStream redelivers it, here or to another agent.
		e.q.cfg.Log.Warn("an asynchronous request will be redelivered", zap.String("request_id", r.id), zap.Error(err))
		if err := msg.NakWithDelay(fetchPause); err != nil {
			e.q.cfg.Log.Debug("not handed back", zap.Error(err))
		}
	}
}

// beat sends the server heartbeats while the request is processed.
func (e *engine) beat(ctx context.Context, msg jetstream.Msg) {
	tick := time.NewTicker(ackWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = msg.InProgress() // the next one may get through
		case <-ctx.Done():
			return
		}
	}
}

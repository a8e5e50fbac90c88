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

// fetch takes as many messages as there is room for, until Pause. A message is fetched only when it can be processed:
// from then on the server expects heartbeats or an acknowledgement.
func (e *engine) fetch(from *feed, parallel int, handle func(*message)) {
	room := make(chan struct{}, parallel)
	ctx := e.q.fetching
	var since time.Time // the first of the fetches that have failed in a row
	for {
		n := claim(ctx, room)
		if n == 0 {
			return
		}
		taken, err := e.take(ctx, from, n, room, handle)
		vacate(room, n-taken)
		if ctx.Err() != nil || e.ctx.Err() != nil {
			return
		}
		if err != nil {
			e.mend(ctx, from, err)
		}
		since = e.noteFetch(from.consumer, err, since)
	}
}

// claim takes the places in the room that are free, at least one and at most fetchMost; none if ctx ends before one is
// free. Only one goroutine may claim places in a room.
func claim(ctx context.Context, room chan struct{}) (n int) {
	select {
	case room <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for n = 1; n < fetchMost && len(room) < cap(room); n++ {
		room <- struct{}{}
	}
	return n
}

func vacate(room chan struct{}, places int) {
	for range places {
		<-room
	}
}

// feed is a consumer that this agent fetches from, and how it is made again.
type feed struct {
	consumer jetstream.Consumer
	in       *layout
	make     func(context.Context) (jetstream.Consumer, error)
	// doubt is when messages were stored, at the latest, that an earlier consumer may have delivered to another agent.
	doubt time.Time
	// delivered is the number of the latest delivery; a consumer that was made again counts anew.
	delivered uint64
}

// doubts notes that the consumer may be another one than before. Only a volatile one forgets what it has delivered.
func (e *engine) doubts(f *feed) {
	if e.volatile {
		f.doubt = time.Now().Add(clockMargin)
	}
}

// clockMargin is by how much the clocks of agents and servers may differ where it matters what was first.
const clockMargin = 5 * time.Second

// mend makes the consumer of a feed again if it is missing: an operator has removed it, or its server's memory is gone.
// Agents that see the same do not all ask at the same moment; and none asks before what was fetched from the lost
// consumer has either begun or has to be recorded before it begins (sureShort).
func (e *engine) mend(ctx context.Context, f *feed, why error) {
	e.doubts(f)
	if e.away.Load() || !errors.Is(why, jetstream.ErrNoHeartbeat) &&
		!errors.Is(why, jetstream.ErrConsumerDeleted) && !errors.Is(why, nats.ErrNoResponders) {
		return
	}
	ctx, release := e.whileConnected(ctx)
	defer release()
	info := f.consumer.CachedInfo()
	err := e.answers(ctx, info.Stream, info.Name)
	if err != nil && e.volatile {
		pause(ctx, sureShort+rand.N(mendSpread))
		err = e.answers(ctx, info.Stream, info.Name) // another agent may have made it meanwhile
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return
	case errors.Is(err, jetstream.ErrConsumerNotFound):
	case !isOffline(err):
		return // noteFetch logs what does not pass
	case e.volatile:
		e.discard(ctx, info.Stream, info.Name)
	}
	ask, cancel := context.WithTimeout(ctx, mendLimit)
	defer cancel()
	if _, err = f.make(ask); err == nil {
		if e.q.cfg.Alone { // an operator has no part in the child's store
			e.noteDamage(info)
		} else {
			e.q.cfg.Log.Info("a consumer of the queue was lost, and is made again", zap.String("stream", info.Stream))
		}
	} else if ctx.Err() == nil {
		e.q.cfg.Log.Debug("a consumer cannot be made again yet", zap.String("stream", info.Stream), zap.Error(err))
	}
	e.doubts(f)
}

const (
	// mendSpread is over how long agents spread what they do about a loss that they all see.
	mendSpread = 2 * time.Second
	// mendLimit bounds one try to make a consumer again.
	mendLimit = 10 * time.Second
)

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
			zap.NamedError("connection", e.connectionError()),
		)
	}
	pause(e.q.fetching, fetchPause)
	return since
}

// take fetches up to n messages and starts them; it returns how many. Each gives its place in the room back. No message
// is no error.
func (e *engine) take(
	ctx context.Context,
	from *feed,
	n int,
	room chan struct{},
	handle func(*message),
) (taken int, err error) {
	wait, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	wait, release := e.whileConnected(wait) // a new server does not know the pending fetches
	defer release()
	epoch := e.epoch.Load()
	batch, err := from.consumer.Fetch(n, jetstream.FetchContext(wait), jetstream.FetchHeartbeat(fetchHeartbeat))
	if err == nil {
		taken = e.begin(batch, from.in, room, func(msg jetstream.Msg) *message {
			return &message{Msg: msg, engine: e, in: from.in, epoch: epoch, doubtful: e.isDoubtful(from, msg)}
		}, handle)
		err = batch.Error()
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) && !e.away.Load() {
		err = nil
	}
	return taken, err
}

// begin starts what is in a batch, and returns how many messages that was. Each has its place in the room, and gives it
// back. made is called for those of this function, in their order.
func (e *engine) begin(
	batch jetstream.MessageBatch,
	in *layout,
	room chan struct{},
	made func(jetstream.Msg) *message,
	handle func(*message),
) (taken int) {
	for msg := range batch.Messages() {
		taken++
		if !e.takes(in, msg) {
			<-room
			continue
		}
		m := made(msg)
		e.running.Go(func() {
			defer func() { <-room }()
			handle(m)
		})
	}
	return taken
}

// isDoubtful reports whether an earlier consumer may have delivered a message to another agent, which still has it.
func (e *engine) isDoubtful(from *feed, msg jetstream.Msg) bool {
	meta, err := msg.Metadata()
	if err != nil || !e.volatile {
		return e.volatile
	}
	if meta.Sequence.Consumer <= from.delivered {
		e.doubts(from)
	}
	from.delivered = meta.Sequence.Consumer
	return meta.Timestamp.Before(from.doubt)
}

// takes reports whether a message is for this function. A tombstone is not; it goes by itself. Another function's agent
// that knew where this one's answers go could send its own messages there, whatever its permissions are.
func (e *engine) takes(in *layout, msg jetstream.Msg) bool {
	if isTombstone(msg.Headers()) {
		_ = msg.Ack() // it is worth nothing once it is gone
		return false
	}
	if s := msg.Subject(); !strings.HasPrefix(s, in.event) && !strings.HasPrefix(s, in.notify) {
		e.q.cfg.Log.Error("a message of another function came to this one, and is dropped", zap.String("subject", s))
		return false
	}
	return true
}

// handle looks after one request until it has an outcome, or waits for its next attempt.
func (e *engine) handle(msg *message) {
	id := lastToken(msg.Subject())
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

package async

import (
	"context"
	"errors"
	"fmt"
	"gantry/async/destination"
	"gantry/logger"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// writeLimit bounds one write to the server. nats.go holds the connection's lock meanwhile, which blocks every sender.
const writeLimit = 2 * time.Second

// connect opens a connection that is kept for as long as the queue is open.
func (q *Queue) connect(ctx context.Context) (*nats.Conn, error) {
	return q.cfg.Connect(
		ctx,
		nats.Name("gantry"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond),
		nats.ReconnectJitter(
			50*time.Millisecond,
			50*time.Millisecond,
		),
		nats.PingInterval(5*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(writeLimit),
		nats.ReconnectOnFlusherError(), // half a message is of no use
		nats.IgnoreAuthErrorAbort(),    // credentials that are refused twice may be accepted later
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			q.causes.Warn("the queue is not connected again yet", err)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			q.causes.Warn("the queue reports an error", err)
		}),
	)
}

// newEngine connects, makes the streams if they are missing, and starts to fetch.
func (q *Queue) newEngine(ctx context.Context) (_ *engine, err error) {
	conn, err := q.connect(ctx)
	if err != nil {
		return nil, err
	}
	e := &engine{
		q:        q,
		conn:     conn,
		prefix:   "gantry." + key(q.cfg.Function),
		inForce:  map[string]inForce{},
		underWay: &q.underWay,
	}
	e.sender = &destination.Sender{
		Function:  q.cfg.Function,
		Endpoints: q.cfg.Endpoints,
		Folder:    q.cfg.Folder,
		Sign:      q.cfg.Sign,
		Now:       q.cfg.Now,
		Call:      e.deliverFunction,
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.sends, e.stopSends = context.WithCancel(e.ctx)
	e.link, e.cut = context.WithCancel(e.ctx)
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if err := e.enter(q.cfg.Domain); err != nil {
		return nil, err
	}
	if err := e.prepare(ctx); err != nil {
		return nil, q.hint(err)
	}
	if err := e.watchConfigurations(ctx); err != nil {
		return nil, fmt.Errorf("configurations: %w", err)
	}
	if q.cfg.Alone {
		e.warnOfStranded(ctx)
	}
	if err := e.listenForCancels(); err != nil {
		return nil, err
	}
	if err := e.watchConnection(); err != nil {
		return nil, err
	}
	e.fetchers.Go(func() { e.fetch(e.runner, q.cfg.Parallel, e.handle) })
	e.fetchers.Go(func() { e.fetch(e.outgoing, sendParallel, e.deliver) })
	return e, nil
}

// enter chooses the JetStream that keeps the queue: that of the server connected to, or of a domain.
func (e *engine) enter(domain string) (err error) {
	if domain == "" {
		if e.js, err = jetstream.New(e.conn); err == nil {
			e.leader, err = e.conn.JetStream()
		}
		return err
	}
	if e.js, err = jetstream.NewWithDomain(e.conn, domain); err == nil {
		e.leader, err = e.conn.JetStream(nats.Domain(domain))
	}
	return err
}

// hint adds what to do about an error of prepare.
func (q *Queue) hint(err error) error {
	var api *jetstream.APIError
	switch errors.As(err, &api); {
	case errors.Is(err, nats.ErrNoResponders) && q.cfg.Domain == "":
		return fmt.Errorf(
			"%w; the server has no JetStream: enable it, or set GANTRY_NATS_DOMAIN if it is a leaf node of servers that have",
			err,
		)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w; no JetStream of the domain %q is reached: look at GANTRY_NATS_DOMAIN", err, q.cfg.Domain)
	case api != nil && (slices.Contains(noRoomCodes, api.ErrorCode) ||
		strings.Contains(api.Description, "insufficient storage")):
		return fmt.Errorf(
			"%w; the streams reserve GANTRY_ASYNC_MAX_BYTES twice, and with a limit of records that once more, times the replicas: lower it, or raise the account's limits",
			err,
		)
	}
	return err
}

// noRoomCodes are JetStream's refusals of a stream for its limit: more than the account or the server has left, and
// more than one stream may have. A cluster says so in the description alone.
var noRoomCodes = []jetstream.ErrorCode{10002, 10023, 10047, 10122}

// watchConnection follows what happens to the connection from now on. An error means that it is closed already.
func (e *engine) watchConnection() error {
	e.conn.SetReconnectHandler(func(*nats.Conn) {
		e.away.Store(false)
		e.q.cfg.Log.Info("the queue is connected again")
		e.warnOfPayload()
		e.restore()
	})
	e.conn.SetDisconnectErrHandler(func(_ *nats.Conn, err error) {
		e.away.Store(true)
		if err != nil {
			e.q.cfg.Log.Warn("the queue is disconnected", zap.Error(err))
		}
	})
	e.conn.SetClosedHandler(func(c *nats.Conn) { e.q.closedByServers(e, c.LastError()) })
	if e.conn.IsClosed() { // before there was a handler
		return fmt.Errorf("the servers closed the connection: %w", errors.Join(e.conn.LastError(), nats.ErrConnectionClosed))
	}
	e.away.Store(!e.conn.IsConnected())
	e.warnOfPayload()
	lost := e.conn.StatusChanged(nats.RECONNECTING)
	e.tasks.Go(func() { e.followConnection(lost) })
	return nil
}

// warnOfPayload logs when the servers, or the account, do not take events of the largest size. They send their limit
// with each connection.
func (e *engine) warnOfPayload() {
	limit := e.conn.MaxPayload()
	if last := e.payload.Swap(limit); limit < maxMessage && limit != last {
		e.q.cfg.Log.Warn(
			"the queue's servers, or its account, do not take the largest events: what is above max_payload is refused with 413; raise it",
			zap.Int64("max_payload", limit),
			zap.Int("want", maxMessage),
		)
	}
}

// prepare makes the streams, or finds them.
func (e *engine) prepare(ctx context.Context) (err error) {
	cfg, name := e.q.cfg, streamName(e.prefix)
	e.events, err = insist(ctx, e.js.CreateOrUpdateStream, jetstream.StreamConfig{
		Name:        name + "_events",
		Description: "events of " + cfg.Function.URN(),
		Subjects:    []string{e.subject("*")},
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		Replicas:    cfg.Replicas,
		MaxMsgs:     cfg.MaxEvents,
		MaxBytes:    cfg.MaxBytes,
		MaxMsgSize:  maxMessage,
		Duplicates:  sameWindow,
	})
	if err != nil {
		return fmt.Errorf("stream of events: %w", err)
	}
	// No limit of pending acknowledgements: a request that waits for its retry counts as one.
	e.runner, err = insist(ctx, e.events.CreateOrUpdateConsumer, jetstream.ConsumerConfig{
		Durable: "run", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: -1, MaxDeliver: -1,
	})
	if err != nil {
		return fmt.Errorf("consumer of events: %w", err)
	}
	e.records, e.recordLimit, err = e.bucket(ctx, jetstream.KeyValueConfig{
		Bucket: name + "_records", TTL: cfg.Retention + recordGrace, MaxBytes: cfg.MaxRecordBytes,
	}, cfg.MaxBytes)
	if err != nil {
		return fmt.Errorf("bucket of records: %w", err)
	}
	e.configs, _, err = e.bucket(ctx, jetstream.KeyValueConfig{Bucket: name + "_configurations"}, configurationBytes)
	if err != nil {
		return fmt.Errorf("bucket of configurations: %w", err)
	}
	return e.prepareOutbox(ctx, name)
}

// warnOfStranded logs accepted events that no agent will run: they came under another function, version or region, in
// the same folder.
func (e *engine) warnOfStranded(ctx context.Context) {
	own := streamName(e.prefix) + "_events"
	all := e.js.ListStreams(ctx)
	for s := range all.Info() {
		if name := s.Config.Name; name != own && strings.HasPrefix(name, "gantry_") && strings.HasSuffix(name, "_events") &&
			s.State.Msgs > 0 {
			e.q.cfg.Log.Warn(
				"the data folder holds requests of another function, version or region, which do not run here; an agent with its settings on the same folder would run them",
				zap.String(
					"what",
					s.Config.Description,
				),
				zap.Uint64("requests", s.State.Msgs),
				zap.Time("oldest", s.State.FirstTime),
			)
		}
	}
	if err := all.Err(); err != nil {
		e.q.cfg.Log.Warn(
			"it is not known whether the data folder holds requests of other functions or versions",
			zap.Error(err),
		)
	}
}

// New returns a queue that has not connected yet.
func New(cfg *Config) *Queue {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.UserDelay == 0 {
		cfg.UserDelay = userDelay
	}
	if cfg.Endpoints == nil {
		cfg.Endpoints = &destination.Endpoints{}
	}
	q := &Queue{cfg: cfg, causes: logger.NewCauses(cfg.Log)}
	q.openEngine = q.newEngine
	q.fetching, q.stop = context.WithCancel(context.Background())
	return q
}

// followConnection ends the link with each loss of the connection.
func (e *engine) followConnection(lost <-chan nats.Status) {
	for {
		select {
		case <-lost:
			e.mu.Lock()
			e.cut()
			e.link, e.cut = context.WithCancel(e.ctx)
			e.mu.Unlock()
		case <-e.ctx.Done():
			return
		}
	}
}

// restore creates again what the store has lost: its folder was removed, or a part of it was damaged. The contents of
// the streams are lost, except the configurations in force. It is called with every new connection.
func (e *engine) restore() {
	ctx, cancel := context.WithTimeout(e.ctx, openTimeout)
	defer cancel()
	ctx, release := e.whileConnected(ctx)
	defer release()
	messages, configurations, others := e.missing(ctx)
	if messages {
		e.epoch.Add(1)
		e.q.cfg.Log.Error("the queue's store is empty: requests, records and outcome messages that were in it are lost")
	} else if configurations || others {
		e.q.cfg.Log.Error("a part of the queue's store is missing, and is made again")
	} else {
		return
	}
	anew := &engine{q: e.q, js: e.js, prefix: e.prefix} // the handles of e go by name, and others are using them
	err := anew.prepare(ctx)
	if err == nil && configurations {
		err = e.keepConfigurations(ctx)
	}
	if err != nil && e.ctx.Err() == nil {
		e.q.cfg.Log.Error("the queue cannot be made again", zap.Error(err))
	}
}

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
		nats.CustomInboxPrefix(inboxOf(key(q.cfg.Function))), // a confined agent sees only its own answers
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
	e := &engine{q: q, conn: conn, key: key(q.cfg.Function), underWay: &q.underWay}
	e.foundSeparate = make(chan struct{}, 1)
	e.prefix = prefixOf(e.key)
	e.boundLoad()
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
	ctx, e.refuse = context.WithCancelCause(ctx)
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { e.noteError(err) })
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if err := e.enter(q.cfg.Domain); err != nil {
		return nil, err
	}
	if err := e.prepare(ctx); err != nil {
		return nil, q.hint(deniedOr(ctx, err))
	}
	e.beginLoad()
	if q.cfg.Alone {
		e.warnOfStranded(ctx)
	}
	if err := e.listenForChanges(); err != nil {
		return nil, err
	}
	if err := e.listenForCancels(); err != nil {
		return nil, err
	}
	if err := e.watchConnection(); err != nil {
		return nil, err
	}
	e.startFetching()
	return e, nil
}

// startFetching takes what is in the queue.
func (e *engine) startFetching() {
	events := &feed{consumer: e.lay.runner, in: e.lay, make: e.makeRunner}
	outcomes := &feed{consumer: e.lay.outgoing, in: e.lay, make: e.makeOutgoing}
	if info := events.consumer.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
		e.doubts(events) // it may have been made again just now
	}
	e.fetchers.Go(func() { e.fetch(events, e.q.cfg.Parallel, e.handle) })
	e.fetchers.Go(func() { e.fetch(outcomes, sendParallel, e.deliver) })
	e.fetchers.Go(e.takeOver)
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
	case errors.Is(err, nats.ErrPermissionViolation):
		return errDenied(key(q.cfg.Function), err)
	case errors.Is(err, nats.ErrNoResponders) && q.cfg.Domain == "":
		return fmt.Errorf(
			"%w; the server has no JetStream: enable it, or set GANTRY_NATS_DOMAIN if it is a leaf node of servers that have; if its account imports the queue's subjects, %w",
			err, errMayNot,
		)
	case errors.Is(err, nats.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrJetStreamNotEnabled):
		return fmt.Errorf(
			"%w; enable JetStream there (jetstream: enabled), or use a user of the account that has the queue's streams", err,
		)
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w; no JetStream of the domain %q is reached: look at GANTRY_NATS_DOMAIN", err, q.cfg.Domain)
	case api != nil && (slices.Contains(noRoomCodes, api.ErrorCode) ||
		strings.Contains(api.Description, "insufficient storage")):
		return fmt.Errorf(
			"%w; the streams of all functions reserve GANTRY_ASYNC_SHARD_BYTES (GANTRY_ASYNC_MAX_BYTES without it) twice for each shard, GANTRY_ASYNC_MAX_RECORD_BYTES (three times that without it) once and 64 MiB, times the replicas: lower them, or raise the limits of the account and of the servers (max_file_store)",
			err,
		)
	case api != nil && (api.ErrorCode == noPeers || api.ErrorCode == noReplicas):
		return fmt.Errorf(
			"%w; each of the %d copies (GANTRY_ASYNC_REPLICAS) needs a server of its own with JetStream: start more servers, "+
				"or lower it", err, max(q.cfg.Replicas, 1),
		)
	}
	return err
}

// Codes of JetStream for a stream with more copies than there are servers: in a cluster, and without one.
const (
	noPeers    jetstream.ErrorCode = 10005
	noReplicas jetstream.ErrorCode = 10074
)

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

// New returns a queue that has not connected yet.
func New(cfg *Config) *Queue {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.UserDelay == 0 {
		cfg.UserDelay = userDelay
	}
	if cfg.SeparateQuiet == 0 {
		cfg.SeparateQuiet = separateQuiet
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

// Package async is durable asynchronous invocation: a request is answered once its event is stored, and runs later,
// with retries, until it has an outcome. Records, configurations and events lie in NATS JetStream: in a child process
// of the agent, or in a cluster that several agents share. Only this package, and the child's, know NATS.
package async

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"gantry/async/destination"
	"gantry/fault"
	"gantry/logger"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// MaxEvent is the largest event of an asynchronous call, in bytes (the platform's quotas page).
const MaxEvent = 256 << 10

// Config is what a Queue needs.
type Config struct {
	Function *fncontext.Function
	// Connect returns a new connection; the queue closes it. It is called at the first need, and again after it failed.
	Connect func(ctx context.Context, options ...nats.Option) (*nats.Conn, error)
	// Alone says that no other agent uses the store: it is the child's.
	Alone bool
	// Replicas is the number of copies on a cluster, 1 to 5; 1 in the child.
	Replicas int
	// Domain is the JetStream domain of the servers that keep the queue; empty for that of the server connected to.
	Domain string
	// MaxEvents and MaxBytes bound the queue; beyond them requests are refused.
	MaxEvents, MaxBytes int64
	// MaxRecordBytes bounds the records. 0 means none, and MaxBytes where the servers require a limit.
	MaxRecordBytes int64
	// Parallel is how many requests this agent may have under way or waiting for a slot.
	Parallel int
	// Retention is how long the records of ended requests are kept.
	Retention time.Duration
	// UserDelay is the delay before the second attempt after an error of the function; zero means a minute.
	UserDelay time.Duration
	// Invoke runs one call to its end and returns its result, or its fault. It calls started when the call has a slot,
	// before the handler runs, and waits for it; an error of started ends the call, which then never began.
	Invoke func(inv *fncontext.Invocation, started func() error, event []byte) ([]byte, *fault.Error)
	// Cancel ends a call that runs or waits in this agent; false if there is none with this request id.
	Cancel func(requestID string) bool
	// Folder holds the outcome messages of destinations without an endpoint.
	Folder    string
	Endpoints *destination.Endpoints
	// Sign returns the values of X-Sdk-Date and Authorization for a request without a query.
	Sign func(method, path string, body []byte, access, secret string) (date, authorization string, err error)
	// Credentials are handed to the function; those of callers are never stored.
	Credentials fncontext.Credentials
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	Log *zap.Logger
}

// Queue accepts requests and runs them. Use New. Errors are *fault.Error.
type Queue struct {
	cfg *Config

	mu      sync.Mutex
	open    *engine
	opening chan struct{} // closed when the attempt under way has ended
	lastErr error
	closed  bool

	fetching context.Context
	stop     context.CancelFunc // of fetching
	counts   counts
	causes   *logger.Causes
	tasks    sync.WaitGroup // end with Pause
	underWay sync.Map       // ids of requests that are looked after here

	depths depths
}

// depths is the latest look at the queue.
type depths struct {
	sync.Mutex
	looked time.Time
	events int64
	first  time.Time
}

// engine is an open connection with everything on it.
type engine struct {
	q    *Queue
	conn *nats.Conn
	js   jetstream.JetStream
	// leader reads from the server that leads a stream; js asks any that has a copy.
	leader nats.JetStreamContext
	events jetstream.Stream
	runner jetstream.Consumer
	// outgoing takes outcome messages out of their queue.
	outgoing jetstream.Consumer
	outbox   jetstream.Stream // of outcome messages
	records  jetstream.KeyValue
	configs  jetstream.KeyValue
	// recordLimit is max_bytes of the records, -1 for none; space says how much of it is used.
	recordLimit int64
	space       recordSpace
	prefix      string
	ctx         context.Context
	cancel      context.CancelFunc
	tasks       sync.WaitGroup // watchers and loops
	fetchers    sync.WaitGroup // which start what is under way; they end with Pause
	running     sync.WaitGroup // requests and outcome messages under way
	// sends ends before ctx: a destination that hangs does not hold the stop.
	sends     context.Context
	stopSends context.CancelFunc
	sender    *destination.Sender

	away      atomic.Bool  // no connection: a call of the client may block on its lock
	epoch     atomic.Int64 // of the store
	payload   atomic.Int64 // max_payload as it was seen last
	underWay  *sync.Map    // the queue's
	recursive sync.Map     // ids of calls of this agent that are being cancelled recursively
	sending   sync.Map     // ids of outcome messages being sent to a function, each with a channel closed at its end

	mu      sync.Mutex
	inForce map[string]inForce
	link    context.Context // ends with the connection; there is a new one then
	cut     context.CancelFunc
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
	q.fetching, q.stop = context.WithCancel(context.Background())
	return q
}

// openTimeout bounds one attempt to open the queue: the start of the child, the streams, what is set.
const openTimeout = 30 * time.Second

// Start opens the queue without a request: for what was left in it. An error means that it is tried again at the next
// need.
func (q *Queue) Start(ctx context.Context) error {
	_, err := q.engine(ctx)
	return err
}

// engine returns the open engine, opening it at the first need. All callers share one attempt.
func (q *Queue) engine(ctx context.Context) (*engine, error) {
	q.mu.Lock()
	for q.open == nil {
		if q.closed {
			q.mu.Unlock()
			return nil, unavailable("the instance is stopping", nil)
		}
		if q.opening == nil {
			q.opening = make(chan struct{})
			go q.reopen(q.opening)
		}
		attempt := q.opening
		q.mu.Unlock()
		select {
		case <-attempt:
		case <-ctx.Done():
			return nil, unavailable("the queue is still being opened", ctx.Err())
		}
		q.mu.Lock()
		if q.open == nil {
			err := q.lastErr
			q.mu.Unlock()
			return nil, err
		}
	}
	defer q.mu.Unlock()
	return q.open, nil
}

func (q *Queue) reopen(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	e, err := q.newEngine(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opening = nil
	close(done)
	if err == nil && e.ctx.Err() != nil {
		err = nats.ErrConnectionClosed
	}
	if err != nil {
		q.cfg.Log.Error("the queue cannot be opened", zap.Error(err))
		q.lastErr = unavailable("the queue cannot be opened", err)
		return
	}
	q.open = e
}

// Pauses between tries to open the queue again.
const (
	reopenPause    = time.Second
	maxReopenPause = time.Minute
)

// closedByServers drops an engine whose connection the client has given up: it reconnects after a loss, but not after
// an error from the servers that it does not know. Requests in flight there are redelivered.
func (q *Queue) closedByServers(e *engine, why error) {
	if e.ctx.Err() != nil { // the connection was closed here
		return
	}
	e.cancel()
	q.cfg.Log.Error("the servers closed the connection to the queue; it is opened again", zap.Error(why))
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == e {
		q.open = nil
	}
	if q.closed {
		return
	}
	q.tasks.Go(e.close)
	q.tasks.Go(q.openAgain)
}

// openAgain opens the queue for what is in it, until that works or Pause: there may be no further request.
func (q *Queue) openAgain() {
	for wait := reopenPause; ; wait = min(2*wait, maxReopenPause) {
		if _, err := q.engine(q.fetching); err == nil || q.fetching.Err() != nil {
			return
		}
		pause(q.fetching, wait)
	}
}

// key names what belongs to one function and version on a cluster.
func key(f *fncontext.Function) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Region, f.Project, f.Package, f.Name, f.Version}, "\n")))
	return hex.EncodeToString(sum[:8])
}

func (e *engine) subject(id string) string { return e.prefix + ".event." + id }

const (
	// ackWait is how long a request stays with an agent that says nothing about it.
	ackWait = 30 * time.Second
	// recordGrace keeps records of requests that still wait: no age is longer.
	recordGrace = MaxAge + time.Hour
	// maxMessage leaves room for headers.
	maxMessage = MaxEvent + 64<<10
)

func streamName(prefix string) string { return strings.ReplaceAll(prefix, ".", "_") }

// newID makes a request id: a UUID of version 7, which holds the time of acceptance.
func newID() string { return uuid.Must(uuid.NewV7()).String() } // fails only when the kernel has no random numbers

const flushTimeout = time.Second

// close ends the connection; what was not acknowledged comes again.
func (e *engine) close() {
	if !e.away.Load() {
		_ = e.conn.FlushTimeout(flushTimeout) // what was handed back is not waited for otherwise
	}
	e.cancel()
	e.conn.Close()
	e.fetchers.Wait()
	e.tasks.Wait()
}

// sendGrace is how long outcome messages that are being sent may take once the queue closes. They go back after it.
const sendGrace = time.Second

// Pause stops fetching: nothing new starts. The requests under way go on.
func (q *Queue) Pause() { q.stop() }

// Close waits until the requests under way have been recorded, or ctx ends, and closes the connection. Pause, and the
// end of the calls, come first.
func (q *Queue) Close(ctx context.Context) {
	q.Pause()
	q.mu.Lock()
	q.closed = true
	attempt, e := q.opening, q.open
	q.mu.Unlock()
	if attempt != nil {
		select {
		case <-attempt:
		case <-ctx.Done():
			return
		}
		q.mu.Lock()
		e = q.open
		q.mu.Unlock()
	}
	if e != nil {
		q.drain(ctx, e)
	}
	within(ctx, q.tasks.Wait)
}

// drain waits until what is under way has been recorded, or ctx ends, and closes the connection.
func (q *Queue) drain(ctx context.Context, e *engine) {
	defer time.AfterFunc(sendGrace, e.stopSends).Stop()
	if !within(ctx, func() {
		e.fetchers.Wait()
		e.running.Wait()
	}) {
		q.cfg.Log.Warn("asynchronous requests are left to be run again: they were not recorded in time")
	}
	e.close()
}

// within waits for wait to return; false if ctx ends before.
func within(ctx context.Context, wait func()) bool {
	ended := make(chan struct{})
	go func() {
		wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// depthAge is how long a look at the depth of the queue is good for.
const depthAge = time.Second

// Depth returns the number of events in the queue, those under way included, and the age of the oldest; zeros while the
// queue is not open, and what was seen last while it is disconnected. For metrics.
func (q *Queue) Depth() (events int64, oldest time.Duration) {
	q.mu.Lock()
	e := q.open // Info may take long: do not hold the lock meanwhile
	q.mu.Unlock()
	d, now := &q.depths, q.cfg.Now()
	d.Lock()
	defer d.Unlock()
	if e != nil && !e.away.Load() && now.Sub(d.looked) >= depthAge {
		d.looked = now
		ctx, cancel := context.WithTimeout(e.ctx, depthAge)
		defer cancel()
		if info, err := e.events.Info(ctx); err == nil {
			d.events, d.first = int64(info.State.Msgs), info.State.FirstTime
		} else if e.ctx.Err() == nil {
			q.causes.Warn("the metrics show an older state of the queue: it does not answer", err)
		}
	}
	if d.events == 0 {
		return 0, 0
	}
	return d.events, max(now.Sub(d.first), 0)
}

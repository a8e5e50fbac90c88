package async

import (
	"context"
	"gantry/async/destination"
	fncontext "gantry/context"
	"gantry/fault"
	"gantry/logger"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Config is what a Queue needs.
type Config struct {
	Function *fncontext.Function
	// Connect returns a new connection; the queue closes it. It is called at the first need, and again after it failed.
	Connect func(ctx context.Context, options ...nats.Option) (*nats.Conn, error)
	// Alone says that no other agent uses the store: it is the child's.
	Alone bool
	// Replicas is the number of copies on a cluster, 1 to 5; 1 in the child. Shards is the number of streams of events,
	// 1 to MaxShards, 0 for 1. Both count for the first agent on new servers alone.
	Replicas, Shards int
	// Domain is the JetStream domain of the servers that keep the queue; empty for that of the server connected to.
	Domain string
	// MaxEvents and MaxBytes bound the queue of the function; beyond them requests are refused.
	MaxEvents, MaxBytes int64
	// ShardBytes bounds each stream of events and of outcome messages of all functions on a cluster. 0 means MaxBytes.
	ShardBytes int64
	// MaxRecordBytes bounds the records, on a cluster those of all functions. 0 means none, and on a cluster recordShare
	// times MaxBytes.
	MaxRecordBytes int64
	// Parallel is how many requests this agent may have under way or waiting for a slot.
	Parallel int
	// Retention is how long the records of ended requests are kept.
	Retention time.Duration
	// UserDelay is the delay before the second attempt after an error of the function; zero means a minute.
	UserDelay time.Duration
	// SeparateQuiet is how long no agent of an earlier release may have asked for anything before its streams are closed,
	// and removed once they are empty; zero means 30 s. In the child they are removed at once.
	SeparateQuiet time.Duration
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
	// openEngine is newEngine.
	openEngine func(context.Context) (*engine, error)

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

// engine is an open connection with everything on it: streams and consumers are found once, when it is opened, and
// all of them end with it. So they are fields of one type.
type engine struct {
	q    *Queue
	conn *nats.Conn
	js   jetstream.JetStream
	// leader reads from the server that leads a stream; js asks any that has a copy.
	leader nats.JetStreamContext
	// key names the function on the servers (key), prefix begins the subjects by which its agents ask each other.
	key, prefix string
	// lay is where the function's messages go, old the streams that an earlier release has made for it, if there are
	// any.
	lay              *layout
	shards, replicas int
	old              atomic.Pointer[layout]
	foundSeparate    chan struct{} // gets one when there seem to be new ones
	// confined is set when the servers let this agent ask by subject only: its user may see one function.
	confined atomic.Bool
	asking   sync.Map // *waitingFor
	// refuse ends the opening with a refusal of the servers.
	refuse context.CancelCauseFunc
	// unrecorded is when a record was refused for lack of room, in nanoseconds of the clock; 0 after one that was not.
	unrecorded atomic.Int64
	// consumer is what the function's consumers have in common; volatile says that they lie in the memory of one server.
	consumer      jetstream.ConsumerConfig
	volatile      bool
	load, outLoad load // of events and of outcome messages
	// recordLimit is max_bytes of the records at the last look, -1 for none; space says how much of it is used.
	recordLimit atomic.Int64
	space       recordSpace
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
	sent      sync.Map     // ids of outcome messages that were sent, and could not be removed yet
	sending   sync.Map     // ids of outcome messages being sent to a function, each with a channel closed at its end
	delivers  sync.Map     // ids of outcome messages being sent

	mu    sync.Mutex
	known function        // as it was last seen
	link  context.Context // ends with the connection; there is a new one then
	cut   context.CancelFunc
}

// MaxEvent is the largest event of an asynchronous call, in bytes (the platform's quotas page).
const MaxEvent = 256 << 10

// newID makes a request id: a UUID of version 7, which holds the time of acceptance.
func newID() string { return uuid.Must(uuid.NewV7()).String() } // fails only when the kernel has no random numbers

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

const flushTimeout = time.Second

// recordSpace is the latest look at the stream of records; only one with a limit is looked at.
type recordSpace struct {
	sync.Mutex
	looked   time.Time
	accepted int64 // by this agent when it looked
	records  int64 // bytes
	waiting  int64 // requests in the queue; each will have a record
}

// counts are what happened so far, for the metrics.
type counts struct {
	accepted, refused, started, retried, expired, cancelled, succeeded, failed, delivered, undelivered atomic.Int64
}

// Headers of an event in the queue.
const (
	headerVersion = "Gantry-Version"
	headerAlias   = "Gantry-Alias"
	headerMemory  = "Gantry-Memory"
	headerParent  = "Traceparent"
	headerState   = "Tracestate"
)

const (
	// ackWait is how long a request stays with an agent that says nothing about it.
	ackWait = 30 * time.Second
	// recordGrace keeps records of requests that still wait: no age is longer.
	recordGrace = MaxAge + time.Hour
	// maxMessage leaves room for headers.
	maxMessage = MaxEvent + 64<<10
)

const (
	// fetchWait is how long one fetch waits for messages, fetchHeartbeat how often the server says meanwhile that it
	// knows the fetch: a consumer whose server is down is silent.
	fetchWait      = 20 * time.Second
	fetchHeartbeat = 4 * time.Second
	fetchMost      = 64
	// fetchPause comes after a fetch that failed: the child is being started again, or the cluster has no leader.
	fetchPause = 200 * time.Millisecond
)

// handBack is the least delay: without one the server keeps a returned request only in memory, and after its restart
// would wait for an acknowledgement as before.
const handBack = time.Millisecond

// storeTimeout bounds one write of a record.
const storeTimeout = 10 * time.Second

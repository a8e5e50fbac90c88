package extension

import (
	"gantry/logger"
	"gantry/metrics"
	"gantry/process"
	"gantry/telemetry"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// Config is what a Host needs.
type Config struct {
	Function *fncontext.Function
	// Wait is how long initializer and first call wait for those that were started here.
	Wait time.Duration
	// Required are names without which the function does not start, and takes no calls.
	Required []string
	// Strict refuses names that were not started here.
	Strict bool
	// Restart starts those that end anew, after a while; required ones are always started anew.
	Restart bool
	// Env is the extensions' whole environment.
	Env        []string
	UID, GID   int
	Supervisor *process.Supervisor
	Sink       *logger.Sink
	Log        *zap.Logger
	Metrics    *metrics.Metrics
	// Awaited is set where a command waits for the extensions: they do not yield the processor to the function then.
	Awaited bool
	// Stream gets what happens to extensions; it may be nil.
	Stream *telemetry.Stream
	// Costs is for how many calls, the last ones, it is kept what each extension cost them; 0 for none.
	Costs int
	// Observer gets what happens, ListLeft fills process.Process.Left. Both are for tools.
	Observer Observer
	ListLeft bool
}

// Host owns the seats. Use NewHost. One mutex guards what its fields have in common: names, seats and who is missing.
type Host struct {
	cfg     *Config
	urn     string
	scripts []Script
	apiAddr string

	mu       sync.Mutex
	byName   map[string]*extension
	seats    [Seats]*seat
	taken    atomic.Int32 // seats
	inSync   atomic.Int32 // seats whose answers are waited for
	stopping bool
	stop     chan struct{} // closed with it
	costs    costs
	// required are the names that must be there; missing says how many are not.
	required map[string]bool
	missing  atomic.Int32
	arrived  chan struct{} // closed and replaced when one of them arrives
	// pending are the names that were started and have neither registered nor ended; settled is closed when none is left.
	pending map[string]struct{}
	settled chan struct{}
	waitEnd time.Time
	// registeredAt is when the last extension got its seat.
	registeredAt time.Time

	// outstanding are notifications that are buffered or under way; listener is the telemetry subscriber's place.
	outstanding atomic.Int64
	listener    *listener
	refusals    logger.Limit // of registrations, as telemetry events
	deliveries  sync.WaitGroup
	lives       sync.WaitGroup // of those that were started, and of starts to come
}

// extension is one extension by name: started here, registered, or both.
type extension struct {
	name   string
	proc   *process.Process
	seat   *seat
	output atomic.Int64 // bytes so far
	index  atomic.Int32 // of its seat; -1 without one
}

func newExtension(name string) *extension {
	e := &extension{name: name}
	e.index.Store(-1)
	return e
}

// state publishes a change in an extension's life to the telemetry subscriber.
func (h *Host) state(name, state, detail string) {
	h.cfg.Stream.Publish(
		&telemetry.Event{Kind: telemetry.ExtensionState, Begin: time.Now(), Extension: name, State: state, Detail: detail},
	)
}

// settle records that there is nothing to wait for from this extension any more.
func (h *Host) settle(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settledLocked(name)
}

func (h *Host) settledLocked(name string) {
	delete(h.pending, name)
	h.checkSettled()
}

// checkSettled is called with mu held.
func (h *Host) checkSettled() {
	if len(h.pending) > 0 {
		return
	}
	select {
	case <-h.settled:
	default:
		close(h.settled)
	}
}

// registered counts the taken seats; called with mu held.
func (h *Host) registered() int {
	n := 0
	for _, s := range h.seats {
		if s != nil {
			n++
		}
	}
	return n
}

// Registered returns how many extensions are registered.
func (h *Host) Registered() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.registered()
}

// seat is a registered extension's place and the buffer of its notifications.
type seat struct {
	name    string
	addr    netip.AddrPort
	host    *Host
	lost    func(*seat) // is called once no process listens at the address any more
	client  *fasthttp.HostClient
	url     string
	buffer  chan *notification
	quit    chan struct{}
	running atomic.Int32 // deliverers
	pending atomic.Int32 // notifications that are buffered or under way

	failures     atomic.Int64 // since the last complaint
	complainedAt atomic.Int64
	reached      atomic.Bool
	refused      atomic.Int32 // in a row

	metrics *metrics.Metrics
	index   int
	options
}

// notification is the message to all extensions that one call begins. It is shared, and does not change after it was
// made.
type notification struct {
	requestID   string
	answers     *answers // nil if no extension is in sync mode
	body        []byte
	deadline    []byte
	traceparent string
}

// answers counts those of the extensions in sync mode to one notification.
type answers struct {
	sync.WaitGroup             // answers that are still to come
	missing        atomic.Bool // one extension sent none: it was too slow, closed the connection, or its buffer was full
}

// listener is where telemetry goes; at most one.
type listener struct {
	port  uint16
	owner string // the extension's name, empty if it is not known
	asked subscription
	sub   *telemetry.Subscriber
}

// subscription is the body of POST /telemetry (page functiongraph_06_2712), read and checked. It can be compared.
type subscription struct {
	uri                string // 127.0.0.1, a port, and the path
	types              telemetry.Type
	envelope           bool
	maxItems, maxBytes int
	timeout            time.Duration
}

// Package child is the agent's side of gantry-jetstream: it starts the program at the first need and again after each
// of its ends, keeps its folder to one agent, and gives connections to it. It knows no NATS.
package child

import (
	"context"
	"crypto/rand"
	"errors"
	"gantry/process"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	name = "gantry-jetstream"
	// nice lets synchronous calls go first, as with extensions: an event costs several times as much as a call here.
	nice = 10
	// startLimit is how long one start may take: it reads the index of every stream.
	startLimit = time.Minute
	// endLimit is how long a process may take to end that is not wanted any more.
	endLimit = 5 * time.Second
	// exitLimit is how long after its last answer a process may take to be gone.
	exitLimit = time.Second
	// greetLimit is how long a process that is ready may let a connection wait for its first byte, which needs no
	// disk.
	greetLimit = 30 * time.Second

	firstBackoff = 100 * time.Millisecond // doubled with every end that follows
	maxBackoff   = 5 * time.Second
	healthyAfter = time.Minute // after that long, former ends are forgotten
)

// ErrStopped is what Dial returns after Stop.
var ErrStopped = errors.New(name + " was stopped with the agent")

// Config is what a Child needs.
type Config struct {
	// Program is the path of gantry-jetstream.
	Program string
	// Folder keeps the messages. It is made if it is missing, for the agent's user only; only one agent may use it at a
	// time.
	Folder string
	// MaxBytes bounds all messages together; 0 means three quarters of what the disk has free at the start.
	MaxBytes int64
	// Env is the process's whole environment.
	Env        []string
	Supervisor *process.Supervisor
	// Log gets the process's own lines too, each at its level.
	Log *zap.Logger
}

// Child is the process that keeps the messages, started at the first need and again after each of its ends. Use
// New.
type Child struct {
	cfg      Config
	password string
	greeting time.Duration   // greetLimit, but for tests
	ctx      context.Context // ends with Stop
	cancel   context.CancelFunc
	tasks    sync.WaitGroup

	mu       sync.Mutex
	current  *run          // the newest; it may have ended
	starting *pendingStart // shared by all who wait for it
	stopped  bool
	ends     int       // since it was last healthy
	earliest time.Time // of the next start

	// Only the start in progress uses these, and Stop after it.
	lock   *os.File
	socket string
	own    string // the socket's folder, if it needs one of its own
}

// pendingStart is a start in progress; process and err are readable once done is closed.
type pendingStart struct {
	done    chan struct{}
	process *run
	err     error
}

// New returns a child that is started when it is first needed. The agent calls it once; Stop must follow.
func New(cfg *Config) *Child {
	c := &Child{cfg: *cfg, password: rand.Text(), greeting: greetLimit}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Password is the one of the user "gantry". It is made anew for each Child, and is good for all of its processes.
func (c *Child) Password() string { return c.password }

// run is one run of the program.
type run struct {
	proc    *process.Process
	control *net.UnixConn
	socket  string
	ready   time.Time
	ended   chan struct{} // closed when the process is gone and its end is accounted for
	discard sync.Once

	mu     sync.Mutex
	last   string        // line of stderr
	silent time.Duration // how long connections have waited in vain for their first byte since one got it
}

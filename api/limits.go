package api

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// connectionLimit bounds the connections of one listener; the waiting room bounds the calls. Less memory than
	// connectionMemory for each of them makes it lower, but not lower than minConnections.
	connectionLimit  = 16 << 10
	connectionMemory = 16 << 10
	minConnections   = 1 << 10
	// connectionSlack is what fasthttp may hold above it: connections that are closed and not yet gone.
	connectionSlack = 4 << 10

	// reservedDescriptors are kept for the agent's own work, and reservedPerWorker for the start of each worker.
	reservedDescriptors = 32
	reservedPerWorker   = 16
)

// LimitsConfig is what Limits needs.
type LimitsConfig struct {
	// Workers is the number of worker positions, which need descriptors when a worker is replaced.
	Workers int
	// Body is the memory for the bodies of requests that one listener may take, in bytes, and that for its answers. It
	// is at least twice the largest body. 0 means defaultBody.
	Body int64
	// Connections is the memory that the connections of one listener may take beside bodies and answers, in bytes. 0
	// means any.
	Connections int64
}

// defaultBody is the memory for bodies where nothing else is known, in bytes.
const defaultBody = 256 << 20

// Limits bounds what the listeners of one agent take together. All its listeners share one.
type Limits struct {
	all         *connections
	descriptors descriptors
	body        int64
	connections int // of one listener
	burst       *burst
	spare       spare
}

// NewLimits makes the limits of one agent.
func NewLimits(cfg LimitsConfig) *Limits {
	if cfg.Body <= 0 {
		cfg.Body = defaultBody
	}
	connections := int64(connectionLimit)
	if cfg.Connections > 0 {
		connections = max(minConnections, min(connections, cfg.Connections/connectionMemory))
	}
	l := &Limits{
		all:         newConnections(),
		body:        cfg.Body,
		connections: int(connections),
		descriptors: descriptors{
			reserve: reservedDescriptors + reservedPerWorker*max(cfg.Workers, 1),
			limit:   openFiles,
			count:   countDescriptors,
		},
	}
	l.burst = newBurst(l.spare.drop)
	return l
}

// buffer returns an empty buffer of at least n bytes.
func (l *Limits) buffer(n int) []byte {
	if n > commonBody {
		if b := l.spare.take(n); b != nil {
			return b
		}
	}
	return takeBuffer(n)
}

// recycle takes a buffer back.
func (l *Limits) recycle(b []byte) {
	if cap(b) > commonBody {
		l.spare.put(b)
		return
	}
	returnBuffer(b)
}

// or returns l, or limits of its own for a listener that shares none.
func (l *Limits) or() *Limits {
	if l == nil {
		return NewLimits(LimitsConfig{})
	}
	return l
}

// want says what a new connection lacks.
type want int

const (
	wantNothing     want = iota
	wantConnection       // the listener has as many connections as it may have
	wantDescriptor       // what is left is kept for the agent's own work
	wantDescriptors      // half of what is kept is used up as well
)

// descriptors tracks how many descriptors of the process are left. Connections are counted exactly; other open files
// are counted now and then, and only while that matters.
type descriptors struct {
	// reserve is kept for what is no connection, above all for the start of workers.
	reserve int
	limit   func() int
	count   func() (int, error)

	mu     sync.Mutex
	others int // descriptors that are no connections, at the last count
	next   time.Time
}

const (
	countPause = 50 * time.Millisecond
	// countShare bounds the time that counting takes: one part in so many.
	countShare = 20
)

// lack says whether a new connection, with which there are so many, takes what is reserved.
func (d *descriptors) lack(connections int, now time.Time) want {
	limit := d.limit()
	d.mu.Lock()
	defer d.mu.Unlock()
	if connections+d.others < limit/2-d.reserve && !d.next.IsZero() { // what else is open does not double at once
		return wantNothing
	}
	if !now.Before(d.next) {
		n, err := d.count()
		if err != nil { // there was no descriptor left to count with
			return wantDescriptors
		}
		d.others = max(n-connections, 0)
		d.next = now.Add(max(countPause, countShare*time.Since(now)))
	}
	free := limit - d.others
	reserve := min(d.reserve, free/4)
	switch {
	case connections > free-reserve/2:
		return wantDescriptors
	case connections > free-reserve:
		return wantDescriptor
	}
	return wantNothing
}

// openFiles is the limit of descriptors in force, which others can change.
func openFiles() int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur > 1<<30 {
		return 1 << 30
	}
	return int(files.Cur)
}

// countDescriptors counts the open descriptors of this process, the one that it takes to do so included.
func countDescriptors() (int, error) {
	f, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return len(names), err
}

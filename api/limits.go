package api

import (
	"time"
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

// lack says what one more connection of ln lacks.
func (l *Limits) lack(ln *listener) want {
	total, own := l.all.counts(ln)
	if total > burstConnections {
		l.burst.sign()
	}
	if w := l.descriptors.lack(total, time.Now()); w != wantNothing {
		return w
	}
	if own > l.connections {
		return wantConnection
	}
	return wantNothing
}

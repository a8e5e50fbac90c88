package api

import (
	"crypto/tls"
	"hash"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// The types of this file refer to each other. Each of the things that they do has a file of its own.

// connection is one accepted connection of a listener. It keeps the data that decides which connections go when
// descriptors or memory run out. Its fields stay in one type: every byte that is read or written looks at most of them.
type connection struct {
	net.Conn
	// bytes reads and writes what Conn does.
	bytes    io.ReadWriter
	tcp      *net.TCPConn
	listener *listener

	stage stage32
	since atomic.Int64 // unix nanoseconds of the change to this stage
	// served is set once a request was answered.
	served atomic.Bool
	closed atomic.Bool
	// listed is the place among the connections that were never served; guarded by the mutex of connections.
	listed bool
	older  *connection
	newer  *connection

	// short says that it was given up for memory, not for descriptors.
	short atomic.Bool
	// linger says that the other side may still be sending when the connection is closed after an answer.
	linger atomic.Bool
	// kept says that fasthttp is to leave the connection open, as it was given away: see given.
	kept atomic.Bool
	// whenClosed is called once the connection is closed; nil for nothing to do.
	whenClosed atomic.Pointer[func()]

	// What follows belongs to the goroutine that serves the connection.
	readBy    deadline
	writeBy   deadline
	head      head
	early     int                   // bytes that arrived before the request could be looked at
	headShare atomic.Pointer[share] // of a long header
	arrived   bool                  // the header is there
	wide      bool                  // a body goes to a buffer of its own
	reception *reception
	screening bool // the request is looked at for Expect: 100-continue
	wanted    bool // and its body is wanted
	scant     bool // hardly anything of the body was read
	muted     bool // the next line that fasthttp writes is a 100 that the client did not ask for
	held      []byte
	// over says that the connection has ended, as far as it was read.
	over bool
	// spent says that the body was seen to by what streams it; onlyBuffered that what a reader in front holds is wanted,
	// and no more.
	spent, onlyBuffered bool
}

// deadline is one of a socket's two.
type deadline struct {
	wanted time.Time // zero for none
	set    time.Time // what the socket has
}

// reception is one body on its way in.
type reception struct {
	conn        *connection
	stream      io.Reader
	size, limit int // size is -1 if it was not announced
	sum         hash.Hash
	buf         []byte
	share       *share // nil as long as the body fits into the first buffer
	held        int64  // what the share has for the buffer
}

// listener accepts connections as long as it is open, also while there are no descriptors or no memory for them.
type listener struct {
	*net.TCPListener
	accept func() (*net.TCPConn, error)
	name   string
	secure *tls.Config // nil for plain HTTP
	all    *connections
	limits allowance
	// refuse writes the answer for a connection that there is no room for.
	refuse refuser
	log    *zap.Logger
	// bodies and answers bound the memory of what arrives and of what leaves.
	bodies, answers *budget
	count           int // of open connections; guarded by the mutex of all

	closing  chan struct{}
	close    sync.Once
	refusing atomic.Int32
	remarks  remarks
	plain    remarks
}

// allowance is what a listener asks of the Limits that it shares with others.
type allowance interface {
	lack(l *listener) want
	buffer(n int) []byte
	recycle(b []byte)
}

// connections are the open connections of all listeners of an agent. It chooses the one that is closed when there are
// no descriptors for another.
type connections struct {
	mu   sync.Mutex
	open map[*connection]struct{}
	// oldest and newest are the ends of the list of connections that were never served, in order of their coming.
	oldest, newest *connection
	// idle is a stock of connections for eviction, the longest idle last. It is made anew when it is used up.
	idle []idleConnection
}

type idleConnection struct {
	*connection
	since int64
}

// secureConnection is a connection with TLS. fasthttp knows one by its methods.
type secureConnection struct {
	*connection
	tls *tls.Conn
}

// connectionOf returns the connection that fasthttp knows as conn; nil for one that no listener of ours accepted.
func connectionOf(conn net.Conn) *connection {
	switch c := conn.(type) {
	case *connection:
		return c
	case *secureConnection:
		return c.connection
	}
	return nil
}

// enter changes the stage; false if the connection was given up meanwhile.
func (c *connection) enter(to stage) bool {
	for {
		from := c.stage.load()
		if from == stageEvicted {
			return false
		}
		if c.stage.change(from, to) {
			c.since.Store(time.Now().UnixNano())
			return true
		}
	}
}

// evicted reports whether the connection was given up.
func (c *connection) evicted() bool { return c.stage.load() == stageEvicted }

// SyscallConn gives access to the socket.
func (c *connection) SyscallConn() (syscall.RawConn, error) { return c.tcp.SyscallConn() }

package api

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchAfter is how long an answer may take before it is looked whether its caller is still there: most need no watch.
const watchAfter = 50 * time.Millisecond

// leave notices that a caller closes its connection, or its side of it, while it waits for its answer.
type leave struct {
	c    *connection
	left chan struct{} // closed when the caller has left
	done chan struct{} // closed when the watch has ended

	mu               sync.Mutex
	timer            *time.Timer // nil before the watch
	started, stopped bool
}

// watch begins the watch, once nothing else reads from the connection.
func (l *leave) watch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stopped && l.timer == nil {
		l.timer = time.AfterFunc(watchAfter, l.run)
	}
}

func (l *leave) run() {
	raw, err := l.c.tcp.SyscallConn()
	if err != nil || !l.begin() {
		return
	}
	defer close(l.done)
	gone := false
	one := make([]byte, 1)
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), one, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
			return false
		case err != nil, n == 0:
			gone = true
		}
		return true // also with the next request, behind which its end cannot be seen
	})
	if err == nil && gone {
		close(l.left)
	}
}

// begin takes the deadline off the socket; false if the watch was stopped before.
func (l *leave) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || l.c.tcp.SetReadDeadline(time.Time{}) != nil {
		return false
	}
	l.started = true
	return true
}

// stop ends the watch, and returns when nothing of it reads any more.
func (l *leave) stop() {
	l.mu.Lock()
	again := l.stopped
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
	started := l.started
	l.mu.Unlock()
	if !started || again {
		return
	}
	_ = l.c.tcp.SetReadDeadline(past) // an error says that it is closed already
	<-l.done
	l.c.readBy = deadline{past, past} // the next read sets its own
}

package runtime

import (
	"encoding/binary"
	"gantry/function/frame"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// takeBack takes the calls back that the worker has not begun to read; each is answered as unsent. With forGood no
// more are taken. What the worker has begun to read stays, and the call at the head of the stream.
func (f *ahead) takeBack(forGood bool) {
	f.mu.Lock()
	f.closed = f.closed || forGood
	idle := len(f.written) == 0
	f.mu.Unlock()
	if idle {
		return
	}
	f.events.lock <- struct{}{} // no write waits for the worker while calls are written ahead
	defer func() { <-f.events.lock }()
	f.takeBackLocked()
}

// takeBackLocked is takeBack with the right to write.
func (f *ahead) takeBackLocked() {
	w := f.events
	w.mu.Lock()
	defer w.mu.Unlock()
	f.turn.Lock() // no call begins meanwhile
	defer f.turn.Unlock()
	f.mu.Lock()
	waiting := f.written
	f.mu.Unlock()
	kept := len(waiting)
	for kept > 0 && w.batch.drop(waiting[kept-1].id) { // it has not been written
		kept--
	}
	if kept > 0 && !w.broken {
		unread, begun := unreadOf(waiting[:kept], f.steal())
		kept -= unread
		if len(begun) > 0 { // there is room: nothing was written since
			if _, err := w.write(time.Now().Add(aheadWrite), begun); err != nil {
				f.worker.cfg.Log.Error("the worker's calls are broken off: one cannot be written back", zap.Error(err))
			}
		}
	}
	f.release(waiting[kept:])
}

// unreadOf compares what was found in the socket with the calls that were written, of which the last one is at its end.
// It returns how many of them the worker has read nothing of, and what belongs to those before.
func unreadOf(written []*call, found []byte) (unread int, begun []byte) {
	left := len(found)
	for i := len(written) - 1; i >= 0 && left >= written[i].size; i-- {
		left -= written[i].size
		unread++
	}
	return unread, found[:left]
}

// release answers written calls as unsent; called with turn held.
func (f *ahead) release(taken []*call) {
	f.mu.Lock()
	f.written = slices.DeleteFunc(slices.Clone(f.written), func(c *call) bool {
		return slices.Contains(taken, c)
	})
	f.mu.Unlock()
	giveBack(taken)
}

func giveBack(taken []*call) {
	for _, c := range taken {
		c.back()
	}
	for _, c := range taken {
		if len(c.done) == 0 { // else its caller has not looked since the last time
			c.done <- reply{taken: true}
		}
	}
}

// steal reads what the worker has not read.
func (f *ahead) steal() (found []byte) {
	raw, err := f.end.SyscallConn()
	if err != nil {
		return nil // closed
	}
	buf := make([]byte, 32<<10)
	_ = raw.Control(func(fd uintptr) { // an error says that it is closed
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n <= 0 {
				return
			}
			found = append(found, buf[:n]...)
		}
	})
	return found
}

// lost ends the wait of calls that could not be written; see calls.unsent.
func (f *ahead) lost(ids []uint32, except uint32) {
	f.turn.Lock()
	f.mu.Lock()
	var taken []*call
	for _, c := range f.written {
		if slices.Contains(ids, c.id) {
			taken = append(taken, c)
		}
	}
	f.mu.Unlock()
	if len(taken) > 0 {
		f.worker.endsAhead() // it does not read
	}
	f.release(taken)
	f.turn.Unlock()
	f.unsent(ids, except)
	if len(taken) > 0 {
		f.worker.Retire()
	}
}

// noMore has writes fail from now on: the process has ended, and the agent still holds its end of the socket.
func (f *ahead) noMore() {
	if f.end == nil {
		return
	}
	if raw, err := f.end.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) }) // what is there stays
	}
}

// endAhead answers the calls that a worker has not begun that has ended. Of those written ahead it is none: the answer
// to the one before would have been read. The one before them has not begun if all of it is still in the socket.
func (f *ahead) endAhead() {
	if f.end == nil {
		return
	}
	f.turn.Lock()
	defer f.turn.Unlock()
	f.mu.Lock()
	f.closed = true
	waiting := f.written
	f.mu.Unlock()
	if id, whole := firstCall(f.steal()); whole {
		f.unsent([]uint32{id}, 0)
	}
	f.release(waiting)
}

// firstCall returns the id of the call whose frame b begins with. What is left of a frame whose header was read begins
// with its meta, which no length does.
func firstCall(b []byte) (id uint32, whole bool) {
	if len(b) < frame.HeaderSize || frame.Type(b[4]) != frame.Invoke {
		return 0, false
	}
	if uint64(len(b)) < 4+uint64(binary.BigEndian.Uint32(b)) {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[5:]), true
}

// quit sends Cancel.
func (f *ahead) quit(id uint32) {
	f.worker.endsAhead()
	f.takeBack(true) // the worker may come back, and would begin what is behind
	if err := f.events.cancel(id); err != nil {
		f.worker.cfg.Log.Debug("worker takes no Cancel", zap.Error(err))
	}
}

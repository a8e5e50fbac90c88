package async

import (
	"context"
	"errors"
	"gantry/fault"
	"sync"
	"sync/atomic"
	"time"
)

// load is how much of one stream's room the function takes. The servers bound the shards, which functions share; what
// one function may have is counted here, from the servers' count of the last second and what this agent did since. What
// other agents added in that second is not in it.
type load struct {
	// most and mostBytes are the limits, 0 for none.
	most, mostBytes int64
	// count asks the servers for the messages; unknown gets its errors.
	count   func(context.Context) (int64, error)
	unknown func(error)
	now     func() time.Time
	// taken counts messages that this agent stored, or is about to, and removed those that it took out.
	taken, removed atomic.Int64

	sync.Mutex
	looked      time.Time
	messages    int64 // in the stream when it looked
	takenThen   int64
	removedThen int64
	mean        float64 // bytes of a message, of those this agent stored
}

const (
	// freshLook is how old the servers' count may be when a message is refused for it.
	freshLook = 100 * time.Millisecond
	// messageOverhead is about what a stored message has beside its body: subject, headers, the store's own.
	messageOverhead = 180
	// meanOf is over about how many messages the mean size goes.
	meanOf = 64
)

// reserve takes room for one message of size bytes, and reports whether there is any. unreserve gives it back if the
// message was not stored.
func (l *load) reserve(ctx context.Context, size int) bool {
	l.Lock()
	defer l.Unlock()
	l.taken.Add(1)
	bytes := float64(size + messageOverhead)
	if l.mean == 0 {
		l.mean = bytes
	}
	l.mean += (bytes - l.mean) / meanOf
	if age := l.now().Sub(l.looked); age >= l.lastsFor() || age >= freshLook && !l.fits(1) {
		l.look(ctx)
	}
	if l.fits(1) {
		return true
	}
	l.taken.Add(-1)
	return false
}

func (l *load) unreserve() { l.taken.Add(-1) }

// fits reports whether so many times the messages are within the limits, the one that asks included.
func (l *load) fits(times int64) bool {
	n := times * (l.messages + l.taken.Load() - l.takenThen - (l.removed.Load() - l.removedThen))
	return (l.most == 0 || n <= l.most) && (l.mostBytes == 0 || float64(n)*l.mean <= float64(l.mostBytes))
}

// lastsFor is how long a look is good for: longer while most of the room is free.
func (l *load) lastsFor() time.Duration {
	if l.most >= manyMessages && (l.mostBytes == 0 || l.mostBytes >= manyBytes) && l.fits(2) {
		return calmDepthAge
	}
	return depthAge
}

// begin sets what a look would find.
func (l *load) begin(messages int64) {
	l.Lock()
	defer l.Unlock()
	l.looked, l.messages = l.now(), messages
}

// look asks the servers; called with the lock held, and one message more in taken.
func (l *load) look(ctx context.Context) {
	l.looked = l.now()
	ctx, cancel := context.WithTimeout(ctx, depthAge)
	defer cancel()
	taken, removed := l.taken.Load()-1, l.removed.Load()
	n, err := l.count(ctx)
	if err != nil { // the write of the message reports it if the servers are away
		l.unknown(err)
		l.looked = l.now().Add(lookPause)
		return
	}
	l.messages, l.takenThen, l.removedThen = n, taken, removed
}

const (
	// depthAge is how long a look at the depth of the queue is good for.
	depthAge = time.Second
	// calmDepthAge is that while at most half of the room is taken, if the limits are manyMessages and manyBytes or
	// more: no agents fill the other half of such a queue meanwhile.
	calmDepthAge = 10 * time.Second
	// lookPause comes, on top, after a look that failed: all that are to be stored wait for each.
	lookPause    = 4 * time.Second
	manyMessages = 100_000
	manyBytes    = 64 << 20
)

// queueFull refuses an event for which there is no room.
func queueFull(err error) *fault.Error {
	return throttled("too many requests: the queue is full (GANTRY_ASYNC_MAX_EVENTS, GANTRY_ASYNC_MAX_BYTES)", err)
}

func throttled(message string, err error) *fault.Error {
	return &fault.Error{
		Kind: fault.Throttled, Type: fault.TypeThrottled, Code: fault.CodeMaxInstances, Message: message, Err: err,
	}
}

// errOutboxFull says that the function's outcome messages have as many bytes as they may have.
var errOutboxFull = errors.New("the outcome messages of this function take all the room that they may have " +
	"(GANTRY_ASYNC_MAX_BYTES)")

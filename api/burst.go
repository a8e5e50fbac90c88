package api

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// burstBytes is how much memory a listener takes before the agent hands memory back to the system.
	burstBytes = 4 << 20
	// burstConnections open connections are a burst, too.
	burstConnections = 512
	// burstQuiet is how long nothing of the kind must have happened before memory is handed back.
	burstQuiet = 2 * time.Second
	// burstRounds is how often that is done after a burst: buffers leave their pools, and goroutines their stacks, only
	// slowly.
	burstRounds = 4
	burstPause  = 6 * time.Second
)

// burst returns memory to the system when a burst is over. Go itself does so only after minutes, in which the function
// lacks the memory.
type burst struct {
	taken   atomic.Int64 // bytes since the last return
	last    atomic.Int64 // unix nanoseconds of the last sign of a burst
	pending atomic.Bool
	free    func()
}

// newBurst makes one; drop lets go of what is kept for use again.
func newBurst(drop func()) *burst {
	return &burst{free: func() {
		drop()
		freeMemory()
	}}
}

func freeMemory() {
	runtime.GC() // pools keep what they have for one collection
	debug.FreeOSMemory()
}

// note counts memory that is taken.
func (b *burst) note(n int64) {
	if b.taken.Add(n) >= burstBytes {
		b.sign()
	}
}

// sign says that there is a burst.
func (b *burst) sign() {
	b.last.Store(time.Now().UnixNano())
	if !b.pending.Swap(true) {
		time.AfterFunc(burstQuiet, func() { b.settle(burstRounds) })
	}
}

// settle hands memory back if there was no sign of a burst lately, else it looks again later.
func (b *burst) settle(rounds int) {
	quiet := time.Since(time.Unix(0, b.last.Load()))
	switch {
	case quiet < burstQuiet:
		time.AfterFunc(burstQuiet, func() { b.settle(burstRounds) })
	case rounds == 0:
		b.pending.Store(false)
	default:
		b.taken.Store(0)
		b.free()
		time.AfterFunc(burstPause, func() { b.settle(rounds - 1) })
	}
}

package api

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// slowRate is the rate below which a body loses its share when others wait for memory, in bytes a second.
	slowRate = 16 << 10
	// stallTime without a byte makes a body slow, whatever came before.
	stallTime = 500 * time.Millisecond
	// pressedStall takes its place when the memory in use is twice the limit. Only answers can get so far: they exist
	// before they are counted.
	pressedStall = 100 * time.Millisecond
	// rateTime is the least time that a rate is taken over.
	rateTime = time.Second
	// budgetWait is how long a body waits for memory before it is refused.
	budgetWait = 10 * time.Second
	// budgetRoom bounds the bodies that wait; a new one replaces the one that has waited longest, which is refused.
	budgetRoom = 128
	// budgetLook is how often to check whether other bodies have become slow meanwhile.
	budgetLook = 100 * time.Millisecond
)

// budget bounds the memory for one direction of one listener: for the bodies that arrive, or for the answers that
// leave. It counts bytes that exist, not announced sizes. When it is used up, bodies that are slower than slowRate lose
// their shares; the others wait.
type budget struct {
	limit int64
	// reserve is kept for one body, the leader, so that bodies that wait for each other come to an end.
	reserve int64
	burst   *burst

	mu     sync.Mutex
	used   atomic.Int64 // changed with mu held
	shares map[*share]struct{}
	// waiting holds the waiting shares, the latest last. The latest is served first: under a flood the others are stale
	// already.
	waiting []*share
	leader  *share
	looked  int64 // unix nanoseconds of the last search for slow ones
}

// evictable is a connection, which can be given up while it waits.
type evictable interface{ evicted() bool }

// share is what one connection has of a budget.
type share struct {
	of   *budget
	conn evictable
	// drop gives the connection up; false if it is too late for that.
	drop func() bool
	// What follows is guarded by the budget's mutex.
	bytes      int64
	dropped    bool
	next, full int64         // what is waited for, and what would be enough for the whole body
	granted    chan struct{} // closed when it is there

	// moving is set while bytes are expected from the other side, or taken by it.
	moving atomic.Bool
	began  atomic.Int64 // unix nanoseconds of the last grant
	moved  atomic.Int64 // bytes since then
	last   atomic.Int64 // unix nanoseconds of the last byte
}

func newBudget(limit, largest int64, burst *burst) *budget {
	return &budget{limit: max(limit, 2*largest), reserve: largest, burst: burst, shares: map[*share]struct{}{}}
}

// open makes an empty share for a connection; drop gives that up.
func (b *budget) open(c evictable, drop func() bool) *share {
	s := &share{of: b, conn: c, drop: drop}
	s.start()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shares[s] = struct{}{}
	return s
}

func (s *share) start() {
	now := time.Now().UnixNano()
	s.began.Store(now)
	s.last.Store(now)
	s.moved.Store(0)
	s.moving.Store(true)
}

// progress notes bytes that came or went.
func (s *share) progress(n int) {
	s.moved.Add(int64(n))
	s.last.Store(time.Now().UnixNano())
}

// slow reports whether the other side is slower than slowRate, or has not moved a byte for so long.
func (s *share) slow(now int64, stall time.Duration) bool {
	took := now - s.began.Load()
	return s.moving.Load() && (now-s.last.Load() >= int64(stall) ||
		took >= int64(rateTime) && s.moved.Load() < slowRate*took/int64(time.Second))
}

// count adds bytes that are in memory already, whatever the limit is.
func (s *share) count(n int64) {
	b := s.of
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(s, n)
	b.displace()
}

// room waits until there is memory for another answer; false if there was none for longer than budgetWait.
func (b *budget) room() bool {
	for waited := time.Duration(0); b.used.Load() > b.limit; waited += budgetLook {
		if waited >= budgetWait {
			return false
		}
		time.Sleep(budgetLook)
		b.mu.Lock()
		b.displace()
		b.mu.Unlock()
	}
	return true
}

// grow takes memory for a buffer: next bytes, or full, which is enough for the whole body, if there is plenty. A small
// body never waits. It returns the bytes granted; 0 if there were none for longer than budgetWait, or the connection
// was evicted.
func (s *share) grow(next, full int64, small bool) int64 {
	b := s.of
	b.mu.Lock()
	n := b.fits(s, next, full, small)
	if n > 0 || small {
		b.add(s, n)
		b.displace()
		b.mu.Unlock()
		return n
	}
	s.next, s.full, s.granted = next, full, make(chan struct{})
	s.moving.Store(false)
	b.waiting = append(b.waiting, s)
	if len(b.waiting) > budgetRoom {
		b.grant(0, 0)
	}
	b.serve()
	b.displace()
	b.mu.Unlock()
	return s.wait()
}

// wait waits until memory is granted.
func (s *share) wait() int64 {
	limit := time.NewTimer(budgetWait)
	defer limit.Stop()
	look := time.NewTicker(budgetLook)
	defer look.Stop()
	for {
		select {
		case <-s.granted:
			s.start()
			return s.next
		case <-limit.C:
			if s.leave() {
				return 0
			}
		case <-look.C:
			if s.conn.evicted() && s.leave() {
				return 0
			}
			s.of.mu.Lock()
			s.of.displace()
			s.of.mu.Unlock()
		}
	}
}

// give hands memory back, all of it with a negative n.
func (s *share) give(n int64) {
	b := s.of
	b.mu.Lock()
	defer b.mu.Unlock()
	if n < 0 {
		n = s.bytes
		delete(b.shares, s)
		if b.leader == s {
			b.leader = nil
		}
	}
	b.add(s, -n)
	b.serve()
}

func (b *budget) add(s *share, n int64) {
	s.bytes += n
	b.used.Add(n)
	if n > 0 {
		b.burst.note(n)
	}
}

// fits returns how much of what is wanted is there: full, next, or nothing.
func (b *budget) fits(s *share, next, full int64, small bool) int64 {
	used, free := b.used.Load(), b.limit-b.reserve
	switch {
	case small && used+next <= b.limit+b.limit/2:
		return next
	case small:
		return 0
	case s == b.leader && used-s.bytes+full <= b.limit:
		return full
	case len(b.waiting) > 0 && b.waiting[len(b.waiting)-1] != s:
		return 0
	case used+full <= free/2:
		return full
	case used+next <= free:
		return next
	}
	return 0
}

// leave takes s out of those that wait; false if it has been granted meanwhile.
func (s *share) leave() bool {
	b := s.of
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, s)
	if i < 0 {
		return false
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	return true
}

// serve grants free memory to the waiting shares.
func (b *budget) serve() {
	for len(b.waiting) > 0 {
		s := b.waiting[len(b.waiting)-1]
		if b.leader == nil {
			b.leader = s
		}
		n := b.fits(s, s.next, s.full, false)
		if n == 0 {
			return
		}
		b.grant(len(b.waiting)-1, n)
	}
}

// grant ends the wait of one share with n bytes; none is a refusal.
func (b *budget) grant(i int, n int64) {
	s := b.waiting[i]
	b.waiting = slices.Delete(b.waiting, i, i+1)
	s.next = n
	b.add(s, n)
	close(s.granted)
}

// displace gives slow connections up while there is less memory than is wanted.
func (b *budget) displace() {
	now := time.Now().UnixNano()
	if b.used.Load() <= b.limit && len(b.waiting) == 0 || now-b.looked < int64(budgetLook)/4 {
		return
	}
	b.looked = now
	lacking := b.used.Load() - b.limit
	if len(b.waiting) > 0 {
		lacking += b.reserve
	}
	for _, s := range b.waiting {
		lacking += s.next
	}
	if lacking <= 0 {
		return
	}
	for s := range b.shares {
		if s.dropped {
			lacking -= s.bytes
		}
	}
	stall := stallTime
	if b.used.Load() > 2*b.limit {
		stall = pressedStall
	}
	for s := range b.shares {
		if lacking <= 0 {
			return
		}
		if s.bytes > 0 && !s.dropped && s.slow(now, stall) {
			if s.dropped = s.drop(); s.dropped {
				lacking -= s.bytes
			}
		}
	}
}

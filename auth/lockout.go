package auth

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// The platform locks an access key for five minutes after more than five bad signatures in a row (its gateway's error
// table). Here the lock is for key and peer together, so that no caller locks another one out.
const (
	maxFailures = 5
	lockTime    = 5 * time.Minute
	// maxPeerFailures is how many wrong logins one peer may make in lockTime, whatever names it tries.
	maxPeerFailures = 100
	// maxRecords bounds one table; the record touched longest ago goes first. A record has recordBytes at most,
	// whatever was sent, so a table stays below 2 MiB.
	maxRecords  = 8192
	recordBytes = 256
)

// lockout counts failures by what failed and the peer it came from. Its memory is bounded in bytes.
type lockout struct {
	now  func() time.Time
	seed maphash.Seed
	// limit is how many failures are free; one more locks for lockTime.
	limit int
	// windowed counts the failures of one lockTime, where otherwise those in a row count.
	windowed bool

	mu      sync.Mutex
	records map[who]*list.Element
	recent  *list.List // of *record, latest first
}

// who is a name and a peer. The name is hashed: callers choose its length.
type who struct {
	name uint64
	peer netip.Addr
}

type record struct {
	who
	failures    int
	first, last time.Time
}

// newLockout counts failures in a row.
func newLockout(now func() time.Time) *lockout {
	return &lockout{
		now:     now,
		seed:    maphash.MakeSeed(),
		limit:   maxFailures,
		records: map[who]*list.Element{},
		recent:  list.New(),
	}
}

// newPeerLockout counts the failures of a peer in lockTime; a success forgets none of them.
func newPeerLockout(now func() time.Time) *lockout {
	l := newLockout(now)
	l.limit, l.windowed = maxPeerFailures, true
	return l
}

// peerOf takes a whole /64 for one IPv6 peer: one machine may have all of it.
func peerOf(peer netip.Addr) netip.Addr {
	peer = peer.Unmap().WithZone("")
	if peer.Is6() {
		if p, err := peer.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return peer
}

func (l *lockout) who(name string, peer netip.Addr) who {
	return who{maphash.String(l.seed, name), peerOf(peer)}
}

// locked reports whether name is locked for peer.
func (l *lockout) locked(name string, peer netip.Addr) bool {
	w := l.who(name, peer)
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.find(w)
	return r != nil && r.failures > l.limit
}

// find forgets what is over; called with mu held.
func (l *lockout) find(w who) *record {
	if len(l.records) == 0 {
		return nil
	}
	now := l.now()
	for e := l.recent.Back(); e != nil && l.over(e.Value.(*record), now); e = l.recent.Back() {
		l.remove(e)
	}
	e := l.records[w]
	if e == nil {
		return nil
	}
	if r := e.Value.(*record); !l.over(r, now) {
		return r
	}
	l.remove(e)
	return nil
}

// over reports whether a record no longer counts.
func (l *lockout) over(r *record, now time.Time) bool {
	if l.windowed && r.failures <= l.limit {
		return now.Sub(r.first) >= lockTime
	}
	return now.Sub(r.last) >= lockTime
}

func (l *lockout) remove(e *list.Element) {
	delete(l.records, e.Value.(*record).who)
	l.recent.Remove(e)
	if len(l.records) == 0 {
		l.records = map[who]*list.Element{} // a map keeps the memory of its largest size
	}
}

// failed counts a failure.
func (l *lockout) failed(name string, peer netip.Addr) {
	w := l.who(name, peer)
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.find(w)
	if r == nil {
		r = &record{who: w, first: l.now()}
		l.records[w] = l.recent.PushFront(r)
	}
	r.failures++
	r.last = l.now()
	l.recent.MoveToFront(l.records[w])
	if l.recent.Len() > maxRecords {
		l.remove(l.recent.Back())
	}
}

// succeeded forgets the failures.
func (l *lockout) succeeded(name string, peer netip.Addr) {
	w := l.who(name, peer)
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.records[w]; e != nil {
		l.remove(e)
	}
}

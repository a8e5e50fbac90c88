package auth

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// The platform locks an access key for five minutes after more than five bad signatures in a row (its gateway's error
// table). Here the lock is for key and peer together, so that nobody locks somebody else out.
const (
	maxFailures = 5
	lockTime    = 5 * time.Minute
	// maxRecords bounds the memory; the record touched longest ago goes first.
	maxRecords = 8192
)

// lockout counts failures in a row by name and peer.
type lockout struct {
	now     func() time.Time
	mu      sync.Mutex
	records map[who]*list.Element
	recent  *list.List // of *record, latest first
}

type who struct {
	name string
	peer netip.Addr
}

type record struct {
	who
	failures int
	last     time.Time
}

func newLockout(now func() time.Time) *lockout {
	return &lockout{now: now, records: map[who]*list.Element{}, recent: list.New()}
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

// locked reports whether name is locked for peer.
func (l *lockout) locked(name string, peer netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.find(who{name, peerOf(peer)})
	return r != nil && r.failures > maxFailures
}

// find forgets a record that is over; called with mu held.
func (l *lockout) find(w who) *record {
	e := l.records[w]
	if e == nil {
		return nil
	}
	r := e.Value.(*record)
	if l.now().Sub(r.last) >= lockTime {
		l.remove(e)
		return nil
	}
	return r
}

func (l *lockout) remove(e *list.Element) {
	delete(l.records, e.Value.(*record).who)
	l.recent.Remove(e)
}

// failed counts a failure.
func (l *lockout) failed(name string, peer netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := who{name, peerOf(peer)}
	r := l.find(w)
	if r == nil {
		r = &record{who: w}
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
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.records[who{name, peerOf(peer)}]; e != nil {
		l.remove(e)
	}
}

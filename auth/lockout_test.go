package auth

import (
	"encoding/binary"
	"fmt"
	"gantry/fault"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// peerNumber is one of many peers.
func peerNumber(n int) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+uint32(n))))
}

// stranger logs in with a name that no user has.
func stranger(name string, peer netip.Addr) func(*Login) {
	return func(l *Login) { l.User, l.Password, l.Peer = Named{Name: name}, "wrong password", peer }
}

func TestLockoutIsBounded(t *testing.T) {
	c := &clock{now: time.Unix(1e9, 0)}
	l := newLockout(c.Now)
	for n := range 2 * maxRecords {
		l.failed(fmt.Sprint(n), here)
	}
	require.Len(t, l.records, maxRecords)
	require.Equal(t, maxRecords, l.recent.Len())
	for range maxFailures + 1 {
		l.failed("a", netip.MustParseAddr("2001:db8::1"))
	}
	require.True(t, l.locked("a", netip.MustParseAddr("2001:db8::2")), "one /64 is one peer")
	require.False(t, l.locked("a", netip.MustParseAddr("2001:db8:0:1::1")))
	require.False(t, l.locked("a", netip.Addr{}))
	for range maxFailures + 1 {
		l.failed("b", netip.MustParseAddr("::ffff:127.0.0.1"))
	}
	require.True(t, l.locked("b", here), "the same peer by IPv4")
}

// TestExpiredLockoutRecordsAreDroppedUnasked: they are dropped without being asked for again.
func TestExpiredLockoutRecordsAreDroppedUnasked(t *testing.T) {
	c := &clock{now: time.Unix(1e9, 0)}
	for _, l := range []*lockout{newLockout(c.Now), newPeerLockout(c.Now)} {
		for n := range 100 {
			l.failed(fmt.Sprint(n), peerNumber(n))
		}
		c.move(lockTime)
		require.False(t, l.locked("another", here))
		require.Empty(t, l.records)
		require.Zero(t, l.recent.Len())
	}
}

// TestLoginMemoryDoesNotGrowWithLongNames: what logins leave behind does not depend on how long their names are.
func TestLoginMemoryDoesNotGrowWithLongNames(t *testing.T) {
	g := open(t, testUsers)
	const logins = 1000
	long := strings.Repeat("n", 60_000)
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := held()
	for n := range logins {
		_, _, err := g.login(stranger(fmt.Sprint(n, long), peerNumber(n)))
		refused(t, err, fault.Unauthorized, "The username or password is wrong.")
	}
	after := held()
	require.Less(t, int64(after)-int64(before), int64(logins*1024), "the tables of users and of peers")
	runtime.KeepAlive(g)
}

// TestOverlongNameIsLockedLikeAnyOther: an over-long name is locked like any other.
func TestOverlongNameIsLockedLikeAnyOther(t *testing.T) {
	g := open(t, testUsers)
	long := strings.Repeat("n", 60_000)
	for range maxFailures + 1 {
		_, _, err := g.login(stranger(long, here))
		refused(t, err, fault.Unauthorized, "The username or password is wrong.")
	}
	_, _, err := g.login(stranger(long, here))
	refused(t, err, fault.Unauthorized, "this user is locked for this peer")
	_, _, err = g.login(stranger(long[1:], here))
	refused(t, err, fault.Unauthorized, "The username or password is wrong.")
}

// TestLockOutlastsAFlood: names that no user has do not displace the lock of one that is a user's, from however many
// peers they come.
func TestLockOutlastsAFlood(t *testing.T) {
	for name, from := range map[string]func(n int) netip.Addr{
		"one peer":   func(int) netip.Addr { return here },
		"many peers": peerNumber,
	} {
		g := open(t, testUsers)
		for range maxFailures + 1 {
			_, _, err := g.login(func(l *Login) { l.Password = "wrong password" })
			refused(t, err, fault.Unauthorized, "is wrong")
		}
		for n := range maxRecords + 1 {
			_, _, err := g.login(stranger(fmt.Sprint(n), from(n)))
			require.Error(t, err)
		}
		_, _, err := g.login()
		refused(t, err, fault.Unauthorized, "too many wrong passwords")
		g.move(lockTime)
		_, _, err = g.login()
		require.NoError(t, err, name)
	}
}

// TestPeerThatTriesManyNamesIsLocked: a peer that tries many names is locked itself, and no other peer is.
func TestPeerThatTriesManyNamesIsLocked(t *testing.T) {
	g := open(t, testUsers)
	for n := range maxPeerFailures + 1 {
		_, _, err := g.login(stranger(fmt.Sprint(n), there))
		refused(t, err, fault.Unauthorized, "The username or password is wrong.")
	}
	for _, change := range []func(*Login){stranger("another", there), func(l *Login) { l.Peer = there }} {
		_, _, err := g.login(change)
		refused(t, err, fault.Unauthorized, "this peer is locked for 5m0s")
	}
	require.LessOrEqual(t, len(g.strangers.records), maxPeerFailures+1, "one peer's share of the table")
	_, _, err := g.login()
	require.NoError(t, err)
	g.move(lockTime)
	_, _, err = g.login(func(l *Login) { l.Peer = there })
	require.NoError(t, err)
}

// TestSlowWrongPasswordsDoNotLockAPeer: wrong passwords that come slowly, as of many callers behind one address, lock
// no peer.
func TestSlowWrongPasswordsDoNotLockAPeer(t *testing.T) {
	g := open(t, testUsers)
	for n := range 3 * maxPeerFailures {
		_, _, err := g.login(stranger(fmt.Sprint(n), here))
		refused(t, err, fault.Unauthorized, "The username or password is wrong.")
		g.move(lockTime / maxPeerFailures)
	}
	_, _, err := g.login()
	require.NoError(t, err)
}

// TestFindByIDLooksAtOneUserOnly: the cost of a login by id does not grow with the number of users.
func TestFindByIDLooksAtOneUserOnly(t *testing.T) {
	d := newDirectory("acme", "0123456789abcdef0123456789abcdef")
	for n := range 1000 {
		require.NoError(t, d.add(&userRow{Name: fmt.Sprint("user", n), Actions: []Action{}}))
	}
	u := d.byName["user7"]
	require.Same(t, u, d.find(Named{ID: u.id}))
	require.Same(t, u, d.find(Named{ID: u.id, Name: "user7"}))
	for _, none := range []Named{{}, {ID: "0123"}, {ID: u.id, Name: "user8"}} {
		require.Nil(t, d.find(none))
		require.Zero(t, testing.AllocsPerRun(10, func() { d.find(none) }), "it looks at one user")
	}
}

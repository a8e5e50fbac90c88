package instance

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// play starts the calls of a sequence: each letter names the kinds that wait (b both, s synchronous, a asynchronous),
// and the result names the kind that started each time.
func play(waits string) string {
	var t turns
	started := make([]byte, len(waits))
	for i, who := range []byte(waits) {
		async := t.async(who != 'a', who != 's')
		t.started(async, who != 's')
		started[i] = 's'
		if async {
			started[i] = 'a'
		}
	}
	return string(started)
}

func TestTurnsGiveFourSyncStartsPerAsyncOne(t *testing.T) {
	cases := map[string]struct{ waits, started string }{
		"nobody else":                           {"ssssssssss", "ssssssssss"},
		"only asynchronous":                     {"aaaaaaaaaa", "aaaaaaaaaa"},
		"both":                                  {"bbbbbbbbbbbb", "ssssassssass"},
		"what nobody waited for does not count": {"ssssssbbbbb", "ssssssssssa"},
		"a slot of its own begins a row":        {"bbbabbbbb", "sssassssa"},
		"the asynchronous call left":            {"bbbbsbbbbb", "sssssssssa"},
		"one after the other":                   {"sasasasa", "sasasasa"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.started, play(c.waits)) })
	}
	require.Equal(t, strings.Repeat("ssssa", 100), play(strings.Repeat("b", 500)), "four to one, exactly")
}

// TestTurnsGiveEveryCallerASlot: whatever the others do, who waits throughout gets one of the next few slots.
func TestTurnsGiveEveryCallerASlot(t *testing.T) {
	const starts = 12
	for pattern := range 1 << starts {
		var withSync, withAsync [starts]byte
		for i := range starts {
			withSync[i], withAsync[i] = 's', 'a'
			if pattern>>i&1 == 1 { // the other kind waits too
				withSync[i], withAsync[i] = 'b', 'b'
			}
		}
		if strings.Contains(play(string(withSync[:])), "aa") {
			t.Fatalf("a synchronous call waited for two others: %s", withSync)
		}
		if strings.Contains(play(string(withAsync[:])), "sssss") {
			t.Fatalf("an asynchronous call waited for five others: %s", withAsync)
		}
	}
}

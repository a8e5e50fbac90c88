package logger

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPumpHoldsWhatIsBehindABorder: until Resume finds that it does not hold any more, and no longer than until Open.
func TestPumpHoldsWhatIsBehindABorder(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	var mu sync.Mutex
	var got []string
	begun := 0
	p := NewPump(r, func(part Part) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(part.Text))
	})
	p.Border = func(b []byte) (before, after int, hold bool) {
		at := bytes.Index(b, []byte("{m:"))
		if at < 0 || len(b) < at+5 {
			return 0, 0, false
		}
		mu.Lock()
		defer mu.Unlock()
		return at, at + 5, int(b[at+3]-'0') > begun
	}
	lines := func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(got, "|")
	}
	begin := func(n int) {
		mu.Lock()
		begun = n
		mu.Unlock()
		p.Resume()
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run()
	}()
	for _, piece := range []string{"a\nhalf", "{m:1}b\n", "{m:2}c {x}\n{m:3}", "d\n"} {
		_, err = w.WriteString(piece)
		require.NoError(t, err)
	}
	p.Drain()
	require.Equal(t, "a|half", lines())
	begin(1)
	p.Drain()
	require.Equal(t, "a|half|b", lines())
	p.Resume() // for another one
	p.Drain()
	require.Equal(t, "a|half|b", lines())
	begin(2)
	p.Drain()
	require.Equal(t, "a|half|b|c {x}", lines())
	require.NoError(t, w.Close())
	p.Open()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the pump does not end")
	}
	require.Equal(t, "a|half|b|c {x}|d", lines())
}

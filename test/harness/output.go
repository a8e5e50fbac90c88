package harness

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience bounds every wait of the tests: they wait for conditions, and the machine may be busy.
const Patience = 60 * time.Second

// often is how often a condition is checked.
const often = 5 * time.Millisecond

// Output collects what a program prints. The zero value is ready, and all methods may be called by any goroutine.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer; it never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is everything so far.
func (o *Output) String() string { return o.From(0) }

// Size is the number of bytes so far.
func (o *Output) Size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Len()
}

// From is what was written after the first size bytes.
func (o *Output) From(size int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf.Bytes()[size:])
}

// Tail is the last 4,000 bytes, as valid UTF-8, for the log of a failed test.
func (o *Output) Tail() string {
	const most = 4000
	s := o.String()
	if len(s) > most {
		s = "…" + s[len(s)-most:]
	}
	return strings.ToValidUTF8(s, "?")
}

// WaitFor waits until the output contains text and fails the test after Patience.
func (o *Output) WaitFor(t testing.TB, text string) {
	t.Helper()
	seen := 0 // to copy megabytes again and again would keep the program from writing
	Eventually(t, func() bool {
		next := o.From(seen)
		seen += max(0, len(next)-len(text))
		return strings.Contains(next, text)
	}, "the output to contain %q", text)
}

// Logged returns the fields of the agent's log lines that contain text, in the format "text": the JSON object at the
// end of the line.
func (o *Output) Logged(text string) (all []map[string]any) {
	for line := range strings.Lines(o.String()) {
		brace := strings.IndexByte(line, '{')
		if brace < 0 || !strings.Contains(line, text) || !strings.HasSuffix(line, "\n") {
			continue
		}
		var fields map[string]any
		if json.Unmarshal([]byte(line[brace:]), &fields) == nil { // a line of something else may have a brace
			all = append(all, fields)
		}
	}
	return all
}

// Eventually waits until condition is true and fails the test after Patience. It asks at once, and on the test's own
// goroutine, so that condition may end the test. The format says what is waited for.
func Eventually(t testing.TB, condition func() bool, format string, args ...any) {
	t.Helper()
	for limit := time.Now().Add(Patience); !condition(); time.Sleep(often) {
		if time.Now().After(limit) {
			t.Fatalf("waited %s in vain for "+format, append([]any{Patience}, args...)...)
		}
	}
}

package function

import (
	"bytes"
	"runtime"
)

const (
	// stacksRead is how much is read of the stacks of all goroutines, stacksSent how much of that is sent, in bytes. The
	// agent takes 64 KiB.
	stacksRead = 4 << 20
	stacksSent = 60 << 10
)

// stacks returns the stacks of all goroutines, as Go's runtime prints them.
func stacks() []byte {
	text := make([]byte, 64<<10)
	n := runtime.Stack(text, true)
	for n == len(text) && n < stacksRead {
		text = make([]byte, 4*n)
		n = runtime.Stack(text, true)
	}
	return callsFirst(text[:n], stacksSent)
}

// callsFirst returns the stacks of calls, and behind them as many others as there is room for.
func callsFirst(text []byte, room int) []byte {
	var first, rest []byte
	for one := range bytes.SplitSeq(text, []byte("\n\n")) {
		to := &rest
		if bytes.Contains(one, []byte(ownName+"(*function).perform(")) {
			to = &first
		}
		*to = append(append(*to, bytes.TrimRight(one, "\n")...), "\n\n"...)
	}
	all := append(first, rest...)
	return all[:min(len(all), room)]
}

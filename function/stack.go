package function

import (
	"fmt"
	"runtime"
	"strings"
)

const (
	maxStack = 32
	ownName  = "gantry/function."
)

// stack is the stack of a panic as the platform shows it: a line with the function and one with the place.
func (f *function) stack() []string {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
	var lines []string
	for {
		fr, more := frames.Next()
		if fr.Function != "" && !hidden(fr.Function) {
			lines = append(lines, fr.Function+"()", fmt.Sprintf("    %s:%d", f.shorten(fr.File), fr.Line))
		}
		if !more || len(lines) == 2*maxStack {
			return lines
		}
	}
}

// hidden reports whether a frame is not the user's.
func hidden(name string) bool {
	for _, prefix := range []string{"runtime.", "reflect.", "internal/runtime/", ownName} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

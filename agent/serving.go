package agent

import (
	"gantry/api"
	"gantry/settings"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// serving is a running instance with its listeners.
type serving struct {
	*agent
	cfg      *settings.Config
	callers  []*api.Server // those whose callers wait for the function
	others   []*api.Server
	pollers  *pollers   // nil unless this is a custom runtime
	ended    chan error // of listeners
	terminal terminal
	signals  <-chan os.Signal
	early    []os.Signal // those that came while the instance was opened
	wish     wish
}

// mostListeners is how many a program has at most: function, front, platform, extension, ops.
const mostListeners = 5

// wish is what the signals have asked for so far. The zero value is none.
type wish struct{ since time.Time }

// made reports whether a signal has asked for a stop.
func (w *wish) made() bool { return !w.since.IsZero() }

// forced takes note of a signal that came now, and reports whether it is the second one to stop, which ends the program
// at once. One that follows the first within sameSignal is the same one.
func (w *wish) forced(sig os.Signal, now time.Time) bool {
	switch {
	case sig != unix.SIGTERM && sig != unix.SIGINT:
		return false
	case !w.made():
		w.since = now
		return false
	}
	return now.Sub(w.since) > sameSignal
}

// sameSignal is how long after the first signal to stop further ones count as that one: coreutils' timeout, for
// example, signals the process and then its group.
const sameSignal = 250 * time.Millisecond

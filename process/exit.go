package process

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Exit is how a child ended.
type Exit struct {
	// Code is the exit code, or -1 if a signal ended it.
	Code   int
	Signal unix.Signal
	// OutOfMemory is set when the kernel killed a process of the child's cgroup for its memory.
	OutOfMemory bool
	// Abandoned is set when Supervisor.KillAll killed the child.
	Abandoned bool
	// CPU is user plus system time of the child and the descendants it waited for; PeakRSS its own, in bytes.
	CPU     time.Duration
	PeakRSS int64
	// PeakGroup is the most memory that the child's control group held at once, in bytes; 0 if the child had none.
	PeakGroup int64
}

// ShellCode is the exit code a shell would report: 128 plus the signal.
func (e Exit) ShellCode() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// String says it in words.
func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("signal %d (%s)", int(e.Signal), unix.SignalName(e.Signal))
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

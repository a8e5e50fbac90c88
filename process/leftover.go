package process

import (
	"bytes"
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Adopt makes this process the parent of whatever its descendants leave behind, as PID 1 is anyway: a Supervisor that
// reaps orphans then knows them as strangers. It lasts as long as the process.
func Adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// Left returns who was still alive in the child's group when it ended, and was killed then. Only with Command.ListLeft;
// valid after Exited is closed.
func (p *Process) Left() []Leftover { return p.left }

// strangersPoll is how often waiting for strangers looks again.
const strangersPoll = 10 * time.Millisecond

// Strangers returns the living children that were not started here: orphans of the children that were. It first waits
// until those that are about to end are gone, or until ctx ends: what they leave behind in turn belongs to the answer.
func (s *Supervisor) Strangers(ctx context.Context) []Leftover {
	for {
		living, ending := s.strangers(false)
		if ending == 0 || !later(ctx) {
			return living
		}
	}
}

// EndStrangers kills the strangers, and then the children that they leave behind, until none is left or ctx ends.
func (s *Supervisor) EndStrangers(ctx context.Context) {
	for {
		living, ending := s.strangers(true)
		if len(living)+ending == 0 || !later(ctx) {
			return
		}
	}
}

// later waits for a moment; false if ctx ended.
func later(ctx context.Context) bool {
	timer := time.NewTimer(strangersPoll)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// strangers returns those that live, and kills them if kill is set; it counts those that are ending. No child is
// collected meanwhile, so no process id can be reused.
func (s *Supervisor) strangers(kill bool) (living []Leftover, ending int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, 0
	}
	for _, thread := range threads {
		children, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/children")
		if err != nil {
			continue
		}
		for _, child := range bytes.Fields(children) {
			pid := int(number(child))
			if s.children[pid] != nil {
				continue
			}
			name, _, alive := look(pid)
			if !alive || doomed(pid) {
				ending++
				continue
			}
			living = append(living, Leftover{pid, name})
			if kill {
				_ = unix.Kill(pid, unix.SIGKILL) // EPERM: it has another user; leave it
			}
		}
	}
	return living, ending
}

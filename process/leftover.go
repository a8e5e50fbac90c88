package process

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Leftover is a process that outlived the child it descends from.
type Leftover struct {
	PID int
	// Name is the kernel's, at most 15 bytes.
	Name string
}

// Adopt makes this process the parent of whatever its descendants leave behind, as PID 1 is anyway: a Supervisor that
// reaps orphans then knows them as strangers. It lasts as long as the process.
func Adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// Left returns who was still alive in the child's group when it ended, and was killed then. Only with Command.ListLeft;
// valid after Exited is closed.
func (p *Process) Left() []Leftover { return p.left }

// members returns the living processes of a group but its leader. One that a signal has ended already, and that only
// has not noticed yet, does not count.
func members(group int) []Leftover {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []Leftover
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == group {
			continue
		}
		if name, of, alive := look(pid); alive && of == group && !doomed(pid) {
			found = append(found, Leftover{pid, name})
		}
	}
	return found
}

// look reads what the kernel says about a process; alive is false for a zombie, and for one that is about to become
// one.
func look(pid int) (name string, group int, alive bool) {
	const exiting = 4 // PF_EXITING
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", 0, false
	}
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	if open < 0 || end < open || len(fields) < 7 {
		return "", 0, false
	}
	alive = fields[0][0] != 'Z' && fields[0][0] != 'X' && number(fields[6])&exiting == 0
	return string(stat[open+1 : end]), int(number(fields[2])), alive
}

// doomed reports whether a signal that ends the process is on its way: the kernel turns it into a KILL for each thread.
func doomed(pid int) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(status, []byte("\nSigPnd:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	pending, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	return err == nil && pending&(1<<(unix.SIGKILL-1)) != 0
}

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

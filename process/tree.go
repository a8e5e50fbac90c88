package process

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Member is a process of a child's tree at a moment: the child itself, or a descendant.
type Member struct {
	PID int
	// Name is the kernel's, at most 15 bytes.
	Name string
	// Running is set while a thread runs or waits for a processor; Stopped while a signal holds the process.
	Running, Stopped bool
	// Used is the processor time of its living threads so far; Thread is the one that runs and has used the most, 0 if
	// none runs.
	Used   time.Duration
	Thread int
}

// treeLimit bounds how many threads of a tree are looked at. What a larger tree has beyond that is left out.
const treeLimit = 256

// Tree returns the child and its descendants that have not ended, the child first; none if it has ended.
func (p *Process) Tree() []Member {
	select {
	case <-p.exited:
		return nil
	default:
		w := walk{threads: treeLimit}
		w.add(p.PID, 0)
		return w.found
	}
}

// walk is one through a tree of processes.
type walk struct {
	found   []Member
	threads int // that it may still look at
}

func (w *walk) add(pid, depth int) {
	if depth > maxDepth {
		return
	}
	name, _, alive := look(pid)
	if !alive {
		return
	}
	at := len(w.found)
	w.found = append(w.found, Member{PID: pid, Name: name})
	tasks := "/proc/" + strconv.Itoa(pid) + "/task/"
	folder, err := os.Open(tasks)
	if err != nil {
		return // it has ended
	}
	threads, err := folder.Readdirnames(max(w.threads, 0) + 1) // not 0, which stands for all
	_ = folder.Close()
	if err != nil {
		return
	}
	most := time.Duration(-1)
	for _, thread := range threads {
		if w.threads--; w.threads < 0 {
			return
		}
		var a Activity
		state := a.addThread(tasks + thread)
		m := &w.found[at]
		m.Used += a.Used
		m.Running = m.Running || state == 'R'
		m.Stopped = m.Stopped || state == 'T' || state == 't'
		if state == 'R' && a.Used > most {
			most, m.Thread = a.Used, int(number([]byte(thread)))
		}
		children, err := os.ReadFile(tasks + thread + "/children")
		if err != nil {
			continue
		}
		for _, child := range bytes.Fields(children) {
			w.add(int(number(child)), depth+1)
		}
	}
}

// Catches reports whether the child has a handler for sig: it does not end by it.
func (p *Process) Catches(sig unix.Signal) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "\nSigCgt:")
	line, _, _ := strings.Cut(rest, "\n")
	caught, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return err == nil && caught&(1<<(sig-1)) != 0
}

// SignalThread sends sig to one thread of the child, and to no other process of its group; thread 0 is the main thread.
// A child that is gone already is no error.
func (p *Process) SignalThread(thread int, sig unix.Signal) error {
	p.sup.mu.Lock()
	defer p.sup.mu.Unlock()
	select {
	case <-p.exited:
		return nil
	default:
	}
	if thread == 0 {
		thread = p.PID
	}
	if err := unix.Tgkill(p.PID, thread, sig); err != nil && err != unix.ESRCH {
		return err
	}
	return nil
}

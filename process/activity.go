package process

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// Activity is what a child and its descendants do at a moment.
type Activity struct {
	// Busy is set while a thread runs, waits for a processor, or waits for a disk.
	Busy bool
	// Used is the processor time of all threads so far, of those that live.
	Used time.Duration
}

// Activity reads what the child and its descendants do. Those that have ended do not count.
func (p *Process) Activity() Activity {
	var a Activity
	select {
	case <-p.exited:
	default:
		a.add(p.PID, 0)
	}
	return a
}

const maxDepth = 16 // of a tree of processes

func (a *Activity) add(pid, depth int) {
	tasks := "/proc/" + strconv.Itoa(pid) + "/task/"
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return // it has ended
	}
	for _, thread := range threads {
		a.addThread(tasks + thread.Name())
		children, err := os.ReadFile(tasks + thread.Name() + "/children")
		if err != nil || depth == maxDepth {
			continue
		}
		for _, child := range bytes.Fields(children) {
			a.add(int(number(child)), depth+1)
		}
	}
}

// addThread returns the thread's state as the kernel has it; 0 for one that has ended.
func (a *Activity) addThread(dir string) (state byte) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	state = fields[0][0]
	a.Busy = a.Busy || state == 'R' || state == 'D'
	if sched, err := os.ReadFile(dir + "/schedstat"); err == nil {
		if run := bytes.Fields(sched); len(run) > 0 {
			a.Used += time.Duration(number(run[0]))
			return state
		}
	}
	a.Used += time.Duration(number(fields[11])+number(fields[12])) * clockTick // utime and stime
	return state
}

package process

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// usageAge is how old a reading may be: under load one reading serves many calls. The peak of the process itself is
// kept by the kernel and not lost meanwhile.
const usageAge = 100 * time.Millisecond

// usageFiles bounds how many files a reading opens: one for each thread, two for each process. What a larger tree has
// beyond that is left out. usageShare bounds the part of the time that readings take: one in so many.
const (
	usageFiles = 256
	usageShare = 20
)

// cpuAge is the same for the clock of the process alone, which costs a system call. No call is as short.
const cpuAge = 50 * time.Microsecond

// Usage is what a child and its descendants have used so far.
type Usage struct {
	CPU time.Duration // user plus system
	// RSS is the resident memory of the tree now, Peak the highest that was seen, in bytes.
	RSS, Peak int64
}

// Meter reads the usage of one process tree. Safe for concurrent use.
type Meter struct {
	pid   int
	mu    sync.Mutex
	last  Usage
	next  time.Time // when last is too old
	busy  bool      // a reading is under way; other callers take last
	ended bool
	// cpuAt is when last.CPU was brought up to date.
	cpuAt time.Time
	// others is the part of last.CPU that is not the process itself.
	others time.Duration
}

// NewMeter returns a meter for the tree below pid.
func NewMeter(pid int) *Meter { return &Meter{pid: pid} }

// CPU returns the processor time of the tree: of the process itself at most 50 µs old, of its descendants as of the
// last Read.
func (m *Meter) CPU(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.cpuAt) < cpuAge {
		return m.last.CPU
	}
	m.cpuAt = now
	if own, ok := cpuClock(m.pid); ok {
		m.last.CPU = max(m.last.CPU, own+m.others)
	}
	return m.last.CPU
}

// Others returns the part of CPU that is not the process itself, as of the last Read.
func (m *Meter) Others() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.others
}

// cpuClock reads the processor-time clock of a process.
func cpuClock(pid int) (time.Duration, bool) {
	const sched = 2 // CPUCLOCK_SCHED, of the whole process
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}

// Read returns the usage, at most 100 ms old, or twenty times as old as reading it takes. After the process has ended
// it returns the last reading.
func (m *Meter) Read(now time.Time) Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy || m.ended || now.Before(m.next) {
		return m.last
	}
	m.busy = true
	m.mu.Unlock()
	began := time.Now()
	r := reading{files: usageFiles}
	read := r.add(m.pid, 0)
	took := time.Since(began)
	m.mu.Lock()
	m.busy = false
	m.next = now.Add(max(usageAge, usageShare*took))
	if !read || m.ended {
		return m.last
	}
	m.others = max(m.others, r.sum.CPU) // a descendant that ended unwaited takes its time with it
	own, _ := cpuClock(m.pid)
	m.last = Usage{CPU: max(m.last.CPU, own+m.others), RSS: r.sum.RSS, Peak: max(m.last.Peak, r.sum.RSS, r.sum.Peak)}
	return m.last
}

// Ended takes over what the kernel has noted of the process: from now on Read returns its peak. Of a process that ran
// out of memory that is what its control group held, which its limit counts: the process's own peak has in it what
// others pay for, such as the interpreter's file.
func (m *Meter) Ended(exit Exit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	m.last.Peak = max(m.last.Peak, exit.PeakRSS)
	if exit.OutOfMemory && exit.PeakGroup > 0 {
		m.last.Peak = exit.PeakGroup
	}
}

// clockTick is USER_HZ, 100 on every Linux architecture Go supports.
const clockTick = time.Second / 100

// reading is a walk through the files of a process tree.
type reading struct {
	sum   Usage
	files int // that it may still open
}

// open counts a file; false when there have been enough.
func (r *reading) open() bool {
	r.files--
	return r.files >= 0
}

// add adds pid and its descendants; false if pid itself cannot be read. The processor time of the top process itself is
// left out: its own clock is finer.
func (r *reading) add(pid, depth int) bool {
	if !r.open() {
		return false
	}
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return false
	}
	// The name in parentheses may hold blanks: count fields after its end. utime, stime, cutime, cstime are fields 14–17.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return false
	}
	ticks := number(fields[13]) + number(fields[14])
	if depth > 0 {
		ticks += number(fields[11]) + number(fields[12])
	}
	r.sum.CPU += time.Duration(ticks) * clockTick
	r.sum.RSS += number(fields[21]) * int64(os.Getpagesize())
	if depth == 0 {
		r.sum.Peak = highWater(dir)
	}
	if depth <= 16 {
		r.descendants(dir+"/task/", depth)
	}
	return true
}

// descendants adds the children of each thread in the folder tasks.
func (r *reading) descendants(tasks string, depth int) {
	if !r.open() {
		return
	}
	folder, err := os.Open(tasks)
	if err != nil {
		return
	}
	threads, err := folder.Readdirnames(r.files + 1) // not 0, which stands for all
	_ = folder.Close()
	if err != nil {
		return
	}
	for _, thread := range threads {
		if !r.open() {
			return
		}
		children, err := os.ReadFile(tasks + thread + "/children")
		if err != nil {
			continue
		}
		for _, child := range bytes.Fields(children) {
			r.add(int(number(child)), depth+1)
		}
	}
}

// highWater reads VmHWM, the peak the kernel itself kept.
func highWater(dir string) int64 {
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return 0
	}
	_, rest, ok := bytes.Cut(status, []byte("VmHWM:"))
	if !ok {
		return 0
	}
	if fields := bytes.Fields(rest[:min(len(rest), 40)]); len(fields) > 0 {
		return number(fields[0]) << 10
	}
	return 0
}

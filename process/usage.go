package process

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// usageAge is how old a reading may be: under load one reading serves many calls. It opens a score of files; the peak of
// the process itself is kept by the kernel and not lost meanwhile.
const usageAge = 100 * time.Millisecond

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
	pid  int
	mu   sync.Mutex
	at   time.Time // of last
	last Usage
	// cpuAt is when last.CPU was brought up to date.
	cpuAt time.Time
	// others is the part of last.CPU that is not the process itself.
	others time.Duration
}

// NewMeter returns a meter for the tree below pid.
func NewMeter(pid int) *Meter { return &Meter{pid: pid} }

// CPU returns the processor time of the tree: of the process itself at most 50 µs old, of its descendants as of the last Read.
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

// cpuClock reads the processor-time clock of a process.
func cpuClock(pid int) (time.Duration, bool) {
	const sched = 2 // CPUCLOCK_SCHED, of the whole process
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}

// Read returns the usage, at most 100 ms old. After the process has ended it returns the last reading.
func (m *Meter) Read(now time.Time) Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.at) < usageAge {
		return m.last
	}
	m.at = now
	var sum Usage
	if !addTree(&sum, m.pid, 0) {
		return m.last
	}
	sum.Peak = max(m.last.Peak, sum.RSS, sum.Peak)
	m.others = max(m.others, sum.CPU) // a descendant that ended unwaited takes its time with it
	own, _ := cpuClock(m.pid)
	sum.CPU = max(m.last.CPU, own+m.others)
	m.last = sum
	return sum
}

// clockTick is USER_HZ, 100 on every Linux architecture Go supports.
const clockTick = time.Second / 100

// addTree adds pid and its descendants; false if pid itself cannot be read. The processor time of the top process itself
// is left out: its own clock is finer.
func addTree(sum *Usage, pid, depth int) bool {
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
	sum.CPU += time.Duration(ticks) * clockTick
	sum.RSS += number(fields[21]) * int64(os.Getpagesize())
	if depth == 0 {
		sum.Peak = highWater(dir)
	}
	if depth > 16 {
		return true
	}
	threads, err := os.ReadDir(dir + "/task")
	if err != nil {
		return true
	}
	for _, thread := range threads {
		children, err := os.ReadFile(dir + "/task/" + thread.Name() + "/children")
		if err != nil {
			continue
		}
		for _, child := range bytes.Fields(children) {
			addTree(sum, int(number(child)), depth+1)
		}
	}
	return true
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

func number(b []byte) int64 {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

package api

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// want says what a new connection lacks.
type want int

const (
	wantNothing     want = iota
	wantConnection       // the listener has as many connections as it may have
	wantDescriptor       // what is left is kept for the agent's own work
	wantDescriptors      // half of what is kept is used up as well
)

// descriptors tracks how many descriptors of the process are left. Connections are counted exactly; other open files
// are counted now and then, and only while that matters.
type descriptors struct {
	// reserve is kept for what is no connection, above all for the start of workers.
	reserve int
	limit   func() int
	count   func() (int, error)

	mu     sync.Mutex
	others int // descriptors that are no connections, at the last count
	next   time.Time
}

const (
	countPause = 50 * time.Millisecond
	// countShare bounds the time that counting takes: one part in so many.
	countShare = 20
)

// lack says whether a new connection, with which there are so many, takes what is reserved.
func (d *descriptors) lack(connections int, now time.Time) want {
	limit := d.limit()
	d.mu.Lock()
	defer d.mu.Unlock()
	if connections+d.others < limit/2-d.reserve && !d.next.IsZero() { // what else is open does not double at once
		return wantNothing
	}
	if !now.Before(d.next) {
		n, err := d.count()
		switch {
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE): // none was left to count with
			return wantDescriptors
		case err == nil:
			d.others = max(n-connections, 0)
		} // without /proc only connections are counted
		d.next = now.Add(max(countPause, countShare*time.Since(now)))
	}
	free := limit - d.others
	reserve := min(d.reserve, free/4)
	switch {
	case connections > free-reserve/2:
		return wantDescriptors
	case connections > free-reserve:
		return wantDescriptor
	}
	return wantNothing
}

// openFiles is the limit of descriptors in force, which others can change.
func openFiles() int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur > 1<<30 {
		return 1 << 30
	}
	return int(files.Cur)
}

// countDescriptors counts the open descriptors of this process, the one that it takes to do so included.
func countDescriptors() (int, error) {
	f, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return len(names), err
}

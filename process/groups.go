package process

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Groups makes the control groups of an agent's workers: one with a limit of memory for each, and a limit of processes
// for all together, so that a function that starts as many as it can leaves the agent its own. Use OpenGroups. A nil
// Groups makes none. Safe for concurrent use.
type Groups struct {
	limit int64
	ready chan struct{} // closed when what follows is there
	// first is made in advance, for the first call of New.
	first  atomic.Pointer[Cgroup]
	memory CgroupTree
	// denied says why no memory group can be made, pidsErr why there is no limit of processes.
	denied, pidsErr error
	// workers is the folder that the memory groups lie in.
	workers string
	serial  atomic.Int64
	folders []heldFolder
	pids    *groupEntry // of version 1; in version 2 the limit is that of workers
	work    sync.WaitGroup
	closed  sync.Once
}

// heldFolder is a control group with a lock on it, which the kernel releases when this process ends, however that
// happens.
type heldFolder struct {
	path string
	lock *os.File
}

// groupNames are the folders that agents make, and lock; groupNamesOnce those that they made when they did not lock
// them.
var (
	groupNames = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^gantry-\d+-workers\d*$`)
	})
	groupNamesOnce = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^gantry-\d+-\d+$`)
	})
)

// OpenGroups finds the agent's control groups below root ("/" outside tests), prepares those of the workers, with a
// memory limit in bytes each, and removes those that agents left behind which were killed, with the processes in them.
// It returns at once; the methods wait for what they need. In version 2 the agent moves into a leaf, so Wait must be
// called before the first child that has no group. Close must be called.
func OpenGroups(root string, limit int64) *Groups {
	g := &Groups{limit: limit, ready: make(chan struct{})}
	g.work.Go(func() {
		pids := g.open(root)
		close(g.ready)
		if g.memory.Version != 0 {
			sweepGroups(g.memory.Own)
		}
		if pids.Version == 1 {
			sweepGroups(pids.Own)
		}
	})
	return g
}

// open prepares the groups, and returns where those of processes are.
func (g *Groups) open(root string) (pids CgroupTree) {
	g.memory = FindCgroup(root)
	pids = findCgroup(root, "pids", "cgroup.procs")
	if g.memory.Version == 0 {
		g.denied = errors.New("no memory control group was found")
		g.pidsErr = g.denied
		return pids
	}
	processes := pidsForWorkers(maxProcesses(root, pids))
	if g.memory.Version == 2 {
		g.denied = delegate(g.memory.Own)
	}
	if g.denied == nil {
		g.workers, g.denied = g.hold(g.memory.Own)
	}
	switch {
	case g.memory.Version == 2 && g.denied == nil:
		g.denied = delegateMemory(g.workers)
		g.pidsErr = limitProcesses(g.workers, processes)
	case g.memory.Version == 1 && pids.Version == 1:
		g.pids, g.pidsErr = g.processGroup(pids.Own, processes)
	default:
		g.pidsErr = errors.New("no control group of processes was found")
	}
	if c, err := g.make(); err == nil {
		g.first.Store(c)
	}
	return pids
}

// Wait returns when the agent is where it stays.
func (g *Groups) Wait() { <-g.ready }

// New makes a group for Command.Group. The error says why the memory limit is not enforced; the returned group then
// still distinguishes out-of-memory kills from other ends, by the agent's own counter.
func (g *Groups) New() (*Cgroup, error) {
	if g == nil {
		return view(CgroupTree{}), errors.New("no control groups are made here")
	}
	g.Wait()
	if c := g.first.Swap(nil); c != nil {
		return c, nil
	}
	return g.make()
}

func (g *Groups) make() (*Cgroup, error) {
	c := view(g.memory)
	if g.pids != nil {
		c.entry = append(c.entry, g.pids)
	}
	if g.denied != nil {
		return c, g.denied
	}
	dir := filepath.Join(g.workers, strconv.FormatInt(g.serial.Add(1), 10))
	err := limitMemory(g.memory.Version, dir, g.limit)
	var entry *groupEntry
	if err == nil {
		entry, err = openEntry(g.memory.Version, dir)
	}
	if err != nil {
		_ = os.Remove(dir)
		return c, err
	}
	c.tree, c.own, c.entry = CgroupTree{Version: g.memory.Version, Own: dir}, true, append(c.entry, entry)
	c.kills = c.tree.OOMKills()
	return c, nil
}

// MemoryErr says why no group has a memory limit; nil if they have.
func (g *Groups) MemoryErr() error {
	g.Wait()
	return g.denied
}

// PidsErr says why the number of the workers' processes is not limited; nil if it is.
func (g *Groups) PidsErr() error {
	g.Wait()
	return g.pidsErr
}

// Close removes what is left. Every child must have ended before. A second Close does nothing.
func (g *Groups) Close() { g.closed.Do(g.close) }

func (g *Groups) close() {
	g.work.Wait()
	g.first.Swap(nil).entered()
	if g.pids != nil {
		g.pids.close()
	}
	for _, f := range g.folders {
		removeTree(f.path)
		_ = f.lock.Close()
	}
}

// hold makes and locks the folder of this agent's workers below own.
func (g *Groups) hold(own string) (string, error) {
	path := filepath.Join(own, fmt.Sprintf("gantry-%d-workers", os.Getpid()))
	var err error
	for i := 2; i < 100; i++ {
		made := os.Mkdir(path, 0o755)
		if made != nil && !errors.Is(made, fs.ErrExist) {
			return "", fmt.Errorf("no control group can be made: %w", made)
		}
		var lock *os.File
		switch lock, err = lockFolder(path); {
		case err == nil:
			if made != nil { // that of a killed agent, which had the same id
				emptyTree(path)
			}
			g.folders = append(g.folders, heldFolder{path, lock})
			return path, nil
		case errors.Is(err, unix.EWOULDBLOCK): // an agent of another PID namespace has the same id
			path = filepath.Join(own, fmt.Sprintf("gantry-%d-workers%d", os.Getpid(), i))
		case !errors.Is(err, fs.ErrNotExist): // removed by an agent that starts at this moment
			return "", fmt.Errorf("the control group %s cannot be locked: %w", path, err)
		}
	}
	return "", fmt.Errorf("the control group %s cannot be locked: %w", path, err)
}

// lockFolder locks a folder; the error is unix.EWOULDBLOCK while another process has it locked.
func lockFolder(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		_, err = os.Stat(path) // not removed in between
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// processGroup makes the group of version 1 that limits the number of the workers' processes and threads.
func (g *Groups) processGroup(own string, limit int64) (*groupEntry, error) {
	path, err := g.hold(own)
	if err == nil {
		err = limitProcesses(path, limit)
	}
	var e *groupEntry
	if err == nil {
		e, err = openEntry(1, path)
	}
	if err != nil {
		return nil, err
	}
	e.shared = true
	return e, nil
}

func limitProcesses(dir string, limit int64) error {
	if err := write(filepath.Join(dir, "pids.max"), strconv.FormatInt(limit, 10)); err != nil {
		return fmt.Errorf("the number of processes cannot be limited: %w", err)
	}
	return nil
}

// agentProcesses is how many processes and threads are kept for the agent, the extensions and the queue, if there are
// twice as many.
const agentProcesses = 256

// pidsForWorkers is what the workers may have of limit.
func pidsForWorkers(limit int64) int64 { return limit - min(agentProcesses, limit/2) }

// MaxProcesses returns how many processes and threads there may be beside and including the agent's, by the limits of
// its control groups, its user and the kernel.
func MaxProcesses() int64 { return maxProcesses("/", findCgroup("/", "pids", "cgroup.procs")) }

func maxProcesses(root string, pids CgroupTree) int64 {
	limit := int64(math.MaxInt32)
	lower := func(file string) {
		if text, err := os.ReadFile(file); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // or "max"
				limit = min(limit, n)
			}
		}
	}
	lower(filepath.Join(root, "proc/sys/kernel/pid_max"))
	lower(filepath.Join(root, "proc/sys/kernel/threads-max"))
	if pids.Version != 0 {
		for dir := pids.Own; len(dir) >= len(filepath.Join(root, "sys/fs/cgroup")); dir = filepath.Dir(dir) {
			lower(filepath.Join(dir, "pids.max"))
		}
	}
	var user unix.Rlimit
	if os.Geteuid() != 0 && unix.Getrlimit(unix.RLIMIT_NPROC, &user) == nil && user.Cur < uint64(limit) {
		limit = int64(user.Cur)
	}
	return limit
}

// delegate lets the groups below own have limits of memory, and of processes where it can. A group of version 2 with
// processes in it may not do that, so the agent moves itself into a leaf, as a container's init has to: it must be
// alone in its group.
func delegate(own string) error {
	have, err := os.ReadFile(filepath.Join(own, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	if !strings.Contains(" "+strings.TrimSpace(string(have))+" ", " memory ") {
		leaf := filepath.Join(own, "gantry-agent")
		if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("no control group can be made: %w", err)
		}
		if err := write(filepath.Join(leaf, "cgroup.procs"), strconv.Itoa(os.Getpid())); err != nil {
			return fmt.Errorf("the agent cannot move into a control group of its own: %w", err)
		}
		if err := delegateMemory(own); err != nil {
			return err
		}
	}
	// If this fails, pids.max is missing, which limitProcesses reports.
	_ = write(filepath.Join(own, "cgroup.subtree_control"), "+pids")
	return nil
}

func delegateMemory(dir string) error {
	if err := write(filepath.Join(dir, "cgroup.subtree_control"), "+memory"); err != nil {
		return fmt.Errorf("the memory controller cannot be delegated: %w", err)
	}
	return nil
}

// sweepGroups removes what agents left behind below own that were killed, and kills the processes in it: they have lost
// their worker. The group of an agent that runs is locked.
func sweepGroups(own string) {
	entries, err := os.ReadDir(own)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(own, e.Name())
		if groupNamesOnce().MatchString(e.Name()) {
			_ = os.Remove(path) // not while there are processes in it: its agent may run
		}
		if !groupNames().MatchString(e.Name()) {
			continue
		}
		if lock, err := lockFolder(path); err == nil {
			removeTree(path)
			_ = lock.Close()
		}
	}
}

// removeTree removes a group of workers and those in it.
func removeTree(path string) {
	emptyTree(path)
	emptyAndRemove(path)
}

// emptyTree removes the groups in a group of workers, and the processes in it.
func emptyTree(path string) {
	for _, group := range groupsIn(path) {
		emptyAndRemove(group)
	}
	killGroup(path)
}

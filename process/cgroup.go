package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CgroupTree is where the agent's own control group lies. Version is 1 or 2; 0 means that there is none to be found.
type CgroupTree struct {
	Version int
	// Own is the folder of the agent's memory control group.
	Own string
	// denied says why no group can be made below Own; see Delegate.
	denied error
}

// FindCgroup looks the agent's memory control group up below root ("/" outside tests), for both versions.
func FindCgroup(root string) CgroupTree {
	self, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return CgroupTree{}
	}
	var unified string
	for line := range strings.Lines(string(self)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			if controller == "memory" {
				return CgroupTree{Version: 1, Own: existing(filepath.Join(root, "sys/fs/cgroup/memory"), fields[2], "memory.limit_in_bytes")}
			}
		}
		if fields[1] == "" {
			unified = fields[2]
		}
	}
	if unified == "" {
		return CgroupTree{}
	}
	return CgroupTree{Version: 2, Own: existing(filepath.Join(root, "sys/fs/cgroup"), unified, "cgroup.procs")}
}

// existing returns base/sub, or base if a container shows its own group as the root of the mount.
func existing(base, sub, file string) string {
	if _, err := os.Stat(filepath.Join(base, sub, file)); err == nil {
		return filepath.Join(base, sub)
	}
	return base
}

// OOMKills returns how often the kernel killed a process of the group for its memory; -1 if that cannot be read.
func (t CgroupTree) OOMKills() int64 {
	switch t.Version {
	case 1:
		return keyed(filepath.Join(t.Own, "memory.oom_control"), "oom_kill")
	case 2:
		return keyed(filepath.Join(t.Own, "memory.events"), "oom_kill")
	}
	return -1
}

// keyed reads one number of a "name number" file; -1 if it is not there.
func keyed(path, key string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return -1
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && name == key {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// Cgroup is a child's own control group, or only a view of the agent's when none could be made.
type Cgroup struct {
	tree  CgroupTree
	own   bool
	kills int64 // that the child has outlived
	seen  int64 // at the last settle
}

// NewCgroup makes a group called name with a memory limit in bytes. The error says why the limit is not enforced; the
// returned group then still tells out-of-memory kills from other ends, by the agent's own counter.
func NewCgroup(tree CgroupTree, name string, limit int64) (*Cgroup, error) {
	view := &Cgroup{tree: tree, kills: tree.OOMKills()}
	if tree.Version == 0 {
		return view, errors.New("no memory control group was found")
	}
	if tree.denied != nil {
		return view, tree.denied
	}
	dir := filepath.Join(tree.Own, name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return view, fmt.Errorf("no control group can be made: %w", err)
	}
	files := map[int][]string{1: {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}, 2: {"memory.max", "memory.swap.max"}}[tree.Version]
	if err := write(filepath.Join(dir, files[0]), strconv.FormatInt(limit, 10)); err != nil {
		_ = os.Remove(dir)
		return view, fmt.Errorf("the memory limit cannot be set: %w", err)
	}
	swap := strconv.FormatInt(limit, 10) // version 1 counts memory and swap together
	if tree.Version == 2 {
		swap = "0"
	}
	if err := write(filepath.Join(dir, files[1]), swap); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		_ = os.Remove(dir)
		return view, fmt.Errorf("the swap limit cannot be set: %w", err)
	}
	g := &Cgroup{tree: CgroupTree{Version: tree.Version, Own: dir}, own: true}
	g.kills = g.tree.OOMKills()
	return g, nil
}

// Delegate lets the children of a version 2 group have memory limits. A group with processes in it may not, so the agent
// moves itself into a leaf, as a container's init has to: it must be alone in its group, so this comes before the first
// child. What stands against it is remembered, and told by NewCgroup.
func (t *CgroupTree) Delegate() {
	if t.Version == 2 {
		t.denied = delegate(t.Own)
	}
}

func delegate(own string) error {
	const controller = "memory"
	have, err := os.ReadFile(filepath.Join(own, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	if strings.Contains(" "+strings.TrimSpace(string(have))+" ", " "+controller+" ") {
		return nil
	}
	leaf := filepath.Join(own, "gantry-agent")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("no control group can be made: %w", err)
	}
	if err := write(filepath.Join(leaf, "cgroup.procs"), strconv.Itoa(os.Getpid())); err != nil {
		return fmt.Errorf("the agent cannot move into a control group of its own: %w", err)
	}
	if err := write(filepath.Join(own, "cgroup.subtree_control"), "+"+controller); err != nil {
		return fmt.Errorf("the memory controller cannot be delegated: %w", err)
	}
	return nil
}

// write never creates a file: control files exist or they do not.
func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Enforced reports whether the group limits its processes.
func (g *Cgroup) Enforced() bool { return g != nil && g.own }

func (g *Cgroup) add(pid int) error {
	if !g.own {
		return nil
	}
	return write(filepath.Join(g.tree.Own, "cgroup.procs"), strconv.Itoa(pid))
}

// oomKills reports whether there was a kill since the group was made.
func (g *Cgroup) oomKills() bool {
	return g != nil && g.kills >= 0 && g.tree.OOMKills() > g.kills
}

func (g *Cgroup) killAll() {
	pids, err := os.ReadFile(filepath.Join(g.tree.Own, "cgroup.procs"))
	if err != nil {
		return
	}
	for pid := range strings.FieldsSeq(string(pids)) {
		if n, err := strconv.Atoi(pid); err == nil && n > 1 {
			_ = unix.Kill(n, unix.SIGKILL) // ESRCH: it was faster
		}
	}
}

// settle forgets kills that the child has outlived by a whole period: a helper of the child's was killed, and what ends
// the child later has another cause.
func (g *Cgroup) settle() {
	if g == nil || g.kills < 0 {
		return
	}
	now := g.tree.OOMKills()
	if now == g.seen {
		g.kills = now
	}
	g.seen = now
}

// remove deletes the group, and ends what is still in it: a daemon that left its worker's process group does not outlive
// the worker. Its last processes may need a moment to leave.
func (g *Cgroup) remove() {
	if !g.Enforced() {
		return
	}
	for range 50 {
		g.killAll()
		if err := os.Remove(g.tree.Own); err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
}

// FindCgroup looks the agent's memory control group up below root ("/" outside tests), for both versions.
func FindCgroup(root string) CgroupTree { return findCgroup(root, "memory", "memory.limit_in_bytes") }

// findCgroup does so for any controller; file is what each of its groups of version 1 has.
func findCgroup(root, controller, file string) CgroupTree {
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
		if slices.Contains(strings.Split(fields[1], ","), controller) {
			return CgroupTree{Version: 1, Own: existing(filepath.Join(root, "sys/fs/cgroup", controller), fields[2], file)}
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
	outer CgroupTree // the agent's
	own   bool
	entry []*groupEntry
	kills int64 // that the child has outlived
	seen  int64 // at the last settle
}

// groupEntry is how a child gets into a control group.
type groupEntry struct {
	// file moves the process that writes 0 to it. In version 1 it is the file for threads: the kernel moves one
	// without a pause, and a child has only one before exec.
	file *os.File
	// folder is that of a group of version 2, which a child can be born in.
	folder *os.File
	shared bool // with other children: open as long as Groups
}

// openEntry opens the way into a group.
func openEntry(version int, dir string) (*groupEntry, error) {
	e := &groupEntry{}
	var err error
	name := "tasks"
	if version == 2 {
		name = "cgroup.procs"
		if e.folder, err = os.Open(dir); err != nil {
			return nil, err
		}
	}
	if e.file, err = os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *groupEntry) close() {
	for _, f := range []*os.File{e.file, e.folder} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// entries are the ways into g; none for a view.
func (g *Cgroup) entries() []*groupEntry {
	if g == nil {
		return nil
	}
	return g.entry
}

// entered closes the ways into g.
func (g *Cgroup) entered() {
	for _, e := range g.entries() {
		if !e.shared {
			e.close()
		}
	}
	if g != nil {
		g.entry = nil
	}
}

// view recognizes out-of-memory kills by the counter of a group that limits other processes as well.
func view(tree CgroupTree) *Cgroup { return &Cgroup{tree: tree, outer: tree, kills: tree.OOMKills()} }

// outside is what g is to a child that could not enter it.
func (g *Cgroup) outside() *Cgroup {
	if g == nil {
		return nil
	}
	return view(g.outer)
}

// limitMemory makes the folder of a group with a memory limit in bytes.
func limitMemory(version int, dir string, limit int64) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("no control group can be made: %w", err)
	}
	files := map[int][]string{
		1: {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"},
		2: {"memory.max", "memory.swap.max"},
	}[version]
	if err := write(filepath.Join(dir, files[0]), strconv.FormatInt(limit, 10)); err != nil {
		return fmt.Errorf("the memory limit cannot be set: %w", err)
	}
	swap := strconv.FormatInt(limit, 10) // version 1 counts memory and swap together
	if version == 2 {
		swap = "0"
	}
	if err := write(
		filepath.Join(dir, files[1]),
		swap,
	); err != nil && !errors.Is(err, fs.ErrNotExist) &&
		!errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the swap limit cannot be set: %w", err)
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

// oomKills reports whether there was a kill since the group was made.
func (g *Cgroup) oomKills() bool {
	return g != nil && g.kills >= 0 && g.tree.OOMKills() > g.kills
}

// peak is the most memory the group held at once, in bytes; 0 if it is not known.
func (g *Cgroup) peak() int64 {
	if !g.Enforced() {
		return 0
	}
	name := "memory.max_usage_in_bytes"
	if g.tree.Version == 2 {
		name = "memory.peak" // since Linux 5.19
	}
	text, err := os.ReadFile(filepath.Join(g.tree.Own, name))
	if err != nil {
		return 0
	}
	return number(bytes.TrimSpace(text))
}

// killAll kills every process of the group, those that left the child's process group too.
func (g *Cgroup) killAll() {
	if g.Enforced() {
		killGroup(g.tree.Own)
	}
}

// killGroup kills every process in the control group dir, but for this one.
func killGroup(dir string) {
	pids, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return
	}
	for pid := range strings.FieldsSeq(string(pids)) {
		if n, err := strconv.Atoi(pid); err == nil && n > 1 && n != os.Getpid() {
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

// remove deletes the group, and ends what is still in it: a daemon that left its worker's process group does not
// outlive the worker. Its last processes may need a moment to leave.
func (g *Cgroup) remove() {
	if !g.Enforced() {
		return
	}
	emptyAndRemove(g.tree.Own)
}

// emptyAndRemove kills what is in a control group and deletes it, with the groups that its processes have made in it.
// False if a process does not leave it in time.
func emptyAndRemove(dir string) bool {
	for range 50 {
		if killAndRemove(dir) {
			return true
		}
		time.Sleep(2 * time.Millisecond)
	}
	return false
}

// killAndRemove tries once: the waiting is for the whole tree, however deep it is.
func killAndRemove(dir string) bool {
	killGroup(dir)
	if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	for _, nested := range groupsIn(dir) {
		killAndRemove(nested)
	}
	return false
}

// groupsIn lists the control groups in one.
func groupsIn(dir string) (nested []string) {
	entries, _ := os.ReadDir(dir) // one that cannot be read has none that could be removed
	for _, e := range entries {
		if e.IsDir() {
			nested = append(nested, filepath.Join(dir, e.Name()))
		}
	}
	return nested
}

func number(b []byte) int64 {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

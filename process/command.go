package process

import "os"

// Command says what to start. Paths are absolute; nothing is looked up and no shell is involved.
type Command struct {
	// Name is how logs call the child.
	Name string
	Path string
	Args []string // including Args[0]
	Env  []string
	Dir  string
	// Stdin is never inherited: children read /dev/null. Stdout and Stderr get a pipe each, handed to Output.
	// Files become descriptors 3, 4, …; the caller closes its copies after Start.
	Files []*os.File
	// UID and GID are the child's identity, -1 to keep the agent's.
	UID, GID int
	// Nice is added to the priority value of the child's group: above 0 it yields to the others.
	Nice int
	// Expendable has the kernel prefer this child to the agent when memory runs out.
	Expendable bool
	// Group is the control group that the child runs in from its first instruction on, and that is removed with it; nil
	// for the agent's. Process.GroupErr says whether it does.
	Group *Cgroup
	// ListLeft finds the processes that outlive the child in its group, for Process.Left. It reads all of /proc when
	// the child ends.
	ListLeft bool
	// Output reads one of the child's streams (stdout, stderr) until it ends. It runs in a goroutine of its own and must
	// keep reading.
	Output func(stream string, r *os.File)
}

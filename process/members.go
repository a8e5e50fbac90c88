package process

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Leftover is a process that outlived the child it descends from.
type Leftover struct {
	PID int
	// Name is the kernel's, at most 15 bytes.
	Name string
}

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

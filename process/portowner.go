package process

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// PortOwner is the process that listens on a TCP port of this network namespace.
type PortOwner struct {
	// PID is 0 if the process cannot be seen from here: another user's, or one outside this container.
	PID int
	// UID is the user of the socket.
	UID int
	// Command is the process's command line, cut to maxCommand bytes; empty without a PID.
	Command string
}

// maxCommand bounds a command line in a message, in bytes.
const maxCommand = 80

// tableTime bounds the reading of the kernel's tables of sockets.
const tableTime = time.Second

// FindPortOwner looks in /proc for the process whose socket takes the connections to a TCP address, or would with one
// that listens there: an unspecified address stands for all. False: nothing listens there any more, or /proc does not
// say.
func FindPortOwner(addr netip.AddrPort) (owner PortOwner, found bool) {
	clash := func(s *Socket) bool {
		return s.State == "LISTEN" && s.Local.Port() == addr.Port() &&
			(addr.Addr().IsUnspecified() || s.Local.Addr().IsUnspecified() || s.Local.Addr() == addr.Addr())
	}
	for _, table := range []string{"tcp", "tcp6"} {
		lines, _ := readTable("/proc/net/"+table, time.Now().Add(tableTime)) // what could be read
		for _, line := range lines {
			s, inode, ok := parseSocket(table, line)
			if !ok || !clash(&s) {
				continue
			}
			owner, found = PortOwner{UID: s.UID, PID: socketHolder("socket:[" + inode + "]")}, true
			if owner.PID != 0 {
				owner.Command = commandLine(owner.PID)
				return owner, true
			}
		}
	}
	return owner, found
}

// socketHolder returns the process that has a descriptor with this name, 0 if none can be seen.
func socketHolder(name string) int {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == name {
			pid, _, _ := strings.Cut(strings.TrimPrefix(link, "/proc/"), "/")
			n, _ := strconv.Atoi(pid) // digits, by the pattern
			return n
		}
	}
	return 0
}

// commandLine is what a process was started with; empty if that cannot be read.
func commandLine(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	line := strings.TrimRight(strings.ReplaceAll(string(text), "\x00", " "), " ")
	if len(line) > maxCommand {
		line = strings.ToValidUTF8(line[:maxCommand], "") + "…"
	}
	return line
}

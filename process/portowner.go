package process

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
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

// listenersAt finds the sockets that take the connections to a TCP address, or would clash with one that listens there:
// an unspecified address stands for all. The kernel's tables begin with the sockets that listen, so that the thousands
// of others that a busy machine has are not read.
func listenersAt(addr netip.AddrPort) (found []listener) {
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open("/proc/net/" + table)
		if err != nil {
			continue // a kernel without IPv6
		}
		lines := bufio.NewScanner(f)
		for first := true; lines.Scan(); first = false {
			s, inode, ok := parseSocket(table, lines.Bytes())
			if first || !ok { // the head
				continue
			}
			if s.State != "LISTEN" {
				break
			}
			if s.Local.Port() == addr.Port() &&
				(addr.Addr().IsUnspecified() || s.Local.Addr().IsUnspecified() || s.Local.Addr() == addr.Addr()) {
				found = append(found, listener{inode, s.UID})
			}
		}
		_ = f.Close() // nothing was written
	}
	return found
}

// FindPortOwner looks in /proc for the process whose socket takes the connections to a TCP address, or would clash with
// one that listens there. False: nothing listens there any more, or /proc does not say.
func FindPortOwner(addr netip.AddrPort) (owner PortOwner, found bool) {
	for _, l := range listenersAt(addr) {
		owner, found = PortOwner{UID: l.uid, PID: holderOf(l)}, true
		if owner.PID != 0 {
			owner.Command = commandLine(owner.PID)
			return owner, true
		}
	}
	return owner, found
}

// ErrNoListener says that no socket listens at an address, or that it has gone meanwhile.
var ErrNoListener = errors.New("no socket that listens was found")

// ListensAt reports whether the child, or a descendant of it, has a socket that takes the connections to a TCP address.
// The error is ErrNoListener, or says that it cannot be seen.
func (p *Process) ListensAt(addr netip.AddrPort) (bool, error) {
	l, found, lookUpErr := lookUpListener(addr)
	if lookUpErr == nil && !found {
		return false, fmt.Errorf("%w at %s", ErrNoListener, addr)
	}
	var unseen error
	if lookUpErr == nil {
		var own bool
		if own, unseen = p.holdsAny([]listener{l}); own { // else a group of sockets may have others
			return true, nil
		}
	}
	listeners := listenersAt(addr)
	switch {
	case len(listeners) > 0:
		return p.holdsAny(listeners)
	case lookUpErr != nil || unseen != nil: // /proc/net may be hidden
		return false, errors.Join(unseen, fmt.Errorf("/proc/net shows no socket that listens at %s", addr))
	}
	return false, fmt.Errorf("%w at %s", ErrNoListener, addr)
}

// holdsAny reports whether the child or a descendant of it has one of the sockets open.
func (p *Process) holdsAny(sockets []listener) (bool, error) {
	var errs []error
	for _, m := range p.Tree() {
		has, err := holdsAny(m.PID, sockets)
		if has {
			return true, nil
		}
		errs = append(errs, err)
	}
	return false, errors.Join(errs...)
}

// inodesTime bounds the reading of a process's descriptors.
const inodesTime = time.Second

// holderTries is how often the processes are looked through: where many come and go, a listing of /proc may pass one
// over.
const holderTries = 10

// holderOf returns the process that has a socket open, 0 if none can be seen.
func holderOf(l listener) int {
	for range holderTries {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return 0
		}
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue // no process
			}
			if has, _ := holdsAny(pid, []listener{l}); has { // others may be closed to this one
				return pid
			}
		}
	}
	return 0
}

// holdsAny reports whether a process has one of the sockets open.
func holdsAny(pid int, sockets []listener) (bool, error) {
	open := map[string]int{}
	err := addInodes(open, pid, time.Now().Add(inodesTime))
	return slices.ContainsFunc(sockets, func(l listener) bool { _, has := open[l.inode]; return has }), err
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

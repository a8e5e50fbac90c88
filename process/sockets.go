package process

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Socket is an open socket of a child or of one of its descendants, of the internet protocols.
type Socket struct {
	// Protocol is tcp or udp.
	Protocol string
	// Local and Remote are its ends; Remote is 0.0.0.0:0 or [::]:0 where there is none.
	Local, Remote netip.AddrPort
	// State is ESTABLISHED, SYN-SENT, LISTEN and the like; UNCONNECTED for udp without a remote end.
	State string
	// Received is how many bytes have arrived that the process has not read, Unsent how many it has written that the
	// other end has not acknowledged. Of a socket that listens they are the connections that wait, and the limit of them.
	Received, Unsent int64
	// PID is the process that has it open, UID the user who opened it.
	PID, UID int
}

// tcpStates are the kernel's, from 1 on.
var tcpStates = [...]string{
	"", "ESTABLISHED", "SYN-SENT", "SYN-RECEIVED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSED", "CLOSE-WAIT",
	"LAST-ACK", "LISTEN", "CLOSING", "SYN-RECEIVED",
}

const (
	// socketFDs bounds how many descriptors of a tree are looked at.
	socketFDs = 4096
	// tableLimit bounds how much of each of the kernel's tables of sockets is read, in bytes. It makes them anew for
	// every read, which takes long on a machine with very many.
	tableLimit = 4 << 20
)

// Sockets returns the open sockets of the tree, without those that the agent has the other end of. It returns what it
// has when the time until is over. The error says what could not be read.
func (p *Process) Sockets(until time.Time) ([]Socket, error) {
	owners := map[string]int{} // by inode
	var errs []error
	for _, m := range p.Tree() {
		if err := addInodes(owners, m.PID, until); err != nil {
			errs = append(errs, err)
		}
	}
	if len(owners) == 0 {
		return nil, errors.Join(errs...)
	}
	ours := map[string]int{}
	if err := addInodes(ours, os.Getpid(), until); err != nil {
		errs = append(errs, err)
	}
	var found, own []Socket
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := readTable("/proc/"+strconv.Itoa(p.PID)+"/net/"+table, until)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
			errs = append(errs, err)
		}
		for _, line := range text {
			s, inode, ok := parseSocket(table, line)
			if !ok {
				continue
			}
			if pid, theirs := owners[inode]; theirs {
				s.PID = pid
				found = append(found, s)
			} else if _, agents := ours[inode]; agents {
				own = append(own, s)
			}
		}
	}
	return withoutOwn(found, own), errors.Join(errs...)
}

// withoutOwn leaves out what leads to the agent: connections of which it has the other end, and sockets that wait for
// its connections.
func withoutOwn(found, own []Socket) []Socket {
	type ends struct{ local, remote netip.AddrPort }
	agents, called := map[ends]bool{}, map[netip.AddrPort]bool{}
	for _, s := range own {
		agents[ends{s.Local, s.Remote}] = true
		if s.State != "LISTEN" {
			called[s.Remote] = true
		}
	}
	var left []Socket
	for _, s := range found {
		if !agents[ends{s.Remote, s.Local}] && (s.State != "LISTEN" || !called[s.Local]) {
			left = append(left, s)
		}
	}
	return left
}

// addInodes finds the sockets among the descriptors of a process.
func addInodes(owners map[string]int, pid int, until time.Time) error {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	names, err := folder.Readdirnames(socketFDs)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, name := range names {
		if time.Now().After(until) {
			return fmt.Errorf("%s: %w", dir, os.ErrDeadlineExceeded)
		}
		link, err := os.Readlink(dir + name)
		if err != nil {
			continue // closed meanwhile
		}
		inode, ok := strings.CutPrefix(link, "socket:[")
		inode = strings.TrimSuffix(inode, "]")
		if _, known := owners[inode]; ok && !known { // descendants inherit what the child has open
			owners[inode] = pid
		}
	}
	return nil
}

// readTable reads the lines of a table of sockets, without its head.
func readTable(name string, until time.Time) ([][]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var text []byte
	piece := make([]byte, 64<<10)
	for {
		n, err := f.Read(piece)
		text = append(text, piece[:n]...)
		switch {
		case errors.Is(err, io.EOF):
			err = nil
		case err == nil && (len(text) > tableLimit || time.Now().After(until)):
			err = fmt.Errorf("%s: %w", name, os.ErrDeadlineExceeded)
		case err == nil:
			continue
		}
		lines := bytes.Split(text, []byte("\n"))
		return lines[min(1, len(lines)):], err
	}
}

// parseSocket reads a line of a table of sockets: number, both ends, state, both queues, timers, user, …, inode.
func parseSocket(table string, line []byte) (s Socket, inode string, ok bool) {
	fields := strings.Fields(string(line))
	if len(fields) < 10 {
		return s, "", false
	}
	var state uint64
	var err [6]error
	s.Protocol = strings.TrimSuffix(table, "6")
	s.Local, err[0] = parseEnd(fields[1])
	s.Remote, err[1] = parseEnd(fields[2])
	state, err[2] = strconv.ParseUint(fields[3], 16, 8)
	unsent, received, _ := strings.Cut(fields[4], ":")
	s.Unsent, err[3] = strconv.ParseInt(unsent, 16, 64)
	s.Received, err[4] = strconv.ParseInt(received, 16, 64)
	s.UID, err[5] = strconv.Atoi(fields[7])
	if errors.Join(err[:]...) != nil || state >= uint64(len(tcpStates)) {
		return s, "", false
	}
	s.State = tcpStates[state]
	if s.Protocol == "udp" && s.State == "CLOSED" {
		s.State = "UNCONNECTED"
	}
	return s, fields[9], true
}

// parseEnd reads an address as the kernel writes it: words of four bytes in the order of the machine, then the port.
func parseEnd(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	words, err := hex.DecodeString(address)
	if err != nil || len(words)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("an address is %q", text)
	}
	for at := 0; at < len(words); at += 4 {
		binary.NativeEndian.PutUint32(words[at:], binary.BigEndian.Uint32(words[at:]))
	}
	addr, ok := netip.AddrFromSlice(words)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("an address is %q", text)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}

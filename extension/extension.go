// Package extension hosts the extensions beside the function: ten slots, one for each address from 127.0.0.1:8081 to
// 127.0.0.1:8090. It discovers and starts them, takes their registrations, tells them of every call, and stops them.
// It knows nothing of workers. What the documents leave open is decided in docs/COMPATIBILITY.md.
package extension

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

const (
	// Slots is how many extensions an instance can have, FirstPort the port of the first slot (page functiongraph_06_2707).
	Slots     = 10
	FirstPort = 8081
	LastPort  = FirstPort + Slots - 1
)

// Script is an extension that was found on disk.
type Script struct {
	// Name is the file's base name, which is also the extension's name.
	Name, Path string
	// Executable tells whether it is started directly; else /bin/sh runs it, because packages zipped on Windows carry no
	// execute bits.
	Executable bool
}

// Discover looks for extensions in the folders, in order: regular files extension*.sh, and any extension* with the
// execute bit; not recursive, sorted by name within a folder. A folder that does not exist is skipped. More than ten, or
// two of the same name, are an error that names them.
func Discover(dirs []string) ([]Script, error) {
	var found []Script
	seen := map[string]string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("extension folder: %w", err)
		}
		for _, e := range entries {
			s, err := Inspect(filepath.Join(dir, e.Name()))
			if err != nil {
				continue
			}
			if other, twice := seen[s.Name]; twice {
				return nil, fmt.Errorf("two extensions are called %s: %s and %s; rename one", s.Name, other, s.Path)
			}
			seen[s.Name] = s.Path
			found = append(found, s)
		}
	}
	if len(found) > Slots {
		var names []string
		for _, s := range found {
			names = append(names, s.Path)
		}
		return nil, fmt.Errorf("%d extensions, at most %d are possible: %s", len(found), Slots, strings.Join(names, ", "))
	}
	return found, nil
}

// Inspect says how the agent starts the file at path. The error says why Discover passes it over, and what would be right;
// name and path are filled in nevertheless.
func Inspect(path string) (Script, error) {
	s := Script{Name: filepath.Base(path), Path: path}
	info, err := os.Stat(path) // follows links, as exec does
	if err != nil {
		return s, err
	}
	s.Executable = info.Mode()&0o111 != 0
	switch {
	case !info.Mode().IsRegular():
		return s, fmt.Errorf("%s is no file", s.Name)
	case !strings.HasPrefix(s.Name, "extension"):
		return s, fmt.Errorf("%s is not called extension…, so the agent passes it over", s.Name)
	case !s.Executable && !strings.HasSuffix(s.Name, ".sh"):
		return s, fmt.Errorf("%s lacks the execute bit, and is not called ….sh, so the agent passes it over", s.Name)
	}
	return s, nil
}

// ParseAddress checks the address an extension registers with. It must be literally 127.0.0.1 and a port from 8081 to
// 8090: the agent will send requests there, so nothing is resolved and nothing else is accepted.
func ParseAddress(s string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil || addr.String() != s {
		return netip.AddrPort{}, fmt.Errorf("address %.100q is not ip:port; write for example 127.0.0.1:%d", s, FirstPort)
	}
	if addr.Addr() != netip.AddrFrom4([4]byte{127, 0, 0, 1}) || addr.Port() < FirstPort || addr.Port() > LastPort {
		return netip.AddrPort{}, fmt.Errorf("address %s is outside 127.0.0.1:%d to 127.0.0.1:%d", addr, FirstPort, LastPort)
	}
	return addr, nil
}

func slotOf(addr netip.AddrPort) int { return int(addr.Port()) - FirstPort }

// Package extension hosts the extensions beside the function: ten seats, one for each address from 127.0.0.1:8081 to
// 127.0.0.1:8090. It discovers and starts them, takes their registrations, notifies them of every call, and stops them.
// It knows nothing of workers. What the documents leave open is decided in docs/COMPATIBILITY.md.
package extension

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

const (
	// Seats is how many extensions an instance can have, FirstPort the port of the first seat (page
	// functiongraph_06_2707).
	Seats     = 10
	FirstPort = 8081
	LastPort  = FirstPort + Seats - 1
)

// Script is an extension that was found on disk.
type Script struct {
	// Name is the file's base name, which is also the extension's name.
	Name, Path string
	// Executable is set where it is started directly; else /bin/sh runs it, because packages zipped on Windows carry no
	// execute bits.
	Executable bool
}

// PassedOver is the error for a file that is no extension.
type PassedOver struct {
	// Why says what is wrong with the file, beginning with its name; Right what would be right.
	Why, Right string
}

// Error implements error.
func (p *PassedOver) Error() string { return p.Why + ", so the agent passes it over" }

// Discover looks for extensions in the folders, in order: regular files extension*.sh, and any extension* with the
// execute bit; not recursive, sorted by name within a folder. A folder that does not exist is skipped. More than ten,
// or two of the same name, are an error that names them. passed says which files were probably meant to be extensions
// and are none: those whose name or content says so, and all of a folder that has no extension.
func Discover(dirs []string) (found []Script, passed []*PassedOver, err error) {
	seen := map[string]string{}
	for _, dir := range dirs {
		scripts, meant, err := discoverIn(dir)
		if err != nil {
			return nil, nil, err
		}
		passed = append(passed, meant...)
		for _, s := range scripts {
			if other, twice := seen[s.Name]; twice {
				return nil, nil, fmt.Errorf("two extensions are called %s: %s and %s; rename one", s.Name, other, s.Path)
			}
			seen[s.Name] = s.Path
			found = append(found, s)
		}
	}
	if len(found) > Seats {
		var names []string
		for _, s := range found {
			names = append(names, s.Path)
		}
		return nil, nil, fmt.Errorf(
			"%d extensions, at most %d are possible: %s",
			len(found),
			Seats,
			strings.Join(names, ", "),
		)
	}
	return found, passed, nil
}

// discoverIn looks into one folder.
func discoverIn(dir string) (found []Script, meant []*PassedOver, err error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("extension folder: %w", err)
	}
	var others []*PassedOver
	for _, e := range entries {
		s, err := Inspect(filepath.Join(dir, e.Name()))
		var p *PassedOver
		switch {
		case err == nil:
			found = append(found, s)
		case !errors.As(err, &p):
			meant = append(
				meant,
				&PassedOver{Why: fmt.Sprintf("%s cannot be read (%v)", s.Path, err), Right: "mend or remove it"},
			)
		case calledExtension(s.Name), !e.IsDir() && (s.Executable || runs(s.Path)):
			meant = append(meant, p)
		case !e.IsDir():
			others = append(others, p)
		}
	}
	if len(found) == 0 { // then there is nothing that the others could belong to
		meant = append(meant, others...)
	}
	return found, meant, nil
}

// calledExtension reports whether a name begins with extension, in whatever letter case.
func calledExtension(name string) bool {
	const prefix = "extension"
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// runs reports whether a file is a program or a script by its first bytes.
func runs(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	return (err == nil || n >= 2) && (strings.HasPrefix(string(head), "#!") || string(head) == "\x7fELF")
}

// Inspect says how the agent starts the file at path. The error, a *PassedOver for a file that is there, says why
// Discover passes it over, and what would be right; name and path are filled in nevertheless.
func Inspect(path string) (Script, error) {
	s := Script{Name: filepath.Base(path), Path: path}
	info, err := os.Stat(path) // follows links, as exec does
	if err != nil {
		return s, err
	}
	if !info.Mode().IsRegular() {
		return s, &PassedOver{Why: s.Path + " is no file", Right: "put a program or a script there; folders are not searched"}
	}
	s.Executable = info.Mode()&0o111 != 0
	named := strings.HasPrefix(s.Name, "extension")
	starts := s.Executable || strings.HasSuffix(s.Name, ".sh")
	right := "extension" + strings.ToUpper(s.Name[:1]) + s.Name[1:]
	if calledExtension(s.Name) { // but in other letters
		right = "extension" + s.Name[len("extension"):]
	}
	rename := fmt.Sprintf("mv %s %s", s.Path, filepath.Join(filepath.Dir(s.Path), right))
	switch {
	case !named && !starts:
		return s, &PassedOver{
			Why:   s.Path + " is not called extension…, and lacks the execute bit",
			Right: rename + ", and chmod +x it",
		}
	case !named:
		return s, &PassedOver{Why: s.Path + " is not called extension…", Right: rename}
	case !starts:
		return s, &PassedOver{Why: s.Path + " lacks the execute bit, and is not called ….sh", Right: "chmod +x " + s.Path}
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

func seatOf(addr netip.AddrPort) int { return int(addr.Port()) - FirstPort }

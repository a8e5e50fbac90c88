// Package zone has time zones by name, also where the system has no zone files, as in an image from scratch. The
// program carries a copy of those that come with Go, packed as one: 56 KB in place of the 450 KB of time/tzdata.
package zone

import (
	"bufio"
	"bytes"
	"compress/zlib"
	_ "embed" // for packed
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// packed is what generate.go has made of Go's zone files.
//
//go:generate go run generate.go $GOROOT/lib/time zones.zz
//go:embed zones.zz
var packed []byte

// Load returns a time zone by its name in the IANA's database, such as Asia/Shanghai: from the system's files, which
// may be newer, or else from the copy.
func Load(name string) (*time.Location, error) {
	if name == "" { // which time takes for UTC
		return nil, fmt.Errorf("the name of the time zone is empty, want one like Asia/Shanghai or UTC")
	}
	if found, err := time.LoadLocation(name); err == nil {
		return found, nil
	}
	return Packed(name)
}

// Packed is Load from the copy alone.
func Packed(name string) (*time.Location, error) {
	var found *time.Location
	err := unpack(func(at *entry, files *bufio.Reader) (bool, error) {
		if !at.has(name) {
			return true, nil
		}
		if _, err := files.Discard(at.offset); err != nil {
			return false, err
		}
		data := make([]byte, at.size)
		if _, err := io.ReadFull(files, data); err != nil {
			return false, err
		}
		var err error
		found, err = time.LoadLocationFromTZData(name, data)
		return false, err
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("the program's copy of the time zones cannot be read: %w", err)
	case found == nil:
		return nil, fmt.Errorf("there is no time zone %.100q, want a name like Asia/Shanghai, Europe/Berlin or UTC", name)
	}
	return found, nil
}

// Names are those of all zones in the copy, and Release is the version of the IANA's database that it is of.
func Names() (names []string, release string, err error) {
	err = unpack(func(at *entry, _ *bufio.Reader) (bool, error) {
		names, release = append(names, at.names...), at.release
		return true, nil
	})
	return names, release, err
}

// entry is one file of the copy, which several zones may share.
type entry struct {
	names        []string
	offset, size int
	release      string
}

func (e *entry) has(name string) bool {
	for _, n := range e.names {
		if n == name {
			return true
		}
	}
	return false
}

// unpack reads the index and calls look with each file of it, until that says that it wants no more. The copy has a
// line with the version of the database, a line for each file with its size and its names, an empty line, and then the
// files. The reader is at their beginning when look is called for the entry that it wants; so the index is read first.
func unpack(look func(at *entry, files *bufio.Reader) (more bool, err error)) error {
	stream, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // of what was read in part
	in := bufio.NewReader(stream)
	release, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	var all []*entry
	for offset := 0; ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		fields := strings.Fields(line)
		if len(fields) == 0 {
			break
		}
		size, err := strconv.Atoi(fields[0])
		if err != nil {
			return err
		}
		all = append(all, &entry{fields[1:], offset, size, strings.TrimSpace(release)})
		offset += size
	}
	for _, e := range all {
		if more, err := look(e, in); err != nil || !more {
			return err
		}
	}
	return nil
}

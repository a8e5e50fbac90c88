//go:build ignore

// The generator of zones.zz: go generate ./timer/zone, after an update of Go. Its arguments are the folder lib/time of
// Go and the file to write.
package main

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	packed, err := pack(os.Args[1])
	if err == nil {
		err = os.WriteFile(os.Args[2], packed, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// pack makes one compressed stream of all files: as an archive they would be compressed one by one, and they are small
// and much alike. A file that several zones share is in it once.
func pack(folder string) ([]byte, error) {
	script, err := os.ReadFile(filepath.Join(folder, "update.bash"))
	if err != nil {
		return nil, err
	}
	release := regexp.MustCompile(`(?m)^DATA=(\w+)$`).FindSubmatch(script)
	if release == nil {
		return nil, fmt.Errorf("update.bash does not say which version of the database it is")
	}
	names, err := read(filepath.Join(folder, "zoneinfo.zip"))
	if err != nil {
		return nil, err
	}
	var lines []string
	files := map[string]string{} // by the line of the index
	for text, all := range names {
		slices.Sort(all)
		line := fmt.Sprintf("%d %s\n", len(text), strings.Join(all, " "))
		lines, files[line] = append(lines, line), text
	}
	byName := func(a, b string) int {
		return strings.Compare(a[strings.IndexByte(a, ' '):], b[strings.IndexByte(b, ' '):])
	}
	slices.SortFunc(lines, byName)
	var out bytes.Buffer
	w, err := zlib.NewWriterLevel(&out, zlib.BestCompression)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(w, "%s\n%s\n", release[1], strings.Join(lines, ""))
	for _, line := range lines {
		if _, err := io.WriteString(w, files[line]); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return out.Bytes(), err
}

// read returns the names of the zones, by what is in their files.
func read(archive string) (map[string][]string, error) {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	names := map[string][]string{}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(r)
		if err == nil {
			text, err = shorten(text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		names[string(text)] = append(names[string(text)], f.Name)
	}
	return names, nil
}

// from is where the copy begins: a timer looks ahead, and most of what the files have is of the century before.
var from = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)

// header of a TZif file (RFC 8536), and of its second part, which has times of 64 bits.
type header struct {
	Magic                                       [4]byte
	Version                                     byte
	Reserved                                    [15]byte
	UTC, Standard, Leaps, Times, Types, Letters uint32
}

// size of what follows the header, in a part with times of so many bytes.
func (h *header) size(time uint32) int {
	return int(h.Times*(time+1) + h.Types*6 + h.Letters + h.Leaps*(time+4) + h.Standard + h.UTC)
}

// shorten leaves out the part with times of 32 bits, and of the other one the changes before from. The one
// that was in force then is as if it were made then.
func shorten(file []byte) ([]byte, error) {
	in := bytes.NewReader(file)
	var h header
	for _, time := range []uint32{4, 0} {
		if err := binary.Read(in, binary.BigEndian, &h); err != nil || string(h.Magic[:]) != "TZif" || h.Version < '2' {
			return nil, fmt.Errorf("it is no TZif file of version 2 or later (%v)", err)
		}
		if time > 0 {
			in.Seek(int64(h.size(time)), io.SeekCurrent)
		}
	}
	times, types := make([]int64, h.Times), make([]byte, h.Times)
	infos, letters := make([][6]byte, h.Types), make([]byte, h.Letters)
	for _, part := range []any{times, types, infos, letters} {
		if err := binary.Read(in, binary.BigEndian, part); err != nil {
			return nil, err
		}
	}
	if h.Leaps > 0 {
		return nil, errors.New("it has leap seconds")
	}
	in.Seek(int64(h.Standard+h.UTC), io.SeekCurrent)
	rule, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	for len(times) > 1 && times[1] <= from.Unix() {
		times, types = times[1:], types[1:]
	}
	used := []byte{}
	if len(times) == 0 {
		used = append(used, 0)
	} else if times[0] < from.Unix() {
		times[0] = from.Unix() // files that differ in the past alone are in the copy once
	}
	for i, t := range types {
		at := slices.Index(used, t)
		if at < 0 {
			at, used = len(used), append(used, t)
		}
		types[i] = byte(at)
	}
	kept, names := inUse(used, infos, letters)
	var out bytes.Buffer
	empty := header{Magic: h.Magic, Version: h.Version, Types: 1, Letters: 1}
	h = header{
		Magic: h.Magic, Version: h.Version, Times: uint32(len(times)), Types: uint32(len(kept)), Letters: uint32(len(names)),
	}
	for _, part := range []any{empty, make([]byte, empty.size(4)), h, times, types, kept, names, rule} {
		if err := binary.Write(&out, binary.BigEndian, part); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// inUse are the types of time that are used, and the letters of their names.
func inUse(used []byte, infos [][6]byte, letters []byte) (kept [][6]byte, names []byte) {
	for _, t := range used {
		info := infos[t]
		name, _, _ := bytes.Cut(letters[info[5]:], []byte{0})
		name = append(bytes.Clone(name), 0)
		at := bytes.Index(names, name)
		if at < 0 {
			at, names = len(names), append(names, name...)
		}
		info[5] = byte(at)
		kept = append(kept, info)
	}
	return kept, names
}

package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one entry of an archive or of a package: a regular file, a folder, or a symbolic link.
type file struct {
	path string // slashes, relative to the top
	mode fs.FileMode
	data []byte
	link string // the target of a symbolic link
}

// find returns the file with this path; a missing one is a defect of this program.
func find(files []file, path string) file {
	i := slices.IndexFunc(files, func(f file) bool { return f.path == path })
	if i < 0 {
		panic("no file " + path)
	}
	return files[i]
}

// below returns the files moved into a folder.
func below(folder string, files []file) []file {
	moved := slices.Clone(files)
	for i := range moved {
		moved[i].path = path.Join(folder, moved[i].path)
	}
	return moved
}

// withFolders adds the folders that hold the files, where they are not among them.
func withFolders(files []file) []file {
	all := map[string]file{}
	for _, f := range files {
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			if _, there := all[dir]; !there {
				all[dir] = file{path: dir, mode: fs.ModeDir | 0o755}
			}
		}
	}
	for _, f := range files {
		all[f.path] = f
	}
	return slices.SortedFunc(maps.Values(all), func(a, b file) int { return cmp.Compare(a.path, b.path) })
}

// archive is a tar archive: sorted, of root, with one time for all.
func archive(files []file, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range slices.SortedFunc(slices.Values(files), func(a, b file) int { return cmp.Compare(a.path, b.path) }) {
		h := &tar.Header{
			Name: f.path, Mode: int64(f.mode.Perm()), Size: int64(len(f.data)), ModTime: at, Format: tar.FormatPAX,
			Uname: "root", Gname: "root",
		}
		if f.mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		switch {
		case f.mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, f.path+"/"
		case f.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		default:
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// zipped is data in gzip's format, without a name and a time.
func zipped(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// readTree returns the regular files and links below a folder, with paths relative to it, and only two modes: 0755
// for what is executable, 0644 for the rest, whatever the umask of the checkout was.
func readTree(folder string, wanted func(path string) bool) (files []file, err error) {
	err = filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil || !wanted(filepath.ToSlash(relative)) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := file{path: filepath.ToSlash(relative), mode: 0o644}
		if info.Mode()&fs.ModeSymlink != 0 {
			f.link, err = os.Readlink(name)
		} else {
			f.data, err = os.ReadFile(name)
		}
		if info.Mode()&0o100 != 0 {
			f.mode = 0o755
		}
		files = append(files, f)
		return err
	})
	return files, err
}

// within reports whether a path lies in a folder, or is that folder.
func within(folder, path string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

package language

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Limits of the search for what a script bootstrap starts: a folder that has more is taken for a custom runtime.
const (
	maxSearchedFiles = 2000
	maxSearchedBytes = 64 << 20
)

// errEnough ends a walk.
var errEnough = errors.New("enough was seen")

// servesHTTP reports whether a code folder belongs to an HTTP function, whose bootstrap is a script that starts a web
// server on port 8000: the folder has a file that mentions the port, and none that mentions the variable by which every
// custom runtime finds its events. file is what the language was recognised by: bootstrap itself, or a file that
// bootstrap has to name. In doubt it is no HTTP function.
func servesHTTP(codeRoot, file string) bool {
	bootstrap := filepath.Join(codeRoot, customProgram)
	if !regular(bootstrap) {
		return false
	}
	text, err := readStart(bootstrap, 64<<10)
	if err != nil || bytes.IndexByte(text, 0) >= 0 || file != customProgram && !bytes.Contains(text, []byte(file)) {
		return false
	}
	port, files, left := false, 0, int64(maxSearchedBytes)
	err = filepath.WalkDir(codeRoot, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(path) // a link may lead to the program
		if err != nil || !info.Mode().IsRegular() {
			return errEnough
		}
		files++
		if left -= info.Size(); files > maxSearchedFiles || left < 0 {
			return errEnough
		}
		text, err := readStart(path, info.Size())
		if err != nil || bytes.Contains(text, []byte("RUNTIME_API_ADDR")) {
			return errEnough
		}
		port = port || bytes.Contains(text, []byte("8000"))
		return nil
	})
	return err == nil && port
}

// readStart reads at most n bytes of a file.
func readStart(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

package language

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func regular(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
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

// findIn looks a program up in the folders of path; empty if it is in none. A relative folder would let the code folder
// replace an interpreter.
func findIn(path, name string) string {
	for dir := range strings.SplitSeq(path, ":") {
		if file := filepath.Join(dir, name); filepath.IsAbs(dir) && executable(file) {
			return file
		}
	}
	return ""
}

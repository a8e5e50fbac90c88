package language

import (
	"bytes"
	"errors"
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
	port, polls := mentions(codeRoot)
	return port && !polls
}

// mentions reports whether a file of the folder mentions port 8000, and whether one mentions, or may mention, the
// runtime API.
func mentions(codeRoot string) (port, polls bool) {
	files, left := 0, int64(maxSearchedBytes)
	err := filepath.WalkDir(codeRoot, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err == nil && e.Name() == "node_modules" && e.IsDir():
			return fs.SkipDir // many files of others
		case err == nil && e.Name() == "node_modules":
			return nil
		case err != nil || e.IsDir():
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
	return port, err != nil
}

// noCustomRuntime reports whether the folder's bootstrap is a text without a first line like #!/bin/sh and without an
// execute bit, which the platform cannot start as a custom runtime, and no file mentions the runtime API. One that does
// was meant to be a custom runtime, and its start says what it lacks.
func noCustomRuntime(codeRoot string) bool {
	bootstrap := filepath.Join(codeRoot, customProgram)
	line, ok, err := scriptLine(bootstrap)
	if err != nil || !ok || line != "" || executable(bootstrap) {
		return false
	}
	text, err := readStart(bootstrap, 64<<10)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return false
	}
	_, polls := mentions(codeRoot)
	return !polls
}

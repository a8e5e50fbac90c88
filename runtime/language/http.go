package language

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Limits of the search for what a script bootstrap starts: what lies beyond them is not seen.
const (
	maxSearchedFiles = 2000
	maxSearchedBytes = 64 << 20
)

// errEnough ends a walk.
var errEnough = errors.New("enough was seen")

// mentions is what the files of a code folder mention: port 8000, the variable PORT, and the variable by which every
// custom runtime finds its events. whole says that all of them were searched, or enough of them to find the last.
type mentions struct{ port, variable, api, whole bool }

// search looks for what the files of a folder mention, until one mentions the runtime API.
func search(codeRoot string) (m mentions) {
	files, left := 0, int64(maxSearchedBytes)
	err := filepath.WalkDir(codeRoot, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err == nil && e.IsDir() && othersFolder(path):
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
		if err != nil {
			return errEnough
		}
		if m.api = bytes.Contains(text, []byte("RUNTIME_API_ADDR")); m.api {
			return errEnough
		}
		m.port = m.port || bytes.Contains(text, []byte("8000"))
		m.variable = m.variable || hasVariable(text, "PORT")
		return nil
	})
	m.whole = err == nil || m.api
	return m
}

// hasVariable reports whether a text has a name that is no part of a longer one.
func hasVariable(text []byte, name string) bool {
	for from := 0; ; {
		at := bytes.Index(text[from:], []byte(name))
		if at < 0 {
			return false
		}
		start, end := from+at, from+at+len(name)
		if (start == 0 || !inName(text[start-1])) && (end == len(text) || !inName(text[end])) {
			return true
		}
		from = end
	}
}

func inName(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// othersFolder reports whether a folder has what npm or Composer installed.
func othersFolder(path string) bool {
	name := filepath.Base(path)
	return name == "node_modules" || name == "vendor" && regular(filepath.Join(path, "autoload.php"))
}

// servesHTTP reports whether a code folder belongs to an HTTP function, whose bootstrap is a script that starts a web
// server on port 8000: the folder has a file that mentions the port, and none that mentions the runtime API. file is
// what the language was recognised by: bootstrap itself, or a file that bootstrap has to name. If it names one, the
// port may also be that of the variable PORT, and a bootstrap that cannot be a custom runtime needs none.
func servesHTTP(codeRoot, file string, found func() mentions) bool {
	bootstrap := filepath.Join(codeRoot, customProgram)
	if !regular(bootstrap) {
		return false
	}
	text, err := readStart(bootstrap, 64<<10)
	if err != nil || bytes.IndexByte(text, 0) >= 0 || file != customProgram && !bytes.Contains(text, []byte(file)) {
		return false
	}
	m := found()
	if m.api || !m.whole {
		return false
	}
	return m.port || file != customProgram && (m.variable || noCustomRuntime(codeRoot, found))
}

// noCustomRuntime reports whether the folder's bootstrap is a text without a first line like #!/bin/sh and without an
// execute bit, which the platform cannot start as a custom runtime, and no file mentions the runtime API. One that does
// was meant to be a custom runtime, and its start says what it lacks.
func noCustomRuntime(codeRoot string, found func() mentions) bool {
	bootstrap := filepath.Join(codeRoot, customProgram)
	line, ok, err := scriptLine(bootstrap)
	if err != nil || !ok || line != "" || executable(bootstrap) {
		return false
	}
	text, err := readStart(bootstrap, 64<<10)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return false
	}
	m := found()
	return !m.api && m.whole
}

// mayBeEither reports whether the folder's bootstrap can be run, and it is only seen then what it is: a program, which
// may know the variable of the runtime API and serve all the same, or a script where no file mentions that.
func mayBeEither(codeRoot string, found func() mentions) bool {
	bootstrap := filepath.Join(codeRoot, customProgram)
	return executable(bootstrap) && (isProgram(bootstrap) || !found().api)
}

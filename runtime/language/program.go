package language

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// FindProgram returns the absolute path of what a worker of a function with that code folder and handler is started by:
// the interpreter, for which path is the value of PATH, or the function's own program; command is the command line of a
// server, empty for its script.
func (l *Language) FindProgram(path, codeRoot, handler string, command []string) (string, error) {
	if l.Listens() {
		return l.findServer(path, codeRoot, command)
	}
	if l.OwnProgram() {
		return l.findOwnProgram(codeRoot, handler)
	}
	if l.Archive != "" {
		if _, err := l.archiveFile(); err != nil {
			return "", err
		}
	}
	return l.findInterpreter(path)
}

func (l *Language) findInterpreter(path string) (string, error) {
	if file := findIn(path, l.Program); file != "" {
		return file, nil
	}
	found, err := filepath.Glob(l.Platform)
	if err != nil {
		return "", err
	}
	best := ""
	for _, file := range found {
		if executable(file) && (best == "" || versionOf(file) > versionOf(best)) {
			best = file
		}
	}
	if best == "" {
		return "", fmt.Errorf(
			"%s was not found: neither %q in PATH (%s) nor %s; install %s %s or later, or put it into PATH",
			l.Title,
			l.Program,
			path,
			l.Platform,
			l.Title,
			l.MinVersion,
		)
	}
	return best, nil
}

// versionOf reads the version out of a platform path like …/nodejs16.17/rtsp/…, as major*1000+minor.
func versionOf(file string) int {
	rest := strings.TrimLeft(strings.TrimPrefix(file, "/opt/function/runtime/"), "abcdefghijklmnopqrstuvwxyz")
	rest, _, _ = strings.Cut(rest, "/")
	major, minor, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(cmp.Or(minor, "0"))
	if err1 != nil || err2 != nil {
		return 0
	}
	return a*1000 + b
}

// findOwnProgram does not look whether the program can be run: that is seen when it is started, which says why not.
func (l *Language) findOwnProgram(codeRoot, handler string) (string, error) {
	name := handler
	if l.File != "" {
		name = l.File
	}
	file := filepath.Join(codeRoot, name)
	if !regular(file) {
		return "", fmt.Errorf("%s: the code folder %s has no file %q: put the program there", l.Title, codeRoot, name)
	}
	return file, nil
}

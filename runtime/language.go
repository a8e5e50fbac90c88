package runtime

import (
	_ "embed"
	"fmt"
	"gantry/fault"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed worker/nodejs/worker.js
var nodejsSource []byte

// Language is one row of the table of languages: data, no behaviour of its own.
type Language struct {
	// Name is the value of GANTRY_RUNTIME.
	Name string
	// Title is what people call it.
	Title string
	// Extensions are the file extensions by which a code folder is recognised, the handler's first.
	Extensions []string
	// Program is looked up in PATH, then below Platform, a pattern of the platform's own interpreter paths (14.3).
	Program, Platform string
	// Source is the worker, handed to the interpreter as SourcePath after Arguments.
	Source    []byte
	Arguments []string
	// MinVersion is the oldest major version that can run Source.
	MinVersion int
}

// Languages is the table.
var Languages = []*Language{{
	Name: "nodejs", Title: "Node.js", Extensions: []string{".js", ".mjs", ".cjs"},
	Program: "node", Platform: "/opt/function/runtime/nodejs*/rtsp/nodejs/bin/node",
	Source: nodejsSource, Arguments: []string{"--preserve-symlinks-main"}, MinVersion: 10,
}}

// LanguageByName returns the row with that name.
func LanguageByName(name string) (*Language, error) {
	var names []string
	for _, l := range Languages {
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	return nil, fmt.Errorf("runtime %q is not one of: %s", name, strings.Join(names, ", "))
}

// DetectLanguage returns the language whose handler file lies in the code folder. handler may be the zero value.
func DetectLanguage(codeRoot, handlerFile string) *Language {
	for _, l := range Languages {
		for _, ext := range l.Extensions {
			if info, err := os.Stat(filepath.Join(codeRoot, handlerFile+ext)); err == nil && info.Mode().IsRegular() {
				return l
			}
		}
	}
	return nil
}

// FindProgram returns the absolute path of the language's interpreter. path is the value of PATH.
func (l *Language) FindProgram(path string) (string, error) {
	for dir := range strings.SplitSeq(path, ":") {
		if !filepath.IsAbs(dir) {
			continue // a relative entry would let the code folder replace the interpreter
		}
		if file := filepath.Join(dir, l.Program); executable(file) {
			return file, nil
		}
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
		return "", fmt.Errorf("%s was not found: neither %q in PATH (%s) nor %s; install %s %d or later, or put it into PATH", l.Title, l.Program, path, l.Platform, l.Title, l.MinVersion)
	}
	return best, nil
}

// tooOld is the start-up error for an interpreter that cannot run the worker.
func (l *Language) tooOld(program, version string) *fault.Error {
	return &fault.Error{
		Kind: fault.Init, Type: fault.TypeStart, Code: fault.CodeStartTimeout,
		Message: fmt.Sprintf("%s is %s %s; %s %d or later is needed: install it, or put it first in PATH", program, l.Title, version, l.Title, l.MinVersion),
	}
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// versionOf reads the version out of a platform path like …/nodejs16.17/rtsp/…, as major*1000+minor.
func versionOf(file string) int {
	rest := strings.TrimLeft(strings.TrimPrefix(file, "/opt/function/runtime/"), "abcdefghijklmnopqrstuvwxyz")
	rest, _, _ = strings.Cut(rest, "/")
	major, minor, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	if err1 != nil || err2 != nil {
		return 0
	}
	return a*1000 + b
}

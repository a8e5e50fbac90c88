package language

import (
	"fmt"
	"gantry/fault"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// EarlyHint is the hint for an end before Hello with these last lines; hint if they show nothing.
func (l *Language) EarlyHint(stderr []string, codeRoot, hint string) string {
	for _, sign := range l.Early {
		if slices.ContainsFunc(stderr, func(line string) bool { return strings.Contains(line, sign.Text) }) {
			return strings.ReplaceAll(sign.Hint, "{code}", filepath.Base(codeRoot))
		}
	}
	return hint
}

// LoadHint is the hint for a load that failed because the code folder has no file of the handler: what it has instead.
// Empty if the file is there.
func (l *Language) LoadHint(codeRoot, handler string) string {
	if len(l.Extensions) == 0 || l.handlerFile(codeRoot, handler) != "" {
		return ""
	}
	entries, err := os.ReadDir(codeRoot)
	if err != nil {
		return "" // which the error of the load says
	}
	return (&folder{path: codeRoot, handler: handler, entries: entries}).remark(l)
}

// EndHint is the hint for an end by itself with that exit code. program is what was started, stderr its last lines.
func (l *Language) EndHint(program string, code int, stderr []string) string {
	hint := "the process ended by itself: " + l.Ends + lastLinesSay(stderr)
	if l.OwnProgram() && code != 0 {
		hint += shellRemark(program, platformShell())
	}
	return hint
}

// AbortHint is the hint for an end by SIGABRT, with these last lines of stderr.
func (l *Language) AbortHint(stderr []string) string {
	if slices.ContainsFunc(stderr, func(line string) bool { return strings.Contains(line, "heap out of memory") }) {
		return "the heap of Node.js is full: raise RUNTIME_MEMORY, or --max-old-space-size where NODE_OPTIONS sets it"
	}
	return "the process aborted itself: abort() in the code or in a native module, or a check that failed" + lastLinesSay(stderr)
}

// lastLinesSay points at the last lines of stderr where there are any. What a process prints to stdout is in the log
// only.
func lastLinesSay(stderr []string) string {
	if len(stderr) == 0 {
		return ""
	}
	return "; its last lines say more"
}

// VersionIn returns the version in what the interpreter prints for --version: Python 3.6.15, v8.17.0.
func (l *Language) VersionIn(printed string) string {
	return strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(printed), l.Title+" "), "v")
}

// TooOld is the start-up error for an interpreter of a version that cannot run the worker; nil for one that can, and
// for what is no version.
func (l *Language) TooOld(program, version string) *fault.Error {
	if v, ok := ParseVersion(version); !ok || !v.Before(l.MinVersion) {
		return nil
	}
	return &fault.Error{
		Kind: fault.Init,
		Type: fault.TypeStart,
		Code: fault.CodeStartTimeout,
		Message: fmt.Sprintf(
			"%s is %s %s; %s %s or later is needed: install it, or put it first in PATH",
			program,
			l.Title,
			version,
			l.Title,
			l.MinVersion,
		),
	}
}

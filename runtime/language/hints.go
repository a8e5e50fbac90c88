package language

import (
	"fmt"
	"gantry/fault"
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

// EndHint is the hint for an end by itself with that exit code. program is what was started.
func (l *Language) EndHint(program string, code int) string {
	hint := "the process ended by itself: " + l.Ends + "; its last lines say more"
	if l.OwnProgram() && code != 0 {
		hint += shellRemark(program, platformShell())
	}
	return hint
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

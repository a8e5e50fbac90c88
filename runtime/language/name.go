package language

import (
	"fmt"
	"strings"
)

// ByName returns the row with that name, or with a name that the platform has for it, like Node.js20.15: of which
// version it is says the interpreter that is here.
func ByName(name string) (*Language, error) {
	var names []string
	lower := strings.ToLower(strings.TrimSpace(name))
	for _, l := range All {
		if l.Name == lower || platformName(lower, l.Name) || platformName(lower, strings.ToLower(l.Title)) {
			if l.OldVersion != "" && strings.HasPrefix(lower, l.Name+l.OldVersion) {
				return nil, l.oldVersion(name)
			}
			return l, nil
		}
		names = append(names, l.Name)
	}
	for _, m := range missing {
		if m.name == lower || platformName(lower, m.platform) {
			return nil, fmt.Errorf("%s functions are not supported in this version: %s", m.title, m.instead)
		}
	}
	return nil, fmt.Errorf(
		"runtime %q is not one of: %s; nor has the platform such a name, which would be like Node.js20.15, Python3.10, Go1.x or Custom",
		name,
		strings.Join(names, ", "),
	)
}

// oldVersion is the error for the platform's name of a version that is too old for any worker here.
func (l *Language) oldVersion(name string) error {
	return fmt.Errorf(
		"runtime %q: %s %s is not supported; %s %s and later are",
		name,
		l.Title,
		l.OldVersion,
		l.Title,
		l.MinVersion,
	)
}

// platformName reports whether name is one of the platform's for a language: how these begin, and a version.
func platformName(name, begin string) bool {
	version, ok := strings.CutPrefix(name, begin)
	return ok && strings.Trim(version, "0123456789.x)") == ""
}

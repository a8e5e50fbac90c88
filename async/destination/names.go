package destination

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Limits of the names in a param, in bytes. Names are parts of paths: of a service's, or of files.
const (
	maxBucket = 63 // of OBS
	maxTopic  = 512
	maxStream = 255
	// maxPrefix leaves room for the rest of an object's name, of which OBS takes 1,024 bytes.
	maxPrefix = 1024 - 256
	// maxFileName is the kernel's.
	maxFileName = 255
)

const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-"

// checkName takes the characters that names and URNs of the services have.
func checkName(name, value string, most int) error {
	switch {
	case len(value) > most:
		return fmt.Errorf(": %s has %d bytes, want at most %d", name, len(value), most)
	case dots(value) || strings.Trim(value, nameCharacters) != "":
		return fmt.Errorf(": %s is %.80q, want letters, digits, dots, colons, hyphens and underscores", name, value)
	}
	return nil
}

// dots reports whether a name means the folder itself or the one above.
func dots(name string) bool { return name == "." || name == ".." }

// checkPrefix takes what may begin the name of an object: slashes at either end or doubled are left out there.
func checkPrefix(prefix string) error {
	switch {
	case len(prefix) > maxPrefix:
		return fmt.Errorf(": prefix has %d bytes, want at most %d", len(prefix), maxPrefix)
	case strings.ContainsFunc(prefix, unicode.IsControl):
		return fmt.Errorf(": prefix is %.80q, want no control characters", prefix)
	case slices.ContainsFunc(strings.Split(prefix, "/"), dots):
		return fmt.Errorf(": prefix is %.80q, want neither . nor .. between slashes", prefix)
	}
	return nil
}

package language

import (
	"fmt"
	"strconv"
)

// Version is the part of an interpreter's version that decides what it can run.
type Version struct{ Major, Minor int }

// String leaves a minor number of 0 out.
func (v Version) String() string {
	if v.Minor == 0 {
		return strconv.Itoa(v.Major)
	}
	return strconv.Itoa(v.Major) + "." + strconv.Itoa(v.Minor)
}

// Before reports whether v is older than other.
func (v Version) Before(other Version) bool {
	return v.Major < other.Major || v.Major == other.Major && v.Minor < other.Minor
}

// ParseVersion reads the beginning of a version like 20.1.0 or 3.8.
func ParseVersion(s string) (Version, bool) {
	var v Version
	n, _ := fmt.Sscanf(s, "%d.%d", &v.Major, &v.Minor) // n is 1 if there is no minor number
	return v, n > 0
}

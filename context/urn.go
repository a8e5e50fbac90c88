package fncontext

import (
	"fmt"
	"strings"
)

// MaxURN is the longest function identifier, in bytes (docs/COMPATIBILITY.md).
const MaxURN = 269

// Latest is the version a short identifier means.
const Latest = "latest"

// URN is a function identifier as callers of the platform API write it, taken apart. Region, Project and Package are
// empty where the form has no such field. Either Version or Alias is set.
type URN struct {
	Region, Project, Package, Name string
	Version                        string
	// Alias has no "!".
	Alias string
}

const urnForms = "write name, package:name, project:package:name, project:package:name:version, or urn:fss:region:project:function:package:name with or without :version; an alias is written !alias in place of the version"

// ParseURN takes the forms of 1, 2, 3, 4, 7 and 8 fields, already decoded (docs/COMPATIBILITY.md).
// Errors say which rule was broken and name the forms. Whether such a function exists is not its question.
func ParseURN(s string) (URN, error) {
	if len(s) > MaxURN {
		return URN{}, fmt.Errorf("the function URN has %d bytes, more than %d", len(s), MaxURN)
	}
	fields := strings.Split(s, ":")
	for _, field := range fields {
		if field == "" || strings.ContainsFunc(field, notInField) {
			return URN{}, fmt.Errorf(
				"the function URN %q has a field %q that is empty or has characters that no field has; %s",
				s,
				field,
				urnForms,
			)
		}
	}
	u := URN{Version: Latest}
	rest := ""
	switch len(fields) {
	case 1:
		u.Name = fields[0]
	case 2:
		u.Package, u.Name = fields[0], fields[1]
	case 3, 4:
		u.Project, u.Package, u.Name = fields[0], fields[1], fields[2]
		rest = strings.Join(fields[3:], "")
	case 7, 8:
		if fields[0] != "urn" || fields[1] != "fss" || fields[4] != "function" {
			return URN{}, fmt.Errorf("the function URN %q does not read urn:fss:…:…:function:…; %s", s, urnForms)
		}
		u.Region, u.Project, u.Package, u.Name = fields[2], fields[3], fields[5], fields[6]
		rest = strings.Join(fields[7:], "")
	default:
		return URN{}, fmt.Errorf("the function URN %q has %d fields; %s", s, len(fields), urnForms)
	}
	return u.qualify(s, rest)
}

// qualify takes over the last field, a version or "!" and an alias.
func (u URN) qualify(s, rest string) (URN, error) {
	if strings.Contains(u.Region+u.Project+u.Package+u.Name, "!") || strings.LastIndexByte(rest, '!') > 0 || rest == "!" {
		return URN{}, fmt.Errorf("the function URN %q has a ! that does not begin an alias; %s", s, urnForms)
	}
	if alias, ok := strings.CutPrefix(rest, "!"); ok {
		u.Version, u.Alias = "", alias
	} else if rest != "" {
		u.Version = rest
	}
	return u, nil
}

func notInField(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f || r == '\uFFFD' }

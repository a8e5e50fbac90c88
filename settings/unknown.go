package settings

import (
	"fmt"
	"gantry/spelling"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// platformVariables are variables of the platform that are no settings here: an image may be given them by the
// platform, or by another agent whose custom runtime this one is.
var platformVariables = []string{
	"RUNTIME_ROOT",
	"RUNTIME_LOG_DIR",
	"RUNTIME_LOG_PATH",
	"RUNTIME_LOG_LEVEL",
	"RUNTIME_MAX_REQUEST_BODY_SIZE",
	"RUNTIME_MAX_STATE_SIZE",
	"GANTRY_FRAMES",
}

// serviceVariable matches the names that Kubernetes sets for each service: one that is called gantry makes GANTRY_PORT.
var serviceVariable = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(
		`_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
})

func isServiceVariable(name, value string) bool {
	return serviceVariable().MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// unknownVariables says which variables look like settings and are none. It shows no values. A misspelled setting would
// have no effect otherwise, and nothing would say so.
func unknownVariables(env map[string]string) []string {
	var known, remarks []string
	for _, s := range Table() {
		known = append(known, s.Env)
		if s.Secret {
			known = append(known, s.Env+"_FILE")
		}
	}
	for name, value := range env {
		ours := strings.HasPrefix(name, "GANTRY_") || strings.HasPrefix(name, "RUNTIME_")
		if !ours || slices.Contains(known, name) || slices.Contains(platformVariables, name) ||
			isServiceVariable(name, value) {
			continue
		}
		remark := name + " is no setting, and has no effect"
		if base, file := strings.CutSuffix(name, "_FILE"); file && slices.Contains(known, base) {
			remark += ": only secrets are read from files; set " + base
		} else if near := meant(name, known); near != "" {
			remark += fmt.Sprintf("; did you mean %s?", near)
		}
		remarks = append(remarks, remark)
	}
	slices.Sort(remarks)
	return remarks
}

// meant is the setting whose name was probably meant, or nothing. What is behind the first word decides: all settings
// share a few of those, which would make short names look alike.
func meant(name string, known []string) string {
	first, rest, _ := strings.Cut(name, "_")
	rests := make([]string, len(known))
	for i, k := range known {
		_, rests[i], _ = strings.Cut(k, "_")
	}
	near := spelling.Nearest(rest, rests)
	switch same := first + "_" + near; {
	case near == "":
		return ""
	case slices.Contains(known, same):
		return same
	}
	return known[slices.Index(rests, near)]
}

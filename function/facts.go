package function

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// facts is what the preset variables say about the function (page functiongraph_01_0154). It does not change.
type facts struct {
	name, group, version, project string
	alias                         string   // on the platform, where a call does not always name its own
	codeRoots                     []string // the code folder's path, and without links; empty for the root folder
	memoryMB, cpuMillis           int
	timeout, initTimeout          time.Duration
	maxResponse                   int
	initHandler                   string
	userData                      map[string]string
	encrypted                     map[string]string // user variables that are not in the environment
}

// newFacts reads the variables. What cannot be read counts as not set: users do not set these variables, and have no
// use for a process that refuses to start over them.
func newFacts(env func(string) string) facts {
	return facts{
		name: env(
			"RUNTIME_FUNC_NAME",
		),
		group:       env("RUNTIME_PACKAGE"),
		version:     env("RUNTIME_FUNC_VERSION"),
		project:     env("RUNTIME_PROJECT_ID"),
		alias:       env("RUNTIME_ALIAS"),
		codeRoots:   codeRoots(env("RUNTIME_CODE_ROOT")),
		memoryMB:    int(number(env("RUNTIME_MEMORY"), 0)),
		cpuMillis:   int(number(env("RUNTIME_CPU"), 0)),
		timeout:     seconds(env("RUNTIME_TIMEOUT"), 3),
		initTimeout: seconds(env("RUNTIME_INITIALIZER_TIMEOUT"), 300),
		maxResponse: int(number(env("RUNTIME_MAX_RESP_BODY_SIZE"), 6<<20)),
		initHandler: env("RUNTIME_INITIALIZER_HANDLER"),
		userData:    userData(env("RUNTIME_USERDATA")),
	}
}

// codeRoots are the paths of the code folder, the longest first. Below the root folder every path would be shortened:
// there none is.
func codeRoots(path string) []string {
	if path == "" {
		return nil
	}
	roots := []string{filepath.Clean(path)}
	if real, err := filepath.EvalSymlinks(path); err == nil && real != roots[0] {
		roots = append(roots, real)
	}
	if slices.Contains(roots, "/") {
		return nil
	}
	slices.SortFunc(roots, func(a, b string) int { return len(b) - len(a) })
	return roots
}

// number reads a positive number, with a fraction or without.
func number(text string, fallback float64) float64 {
	if v, err := strconv.ParseFloat(text, 64); err == nil && v > 0 && v < 1e9 {
		return v
	}
	return fallback
}

func seconds(text string, fallback float64) time.Duration {
	return time.Duration(number(text, fallback) * float64(time.Second))
}

// userData reads a JSON object. Values that are no strings are given as their JSON; text that is no object is no user
// data, as on the platform.
func userData(text string) map[string]string {
	var raw map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &raw) != nil {
		return nil
	}
	data := make(map[string]string, len(raw))
	for name, value := range raw {
		var s string
		if json.Unmarshal(value, &s) != nil {
			s = string(value)
		}
		data[name] = s
	}
	return data
}

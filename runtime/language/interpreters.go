package language

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// platformInterpreter is a path at which the platform has an interpreter, like
// /opt/function/runtime/nodejs18.15/rtsp/nodejs/bin/node (page functiongraph_01_1442).
var platformInterpreter = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`/opt/function/runtime/[a-z]+[0-9.]*/rtsp/[a-z]+/(?:bin/)?([a-z]+[0-9.]*)`)
})

// maxScript is the longest script that can be handed to a shell as an argument: the kernel takes 128 KiB.
const maxScript = 120 << 10

// here reads a script and puts the interpreters of this machine, looked up in the folders of path, in the place of
// those of the platform that do not exist here. text is empty if nothing had to be replaced; remark says what was.
func here(script, path string) (text, remark string) {
	b, err := readStart(script, maxScript+1)
	if err != nil || len(b) > maxScript {
		return "", ""
	}
	var replaced []string
	text = platformInterpreter().ReplaceAllStringFunc(string(b), func(found string) string {
		if executable(found) {
			return found
		}
		name := filepath.Base(found)
		file := findIn(path, name)
		if file == "" && name == "python" { // of Python 2.7 on the platform
			file = findIn(path, "python3")
		}
		if file == "" {
			return found // the shell says that it is not there
		}
		if note := found + " is not here: " + file + " takes its place"; !slices.Contains(replaced, note) {
			replaced = append(replaced, note)
		}
		return file
	})
	if len(replaced) == 0 {
		return "", ""
	}
	return text, fmt.Sprintf("%s: %s", script, strings.Join(replaced, "; "))
}

// pathIn is the value of PATH in an environment; the shells' own default without one.
func pathIn(env []string) string {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			return value
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

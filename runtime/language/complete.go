package language

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// PlatformNames are the values that GANTRY_RUNTIME takes: of each language its own name, and those that the platform
// has for its versions.
func PlatformNames() []string {
	return []string{
		"nodejs", "python", "php", "go", "custom", "http", "container",
		"Node.js20.15", "Node.js18.15", "Node.js16.17", "Node.js14.18", "Node.js12.13", "Node.js10.16",
		"Python3.12", "Python3.10", "Python3.9", "Python3.6", "PHP8.3", "PHP7.3", "Go1.x", "Custom",
		"java", "Java21", "Java17", "Java11", "Java8",
	}
}

// Bounds of a search for handlers, which a person at a terminal waits for.
const (
	mostSources    = 50
	mostEntries    = 500
	mostSourceSize = 256 << 10
)

// exported match what a source exports, by file extension. They know the usual spellings, not the language.
func exported(extension string) *regexp.Regexp {
	switch extension {
	case ".py":
		return regexp.MustCompile(`(?m)^(?:async\s+)?def\s+([a-zA-Z]\w*)\s*\(`)
	case ".php":
		return regexp.MustCompile(`(?mi)^function\s+&?\s*([a-z_]\w*)\s*\(`)
	case ".js", ".mjs", ".cjs":
		return regexp.MustCompile(`(?m)^\s*(?:module\.)?exports\.([a-zA-Z_$][\w$]*)\s*=` +
			`|^export\s+(?:async\s+)?(?:function\s*\*?|const|let|var|class)\s+([a-zA-Z_$][\w$]*)`)
	}
	return nil
}

// exportedObject matches the members of an object that a source exports as a whole.
const exportedObject = `(?m)^module\.exports\s*=\s*\{([^{}]*)\}`

const symbolName = `^[a-zA-Z_$][\w$]*$`

// Handlers lists what may be the handler of a function with that code folder, as --handler takes it: exports of the
// sources in it and in the folders directly below, programs for languages that have programs. Nothing is run. A source
// in which no export was recognised is listed with its name and a dot.
func Handlers(codeRoot string) (handlers []string) {
	sources := mostSources
	add := func(folder string) (below []string) {
		entries, _ := os.ReadDir(filepath.Join(codeRoot, folder)) // what cannot be read is left out
		for _, e := range entries[:min(len(entries), mostEntries)] {
			name := filepath.Join(folder, e.Name())
			path := filepath.Join(codeRoot, name)
			ext := filepath.Ext(name)
			pattern := exported(ext)
			switch {
			case e.IsDir():
				below = append(below, name)
			case pattern != nil && e.Type().IsRegular() && sources > 0:
				sources--
				handlers = append(handlers, handlersOf(path, strings.TrimSuffix(name, ext), pattern)...)
			case ext == "" && folder == "" && executable(path):
				handlers = append(handlers, name)
			}
		}
		return below
	}
	for _, folder := range add("") {
		if !strings.HasPrefix(folder, ".") && folder != "node_modules" && folder != "vendor" && folder != "extension" {
			add(folder)
		}
	}
	return handlers
}

func handlersOf(path, name string, pattern *regexp.Regexp) (handlers []string) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostSourceSize))
	if err != nil {
		return nil
	}
	var symbols []string
	for _, m := range pattern.FindAllSubmatch(text, -1) {
		symbols = append(symbols, string(slices.Concat(m[1:]...)))
	}
	if m := regexp.MustCompile(exportedObject).FindSubmatch(text); m != nil && strings.HasSuffix(path, "js") {
		for member := range strings.SplitSeq(string(m[1]), ",") {
			symbol, _, _ := strings.Cut(strings.TrimSpace(member), ":")
			symbols = append(symbols, strings.TrimSpace(symbol))
		}
	}
	isName := regexp.MustCompile(symbolName) // here, not at the start of the program
	for _, symbol := range symbols {
		if handler := name + "." + symbol; isName.MatchString(symbol) && !slices.Contains(handlers, handler) {
			handlers = append(handlers, handler)
		}
	}
	if handlers == nil {
		handlers = []string{name + "."}
	}
	return handlers
}

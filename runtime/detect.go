package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// missing are the platform's other languages, by what lies in their code folders, and what to do instead.
var missing = []struct{ name, title, extension, instead string }{
	{"csharp", "C#", ".dll", "publish it as a program of its own, which polls the runtime API, and put it into the code folder as bootstrap (GANTRY_RUNTIME=custom)"},
	{"java", "Java", ".jar", "start it from a script bootstrap in the code folder that polls the runtime API (GANTRY_RUNTIME=custom)"},
	{"php", "PHP", ".php", "start it from a script bootstrap in the code folder that polls the runtime API (GANTRY_RUNTIME=custom)"},
	{"http", "HTTP", "", "run the web server in a container of its own"},
	{"container", "container", "", "run the image by itself"},
}

// LanguageByName returns the row with that name.
func LanguageByName(name string) (*Language, error) {
	var names []string
	for _, l := range Languages {
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	for _, m := range missing {
		if m.name == name {
			return nil, fmt.Errorf("%s functions are not supported in this version: %s", m.title, m.instead)
		}
	}
	return nil, fmt.Errorf("runtime %q is not one of: %s", name, strings.Join(names, ", "))
}

// DetectLanguage finds out a function's language by what lies in its code folder, and says why in words for the log. handler
// is empty when none was set. The error is for languages that are not supported. If nothing tells the language it is the
// first one: its worker then says which file is missing, in the platform's words.
func DetectLanguage(codeRoot, handler string) (l *Language, reason string, err error) {
	for _, l := range Languages {
		if file := l.handlerFile(codeRoot, handler); file != "" {
			return l, file + " is in the code folder", nil
		}
	}
	entries, err := os.ReadDir(codeRoot)
	if err != nil {
		return nil, "", err
	}
	first := func(extensions ...string) string {
		i := slices.IndexFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() && slices.Contains(extensions, filepath.Ext(e.Name())) })
		if i < 0 {
			return ""
		}
		return entries[i].Name()
	}
	for _, l := range Languages {
		if file := first(l.Extensions...); file != "" {
			return l, "the code folder has no file of the handler, but " + file, nil
		}
	}
	for _, m := range missing {
		if file := first(m.extension); m.extension != "" && file != "" {
			return nil, "", fmt.Errorf("the code folder %s looks like a %s function (%s), which is not supported in this version: %s", codeRoot, m.title, file, m.instead)
		}
	}
	return Languages[0], "nothing in the code folder tells it, so it is the default", nil
}

// handlerFile is the file by which a handler of this language is recognised, if it is there.
func (l *Language) handlerFile(codeRoot, handler string) string {
	if l.Program == "" {
		name := l.File
		if name == "" {
			name = handler
		}
		if name == "" {
			name = l.Handler
		}
		file := filepath.Join(codeRoot, name)
		switch {
		case l.File == "" && name == customProgram, sameAsAgent(file):
			return ""
		case executable(file), l.File != "" && regular(file): // of the latter the start says what it lacks
			return name
		}
		return ""
	}
	if handler == "" {
		handler = l.Handler
	}
	dot := strings.LastIndexByte(handler, '.')
	if dot <= 0 {
		return ""
	}
	for _, ext := range l.Extensions {
		if name := handler[:dot] + ext; regular(filepath.Join(codeRoot, name)) {
			return name
		}
	}
	return ""
}

// sameAsAgent tells the agent's own program, which a platform may have started as bootstrap: it is no function.
func sameAsAgent(file string) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	info, err := os.Stat(file)
	return err == nil && os.SameFile(self, info)
}

func regular(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

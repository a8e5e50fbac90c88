package runtime

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// instead is the advice for HTTP functions.
const instead = "run the web server in a container of its own"

// missing are the platform's other languages: what lies in their code folders, and what to do instead. platform is how
// the platform's names of their runtimes begin, in lower case.
var missing = []struct{ name, platform, title, extension, instead string }{
	{
		"csharp",
		"c#(.net core ",
		"C#",
		".dll",
		"publish it as a program of its own, which polls the runtime API, and put it into the code folder as bootstrap (GANTRY_RUNTIME=custom)",
	},
	{
		"java",
		"java",
		"Java",
		".jar",
		"start it from a script bootstrap in the code folder that polls the runtime API (GANTRY_RUNTIME=custom)",
	},
	{
		"php",
		"php",
		"PHP",
		".php",
		"start it from a script bootstrap in the code folder that polls the runtime API (GANTRY_RUNTIME=custom)",
	},
	{"http", "http", "HTTP", "", instead},
	{"container", "custom image", "container", "", "run the image by itself"},
}

// sourceKinds are texts that have to be compiled before a function can run.
var sourceKinds = []struct{ title, instead string }{
	{"Go", "build the program and put it into the code folder: CGO_ENABLED=0 go build -o handler"},
	{"TypeScript", "compile it to JavaScript (tsc, esbuild) and set --code to the folder with the result"},
	{"Java", "Java functions are not supported in this version"},
	{"C#", "C# functions are not supported in this version"},
}

// sourceOf is the index in sourceKinds by file extension.
var sourceOf = map[string]int{".go": 0, ".ts": 1, ".mts": 1, ".cts": 1, ".tsx": 1, ".java": 2, ".cs": 3}

// LanguageByName returns the row with that name, or with a name that the platform has for it, like Node.js20.15: of
// which version it is says the interpreter that is here.
func LanguageByName(name string) (*Language, error) {
	var names []string
	lower := strings.ToLower(strings.TrimSpace(name))
	for _, l := range Languages {
		if l.Name == lower || platformName(lower, l.Name) || platformName(lower, strings.ToLower(l.Title)) {
			if strings.HasPrefix(lower, "python2") {
				return nil, fmt.Errorf("runtime %q: Python 2 is not supported; Python %s and later are", name, l.MinVersion)
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

// platformName reports whether name is one of the platform's for a language: how these begin, and a version.
func platformName(name, begin string) bool {
	version, ok := strings.CutPrefix(name, begin)
	return ok && strings.Trim(version, "0123456789.x)") == ""
}

// Detection is what was detected from the files of a code folder.
type Detection struct {
	Language *Language
	// Reason says for the log why it is this language.
	Reason string
	// Remark says what is probably wrong, and what would be right; usually empty.
	Remark string
}

// DetectLanguage finds out a function's language by what lies in its code folder. handler is empty when none was set.
// The error is for folders that no language here can run. If no file belongs to a language it is the first one: its
// worker then says which file is missing, in the platform's words.
func DetectLanguage(codeRoot, handler string) (Detection, error) {
	for _, l := range Languages {
		if file := l.handlerFile(codeRoot, handler); file != "" {
			if servesHTTP(codeRoot, file) {
				return Detection{}, fmt.Errorf(
					"the code folder %s looks like an HTTP function, which is not supported in this version: its file %s starts a web server on port 8000, and no file mentions RUNTIME_API_ADDR: %s; if it is something else, set GANTRY_RUNTIME to nodejs, python, go or custom",
					codeRoot,
					customProgram,
					instead,
				)
			}
			return Detection{Language: l, Reason: file + " is in the code folder"}, nil
		}
	}
	entries, err := os.ReadDir(codeRoot)
	if err != nil {
		return Detection{}, err
	}
	f := folder{path: codeRoot, handler: handler, entries: entries}
	if err := f.otherHandler(); err != nil {
		return Detection{}, err
	}
	for _, l := range Languages {
		if file := f.first(l.Extensions...); file != "" {
			return Detection{l, "the code folder has no file of the handler, but " + file, f.remark(l)}, nil
		}
	}
	if err := f.other(); err != nil {
		return Detection{}, err
	}
	return Detection{
		Languages[0],
		"no file in the code folder names a runtime, so it is the default",
		f.remark(Languages[0]),
	}, nil
}

// folder is a code folder without a file of the handler.
type folder struct {
	path, handler string
	entries       []os.DirEntry
}

// first returns the first file with one of the extensions.
func (f *folder) first(extensions ...string) string {
	for _, e := range f.entries {
		if !e.IsDir() && slices.Contains(extensions, filepath.Ext(e.Name())) {
			return e.Name()
		}
	}
	return ""
}

// otherHandler is the error for a handler whose file or form is that of another language.
func (f *folder) otherHandler() error {
	for _, m := range missing {
		dots := strings.Count(f.handler, ".")
		switch file := f.first(m.extension); {
		case m.extension == "" || file == "":
		case m.name == "csharp" && strings.Contains(f.handler, "::"),
			m.name == "java" && dots > 1 && !strings.Contains(f.handler, "/"):
			return f.unsupported(m.title, file, m.instead)
		}
		if file := f.handlerFile(m.extension); file != "" {
			return f.unsupported(m.title, file, m.instead)
		}
	}
	for _, extension := range slices.Sorted(sourceExtensions) {
		if file := f.handlerFile(extension); file != "" {
			return f.source(file)
		}
	}
	return nil
}

func sourceExtensions(yield func(string) bool) {
	for extension := range sourceOf {
		if !yield(extension) {
			return
		}
	}
}

// handlerFile is the handler's file with an extension, if it is there.
func (f *folder) handlerFile(extension string) string {
	name, _, ok := cutHandler(f.handler)
	if !ok || extension == "" || !regular(filepath.Join(f.path, name+extension)) {
		return ""
	}
	return name + extension
}

// cutHandler splits a handler, or the default one, as ParseHandler does.
func cutHandler(handler string) (file, symbol string, ok bool) {
	if handler == "" {
		handler = Languages[0].Handler
	}
	dot := strings.LastIndexByte(handler, '.')
	if dot <= 0 {
		return "", "", false
	}
	return handler[:dot], handler[dot+1:], true
}

// other is the error for a folder with files of other languages only, or with none.
func (f *folder) other() error {
	for _, m := range missing {
		if file := f.first(m.extension); m.extension != "" && file != "" {
			return f.unsupported(m.title, file, m.instead)
		}
	}
	for _, e := range f.entries {
		if _, isSource := sourceOf[filepath.Ext(e.Name())]; isSource && !e.IsDir() {
			return f.source(e.Name())
		}
	}
	if len(f.entries) == 0 {
		return fmt.Errorf("the code folder %s is empty: mount or copy the function's code there, or set --code", f.path)
	}
	return nil
}

func (f *folder) unsupported(title, file, instead string) error {
	return fmt.Errorf(
		"the code folder %s looks like a %s function (%s), which is not supported in this version: %s",
		f.path,
		title,
		file,
		instead,
	)
}

func (f *folder) source(file string) error {
	s := sourceKinds[sourceOf[filepath.Ext(file)]]
	return fmt.Errorf(
		"the code folder %s has no file of the handler, but %s, which is %s source: %s",
		f.path,
		file,
		s.title,
		s.instead,
	)
}

// remark says what to do about a handler whose file is missing, by what is there instead.
func (f *folder) remark(l *Language) string {
	name, symbol, ok := cutHandler(f.handler)
	if !ok {
		return ""
	}
	wanted := name + l.Extensions[0]
	for _, e := range f.entries {
		if inner := filepath.Join(
			e.Name(),
			wanted,
		); e.IsDir() && e.Name() != "node_modules" &&
			regular(filepath.Join(f.path, inner)) {
			return fmt.Sprintf(
				"the code folder has no %s, but %s: set --code %s",
				wanted,
				inner,
				filepath.Join(f.path, e.Name()),
			)
		}
	}
	var scripts []string
	for _, e := range f.entries {
		if !e.IsDir() && slices.Contains(l.Extensions, filepath.Ext(e.Name())) {
			scripts = append(scripts, e.Name())
		}
	}
	switch len(scripts) {
	case 0:
		return fmt.Sprintf(
			"the code folder %s has neither %s nor any other function's file: is it the right one?",
			f.path,
			wanted,
		)
	case 1:
		return fmt.Sprintf(
			"the code folder has no %s, but %s: if that has the handler, set --handler %s.%s",
			wanted,
			scripts[0],
			strings.TrimSuffix(scripts[0], filepath.Ext(scripts[0])),
			symbol,
		)
	}
	return fmt.Sprintf(
		"the code folder has no %s; set --handler to file.function of one that is there: %s",
		wanted,
		strings.Join(scripts[:min(len(scripts), 10)], ", "),
	)
}

// handlerFile is the file by which a handler of this language is recognised, if it is there.
func (l *Language) handlerFile(codeRoot, handler string) string {
	if l.OwnProgram() {
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
		case executable(file), l.File != "" && regular(file), isProgram(file): // the start says what the latter two lack
			return name
		}
		return ""
	}
	name, _, ok := cutHandler(handler)
	if !ok {
		return ""
	}
	for _, ext := range l.Extensions {
		if file := name + ext; regular(filepath.Join(codeRoot, file)) {
			return file
		}
	}
	return ""
}

// isProgram reports whether a file is a program by its content: one that lost its execute bit is still a program.
func isProgram(file string) bool {
	if !regular(file) {
		return false
	}
	f, err := elf.Open(file)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// Limits of the search for what a script bootstrap starts: a folder that has more is taken for a custom runtime.
const (
	maxSearchedFiles = 2000
	maxSearchedBytes = 64 << 20
)

// errEnough ends a walk.
var errEnough = errors.New("enough was seen")

// servesHTTP reports whether a code folder belongs to an HTTP function, whose bootstrap is a script that starts a web
// server on port 8000: the folder has a file that mentions the port, and none that mentions the variable by which every
// custom runtime finds its events. file is what the language was recognised by: bootstrap itself, or a file that
// bootstrap has to name. In doubt it is no HTTP function.
func servesHTTP(codeRoot, file string) bool {
	bootstrap := filepath.Join(codeRoot, customProgram)
	if !regular(bootstrap) {
		return false
	}
	text, err := readStart(bootstrap, 64<<10)
	if err != nil || bytes.IndexByte(text, 0) >= 0 || file != customProgram && !bytes.Contains(text, []byte(file)) {
		return false
	}
	port, files, left := false, 0, int64(maxSearchedBytes)
	err = filepath.WalkDir(codeRoot, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(path) // a link may lead to the program
		if err != nil || !info.Mode().IsRegular() {
			return errEnough
		}
		files++
		if left -= info.Size(); files > maxSearchedFiles || left < 0 {
			return errEnough
		}
		text, err := readStart(path, info.Size())
		if err != nil || bytes.Contains(text, []byte("RUNTIME_API_ADDR")) {
			return errEnough
		}
		port = port || bytes.Contains(text, []byte("8000"))
		return nil
	})
	return err == nil && port
}

// readStart reads at most n bytes of a file.
func readStart(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

// sameAsAgent recognises the agent's own program, which a platform may have started as bootstrap: it is no function.
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

// FindOwnProgram returns the absolute path of the function's own program, for a language without an interpreter.
// Whether it can be run is seen when it is started, which says why not.
func (l *Language) FindOwnProgram(codeRoot, handler string) (string, error) {
	name := handler
	if l.File != "" {
		name = l.File
	}
	file := filepath.Join(codeRoot, name)
	if !regular(file) {
		return "", fmt.Errorf("%s: the code folder %s has no file %q: put the program there", l.Title, codeRoot, name)
	}
	return file, nil
}

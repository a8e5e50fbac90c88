package language

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Detection is what was detected from the files of a code folder.
type Detection struct {
	Language *Language
	// Reason says for the log why it is this language.
	Reason string
	// Remark says what is probably wrong, and what would be right; usually empty.
	Remark string
	// NamesAPI is set for an undecided language if a file mentions the runtime API: it is probably a custom runtime.
	NamesAPI bool
}

// Detect finds out a function's language by what lies in its code folder. handler is empty when none was set. The error
// is for folders that no language here can run. If no file belongs to a language it is the default: its worker then
// says which file is missing, in the platform's words.
func Detect(codeRoot, handler string) (Detection, error) {
	found := sync.OnceValue(func() mentions { return search(codeRoot) })
	for _, l := range All {
		if file := l.handlerFile(codeRoot, handler); file != "" {
			if servesHTTP(codeRoot, file, found) {
				return Detection{
					Language: httpServer,
					Reason:   "bootstrap starts a web server, and no file mentions RUNTIME_API_ADDR",
				}, nil
			}
			if l == custom && noCustomRuntime(codeRoot, found) {
				return Detection{
					Language: httpServer,
					Reason:   "bootstrap is a shell text that cannot be run by itself, as those of HTTP functions",
				}, nil
			}
			d := Detection{Language: l, Reason: file + " is in the code folder"}
			if l == custom && mayBeEither(codeRoot, found) {
				d.Language, d.NamesAPI = undecided, found().api
			}
			return d, nil
		}
	}
	entries, err := os.ReadDir(codeRoot)
	if err != nil {
		return Detection{}, err
	}
	f := folder{path: codeRoot, handler: handler, entries: entries}
	if file := f.first(java.Extensions...); file != "" && method(handler) {
		reason := "the handler is a method of a class, and " + file + " is in the code folder"
		return Detection{Language: java, Reason: reason}, nil
	}
	if err := f.otherHandler(); err != nil {
		return Detection{}, err
	}
	for _, l := range All {
		if file := f.first(l.Extensions...); file != "" {
			reason := "the code folder has no file of the handler, but " + file
			return Detection{Language: l, Reason: reason, Remark: f.remark(l)}, nil
		}
	}
	if err := f.other(); err != nil {
		return Detection{}, err
	}
	if className(handler) {
		return Detection{Language: java, Reason: "the handler is a method of a class, and no file names another runtime"}, nil
	}
	return Detection{
		Language: Default(),
		Reason:   "no file in the code folder names a runtime, so it is the default",
		Remark:   f.remark(Default()),
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
		if file := f.first(m.extension); m.extension != "" && file != "" && m.hasHandler(f.handler) {
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
	if err := checkProject(f.path); err != nil {
		return err
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
	if !ok || l.Classes { // the worker knows the classes
		return ""
	}
	wanted := name + l.Extensions[0]
	for _, e := range f.entries {
		if inner := filepath.Join(
			e.Name(),
			wanted,
		); e.IsDir() && e.Name() != "node_modules" && e.Name() != "vendor" &&
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
		return f.nothing(wanted)
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

// nothing says what to do about a folder without a script, by the archive or the program that it has.
func (f *folder) nothing(wanted string) string {
	for _, e := range f.entries {
		if strings.EqualFold(filepath.Ext(e.Name()), ".zip") {
			return fmt.Sprintf(
				"the code folder has no %s, but the archive %s: unpack it there, or set --code to where it is unpacked",
				wanted, e.Name(),
			)
		}
	}
	for _, e := range f.entries {
		if !strings.Contains(e.Name(), ".") && executable(filepath.Join(f.path, e.Name())) {
			return fmt.Sprintf(
				"the code folder has no %s, but the program %s: if that is the function, set --handler %[2]s",
				wanted, e.Name(),
			)
		}
	}
	return fmt.Sprintf(
		"the code folder %s has neither %s nor any other function's file: is it the right one?", f.path, wanted,
	)
}

package language

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
)

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
	if l.Classes {
		return classFile(codeRoot, handler)
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

// sameAsAgent recognises the agent's own program, which a platform may have started as bootstrap: it is no function.
func sameAsAgent(file string) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	info, err := os.Stat(file)
	return err == nil && os.SameFile(self, info)
}

// cutHandler splits a handler, or the default one, as ParseHandler does.
func cutHandler(handler string) (file, symbol string, ok bool) {
	if handler == "" {
		handler = Default().Handler
	}
	dot := strings.LastIndexByte(handler, '.')
	if dot <= 0 {
		return "", "", false
	}
	return handler[:dot], handler[dot+1:], true
}

// Package fncontext holds what a function is and what one invocation of it is. It does no I/O. The folder is called
// context; the package is not, because nearly every file needs the standard context package too.
package fncontext

import (
	"fmt"
	"strings"
	"time"
)

// Function is everything that is known about the function before any call. It does not change while the agent runs.
type Function struct {
	Project, Region string
	Package, Name   string
	Version         string
	Aliases         []string
	Handler         Handler
	// Initializer is the configured string; empty means none.
	Initializer string
	// PreStop is the pre-stop hook, likewise; PreStopTimeout limits it.
	PreStop        string
	PreStopTimeout time.Duration
	// Heartbeat is the heartbeat hook of a function in Java, package.Class.method; empty for none.
	Heartbeat string
	Runtime   string
	// MemoryMB is the limit in megabytes (2^20 bytes), CPUMillis the share in thousandths of a core.
	MemoryMB, CPUMillis int
	// Timeout limits one call from the moment it has a slot, InitTimeout the initializer.
	Timeout, InitTimeout time.Duration
	// MaxResponse limits a result, in bytes.
	MaxResponse int
	UserData    map[string]string
	// UserDataJSON is the text of RUNTIME_USERDATA as it was given.
	UserDataJSON string
	// CodeRoot is absolute and has no trailing slash.
	CodeRoot string
}

// URN returns the eight-field name of the served version (docs/COMPATIBILITY.md).
func (f *Function) URN() string {
	return strings.Join([]string{"urn:fss", f.Region, f.Project, "function", f.Package, f.Name, f.Version}, ":")
}

// HandlerString returns the handler as it was configured.
func (f *Function) HandlerString() string { return f.Handler.String() }

// Handler is a handler string, split at its last dot (docs/COMPATIBILITY.md).
type Handler struct {
	// File is the path below the code root without its extension, Symbol the exported name. A handler that is a program
	// has no Symbol.
	File, Symbol string
}

// String joins the parts again.
func (h Handler) String() string {
	if h.Symbol == "" {
		return h.File
	}
	return h.File + "." + h.Symbol
}

// ParseProgram takes the name of a program in the code folder as the handler. Errors are as those of ParseHandler.
func ParseProgram(s string) (Handler, error) {
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return Handler{}, fmt.Errorf("handler %q contains a NUL byte", s)
	case s == "" || strings.HasSuffix(s, "/"):
		return Handler{}, fmt.Errorf("handler %q names no file; write the program's path below the code folder", s)
	}
	return Handler{File: s}, inside(s, s)
}

// ParseMethod splits package.Class.method at the last dot.
func ParseMethod(s string) (Handler, error) {
	dot := strings.LastIndexByte(s, '.')
	for part := range strings.SplitSeq(s, ".") {
		if dot < 0 || part == "" || strings.ContainsAny(part, "/\\;[ \t\n\x00") {
			return Handler{}, fmt.Errorf(
				"handler %q is no method of a class; write package.Class.method, for example com.demo.Hello.handler",
				s,
			)
		}
	}
	return Handler{File: s[:dot], Symbol: s[dot+1:]}, nil
}

// ParseHandler splits "[path/]file.function" at the last dot. Errors name the rule that was broken; the path must stay
// inside the code folder, so absolute paths, ".." and NUL are refused.
func ParseHandler(s string) (Handler, error) {
	dot := strings.LastIndexByte(s, '.')
	h := Handler{}
	if dot >= 0 {
		h = Handler{File: s[:dot], Symbol: s[dot+1:]}
	}
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return Handler{}, fmt.Errorf("handler %q contains a NUL byte", s)
	case dot < 0:
		return Handler{}, fmt.Errorf("handler %q has no dot; write [path/]file.function, for example index.handler", s)
	case h.File == "" || h.Symbol == "" || strings.HasSuffix(h.File, "/"):
		return Handler{}, fmt.Errorf("handler %q lacks a part; write [path/]file.function, for example index.handler", s)
	case strings.ContainsRune(h.Symbol, '/'):
		return Handler{}, fmt.Errorf("handler %q has no dot after its last slash; write [path/]file.function", s)
	}
	return h, inside(s, h.File)
}

// inside checks that the file of a handler cannot lie outside of the code folder.
func inside(handler, file string) error {
	if strings.HasPrefix(file, "/") {
		return fmt.Errorf("handler %q is an absolute path; write it relative to the code folder", handler)
	}
	for part := range strings.SplitSeq(file, "/") {
		if part == ".." || part == "." || part == "" {
			return fmt.Errorf("handler %q leaves or repeats its folder with %q; write a plain relative path", handler, part)
		}
	}
	return nil
}

package check

import (
	"bytes"
	"fmt"
	"gantry/extension"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// scriptFile is what can be said about an extension's file without starting it.
type scriptFile struct {
	extension.Script
	crlf        bool     // its first line ends as Windows ends lines
	interpreter []string // of its first line, with arguments; empty for a program and for a script without
	path        string   // PATH of the extension
}

// readScriptFile looks at the file's first line.
func readScriptFile(s extension.Script, path string) (*scriptFile, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 256) // what the kernel reads
	n, err := f.Read(head)
	if n == 0 && err != nil {
		return &scriptFile{Script: s, path: path}, nil // an empty file: the start says it
	}
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	script := bytes.HasPrefix(line, []byte("#!"))
	file := &scriptFile{
		Script: s,
		path:   path,
		crlf:   bytes.HasSuffix(line, []byte("\r")) && (script || strings.HasSuffix(s.Name, ".sh")),
	}
	if script {
		file.interpreter = strings.Fields(string(line[2:]))
	}
	return file, nil
}

// check says whether the file can be started; start is false if there is no use in trying.
func (f *scriptFile) check(passedOver *extension.PassedOver) (found finding, start bool) {
	switch {
	case passedOver != nil && !f.Executable:
		return failed(passedOver.Right, "%v", passedOver), false
	case f.crlf:
		return failed(
			"save it with Unix line endings",
			"its first line ends in CR LF, so that the interpreter is not found",
		), false
	}
	if missing := f.missing(); missing != "" {
		return failed(
			"install it, or name another one in the first line",
			"the interpreter of its first line, %s, is not there",
			missing,
		), false
	}
	switch {
	case passedOver != nil:
		return failed(passedOver.Right, "%v", passedOver), true
	case !f.Executable && len(f.interpreter) > 0 && !f.shell():
		return failed(
			"chmod +x "+f.Path,
			"it lacks the execute bit, so /bin/sh runs it, but its first line wants %s",
			strings.Join(f.interpreter, " "),
		), false
	case !f.Executable:
		return warned("chmod +x "+f.Path, "it lacks the execute bit; /bin/sh runs it"), true
	}
	return passed("%s", f.describe()), true
}

func (f *scriptFile) describe() string {
	if len(f.interpreter) == 0 {
		return "it is an executable file"
	}
	return "it is an executable script for " + strings.Join(f.interpreter, " ")
}

// shell reports whether the first line wants a shell.
func (f *scriptFile) shell() bool {
	name, _ := f.program()
	return slices.Contains([]string{"sh", "bash", "dash", "ash", "ksh"}, filepath.Base(name))
}

// program is what the first line runs; through env it is looked up in PATH.
func (f *scriptFile) program() (name string, lookUp bool) {
	if len(f.interpreter) == 0 {
		return "", false
	}
	if filepath.Base(f.interpreter[0]) != "env" {
		return f.interpreter[0], false
	}
	for _, arg := range f.interpreter[1:] {
		if !strings.HasPrefix(arg, "-") && !strings.Contains(arg, "=") {
			return arg, true
		}
	}
	return f.interpreter[0], false
}

// missing names the interpreter if it is not there.
func (f *scriptFile) missing() string {
	if len(f.interpreter) == 0 || !f.Executable { // then /bin/sh runs it
		return ""
	}
	if !executable(f.interpreter[0]) {
		return f.interpreter[0]
	}
	name, lookUp := f.program()
	if !lookUp || strings.Contains(name, "/") {
		if !executable(name) {
			return name
		}
		return ""
	}
	for _, dir := range filepath.SplitList(f.path) {
		if executable(filepath.Join(dir, name)) {
			return ""
		}
	}
	return fmt.Sprintf("%s in PATH=%s", name, f.path)
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

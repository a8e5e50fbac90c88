package language

import (
	"fmt"
	"gantry/process"
	"path/filepath"
	"slices"
	"strings"
)

// httpServer is an HTTP function (page functiongraph_01_1442): the program is a web server, and every request to the
// function is one to it.
var httpServer = &Language{
	Name:          "http",
	Title:         "HTTP function",
	Handler:       customProgram,
	File:          customProgram,
	Carrier:       OverHTTP,
	NoInitializer: "an HTTP function has no initializer: what stands before the server listens is one",
	NoPreStop:     "an HTTP function has no pre-stop hook: GET /shutdown, then TERM, ask it to end",
	Ends:          "the server has to go on until TERM; a script has to wait for what it starts",
	Silent:        "no process of the function listens on GANTRY_UPSTREAM",
	Unanswered:    "the server had not answered the request in full: a stream without an end needs GANTRY_HTTP_LIMITS=none",
}

// eventServer is the server of an image of one's own (page functiongraph_04_0104): events come as POST /invoke.
var eventServer = &Language{
	Name:      "container",
	Title:     "custom image",
	Handler:   customProgram,
	File:      customProgram,
	Carrier:   OverHTTPEvents,
	NoPreStop: "the server of an image has no pre-stop hook: GET /shutdown, then TERM, ask it to end",
	Ends:      "the server has to go on until TERM",
	Silent:    "no process of the function listens on GANTRY_UPSTREAM",
}

// Listens reports whether the worker is, or may be, a server of the user's, which calls are sent to.
func (l *Language) Listens() bool { return l.Proxies() || l.Carrier == OverHTTPEvents }

// Proxies reports whether requests reach the worker as they come, in place of events, where it is a server.
func (l *Language) Proxies() bool { return l.Carrier == OverHTTP || l.Undecided() }

// Foreign reports whether the worker is a program of the user's that knows nothing of workers: its user variables and
// settings are in its environment.
func (l *Language) Foreign() bool { return l.Polls() || l.Listens() }

// findServer returns the file that starts a server: the first of command, looked up in the folders of path, else the
// script in the code folder.
func (l *Language) findServer(path, codeRoot string, command []string) (string, error) {
	if len(command) == 0 {
		file := filepath.Join(codeRoot, l.File)
		if !regular(file) {
			return "", fmt.Errorf("%s: the code folder %s has no file %q that starts the server; put it there, "+
				"or give the server's command line after --", l.Title, codeRoot, l.File)
		}
		return file, nil
	}
	name := command[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(codeRoot, name)
		}
		if !regular(name) {
			return "", fmt.Errorf("the command after -- begins with %q, which is no file", command[0])
		}
		return name, nil
	}
	if file := findIn(path, name); file != "" {
		return file, nil
	}
	return "", fmt.Errorf("the command after -- begins with %q, which is no program in PATH (%s)", name, path)
}

// completeServer has a script that starts a server run as the platform does, by a shell, with or without a first line
// and an execute bit; path is where interpreters are looked up that the platform has at paths of its own.
func completeServer(cmd *process.Command, path string) (remark string, err error) {
	line, ok, err := scriptLine(cmd.Path)
	if err != nil {
		return "", fmt.Errorf("start worker: %w", err)
	}
	if !ok { // a program, or what cannot be read
		return "", nil
	}
	sh := platformShell()
	words := []string{sh}
	if line != "" {
		words = wordsOf(line)
		if !slices.Contains(shellNames, words[0]) && !slices.Contains(bashNames, words[0]) {
			if !executable(cmd.Path) { // else the kernel does it
				cmd.Path, cmd.Args = words[0], append(words, cmd.Args...)
			}
			return "", nil
		}
	}
	text, remark := here(cmd.Args[0], path)
	if text != "" { // $0 and the numbers of lines are those of the file
		words = append(words, "-c", text)
	}
	cmd.Path, cmd.Args = sh, append(words, cmd.Args...)
	return remark, nil
}

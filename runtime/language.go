package runtime

import (
	_ "embed"
	"fmt"
	"gantry/fault"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed worker/nodejs/worker.js
var nodejsWorker string

// nodejsSource starts the worker under a name that cannot be opened, with none of its own frames in any stack: tools
// that show source lines open the files that a stack names, and descriptor 5 may be one of the user's. The outer
// function is never called: its text is compiled again under that name.
var nodejsSource = []byte(`'use strict';
const worker = {};
new (require('vm').Script)('(' + function (module, require) {` + nodejsWorker + `} + ')', { filename: 'node:gantry' }).runInThisContext()(worker, require);
process.nextTick(worker.exports.start, module, (url) => import(url));
`)

//go:embed worker/python/worker.py
var pythonSource []byte

// Language is one row of the table of languages: data, no behaviour of its own.
type Language struct {
	// Name is the value of GANTRY_RUNTIME.
	Name string
	// Title is what people call it.
	Title string
	// Handler is the default handler. Without a dot it is a program in the code folder, which File names if its name is
	// fixed.
	Handler, File string
	// Extensions are the file extensions by which a code folder is recognised, the handler's first.
	Extensions []string
	// Program is the interpreter. It is looked up in PATH, then below Platform, a pattern of the platform's own
	// interpreter paths (page functiongraph_01_1442). Empty when the worker is a program in the code folder.
	Program, Platform string
	// Source is the worker. The interpreter finds it in memory, as descriptor 5; Arguments make it run that.
	Source    []byte
	Arguments []string
	// MinVersion is the oldest version that can run Source.
	MinVersion Version
	// Carrier is what carries the calls.
	Carrier Carrier
	// Ends names what in user code ends the process, for the hint to a call that was cut off; Silent says what a worker
	// that does not end its load may lack.
	Ends, Silent string
	// AsksConcurrency is set for a worker that takes GANTRY_CONCURRENCY out of its environment before user code runs.
	AsksConcurrency bool
	// Unanswered is the hint to a call that passed its deadline where the worker gave none; it may be empty.
	Unanswered string
	// Early explains ends before Hello, by what the worker's stderr shows.
	Early []Sign
}

// Sign is what to look for, and the hint it gives; {code} in it is the name of the code folder.
type Sign struct{ Text, Hint string }

const preload = "NODE_OPTIONS names a module that is not found: names are looked up from the working directory, which is the folder above the code folder. " +
	"Write its path, for example --require ./{code}/node_modules/dd-trace/init.js"

// OwnProgram reports whether the worker is a program of the user's, in the code folder, and not one of ours.
func (l *Language) OwnProgram() bool { return l.Program == "" }

// Polls reports whether the worker asks for its events over the runtime API, as a custom runtime does. What describes a
// call are headers then, of any length.
func (l *Language) Polls() bool { return l.Carrier == OverRuntimeAPI }

// Carrier is what carries the calls to a language's worker.
type Carrier uint8

// What there is.
const (
	OverFrames      Carrier = iota // frames on descriptors 3 and 4 (docs/PROTOCOL.md)
	OverFramesOrRPC                // what a Go program takes up: frames, or net/rpc
	OverRuntimeAPI                 // the worker polls the runtime API
)

// Version is the part of an interpreter's version that decides what it can run.
type Version struct{ Major, Minor int }

// String leaves a minor number of 0 out.
func (v Version) String() string {
	if v.Minor == 0 {
		return strconv.Itoa(v.Major)
	}
	return strconv.Itoa(v.Major) + "." + strconv.Itoa(v.Minor)
}

func (v Version) before(other Version) bool {
	return v.Major < other.Major || v.Major == other.Major && v.Minor < other.Minor
}

// parseVersion reads the beginning of a version like 20.1.0 or 3.8.
func parseVersion(s string) (Version, bool) {
	var v Version
	n, _ := fmt.Sscanf(s, "%d.%d", &v.Major, &v.Minor) // n is 1 if there is no minor number
	return v, n > 0
}

// Languages is the table.
var Languages = []*Language{
	{
		Name:            "nodejs",
		Title:           "Node.js",
		Handler:         "index.handler",
		Extensions:      []string{".js", ".mjs", ".cjs"},
		Program:         "node",
		Platform:        "/opt/function/runtime/nodejs*/rtsp/nodejs/bin/node",
		Source:          nodejsSource,
		Arguments:       []string{"--preserve-symlinks-main", "/proc/self/fd/5"},
		MinVersion:      Version{10, 0},
		AsksConcurrency: true,
		Ends:            "process.exit(), an uncaught error or an unhandled rejection",
		Silent:          "loading the code took too long: look for work or waiting at the top level of the module",
		Unanswered:      "when the time was over the handler had neither settled its Promise nor called its callback: every path through it has to do so; limit what it waits for, or raise RUNTIME_TIMEOUT",
		Early:           []Sign{{"internal/preload", preload}, {"ERR_MODULE_NOT_FOUND", preload}},
	},
	{
		Name: "python", Title: "Python", Handler: "index.handler", Extensions: []string{".py"},
		Program: "python3", Platform: "/opt/function/runtime/python3*/rtsp/python/bin/python3",
		Source: pythonSource, Arguments: []string{"-u", "-B", "-c", pythonLoader}, MinVersion: Version{3, 8},
		Ends:   "os._exit(), an error in a signal handler or in a callback of the event loop",
		Silent: "loading the code took too long: look for work or waiting at the top level of the module",
	},
	{
		Name:    "go",
		Title:   "Go",
		Handler: "handler",
		Carrier: OverFramesOrRPC,
		Ends:    "os.Exit(), log.Fatal(), a panic in a goroutine of its own, or an end of main()",
		Silent:  "the program neither called function.Start nor listened on RUNTIME_API_ADDR, as runtime.Register of the platform's SDK does: look for work or waiting before that in main()",
	},
	{
		Name:    "custom",
		Title:   "custom runtime",
		Handler: customProgram,
		File:    customProgram,
		Carrier: OverRuntimeAPI,
		Ends:    "it has to ask for events in an endless loop",
		Silent:  "bootstrap did not ask for an event: it has to GET http://$RUNTIME_API_ADDR/v1/runtime/invocation/request; if it starts a web server, this is an HTTP function, which is not supported in this version",
	},
}

// pythonLoader runs the worker's source under a name that is no path: what shows a stack with its lines opens the files
// that it names, and descriptor 5 is the user's by then. The first section is compiled; the worker does that with the
// others when it needs them. Its built-in functions are its own, whatever user code makes of them.
const pythonLoader = `import posix;s=posix.pread(5,1<<20,0).decode().split("\f");exec(compile(s[0],"<gantry>","exec"),{"__name__":"__main__","SECTIONS":s,"__builtins__":dict(vars(__builtins__))})`

// customProgram is the file that the platform starts as a custom runtime (page functiongraph_01_0406).
const customProgram = "bootstrap"

// FindProgram returns the absolute path of the language's interpreter. path is the value of PATH.
func (l *Language) FindProgram(path string) (string, error) {
	for dir := range strings.SplitSeq(path, ":") {
		if !filepath.IsAbs(dir) {
			continue // a relative entry would let the code folder replace the interpreter
		}
		if file := filepath.Join(dir, l.Program); executable(file) {
			return file, nil
		}
	}
	found, err := filepath.Glob(l.Platform)
	if err != nil {
		return "", err
	}
	best := ""
	for _, file := range found {
		if executable(file) && (best == "" || versionOf(file) > versionOf(best)) {
			best = file
		}
	}
	if best == "" {
		return "", fmt.Errorf(
			"%s was not found: neither %q in PATH (%s) nor %s; install %s %s or later, or put it into PATH",
			l.Title,
			l.Program,
			path,
			l.Platform,
			l.Title,
			l.MinVersion,
		)
	}
	return best, nil
}

// early is the hint for an end before Hello with these last lines; hint if they show nothing.
func (l *Language) early(stderr []string, codeRoot, hint string) string {
	for _, sign := range l.Early {
		if slices.ContainsFunc(stderr, func(line string) bool { return strings.Contains(line, sign.Text) }) {
			return strings.ReplaceAll(sign.Hint, "{code}", filepath.Base(codeRoot))
		}
	}
	return hint
}

// tooOld is the start-up error for an interpreter that cannot run the worker.
func (l *Language) tooOld(program, version string) *fault.Error {
	return &fault.Error{
		Kind: fault.Init,
		Type: fault.TypeStart,
		Code: fault.CodeStartTimeout,
		Message: fmt.Sprintf(
			"%s is %s %s; %s %s or later is needed: install it, or put it first in PATH",
			program,
			l.Title,
			version,
			l.Title,
			l.MinVersion,
		),
	}
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// versionOf reads the version out of a platform path like …/nodejs16.17/rtsp/…, as major*1000+minor.
func versionOf(file string) int {
	rest := strings.TrimLeft(strings.TrimPrefix(file, "/opt/function/runtime/"), "abcdefghijklmnopqrstuvwxyz")
	rest, _, _ = strings.Cut(rest, "/")
	major, minor, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	if err1 != nil || err2 != nil {
		return 0
	}
	return a*1000 + b
}

// Package language has the table of languages that the function may be written in. A row answers every question about
// its language; what starts workers and carries calls asks the row, and compares no names.
package language

import (
	fncontext "gantry/context"
	"slices"
	"strings"
)

// Language is one row of the table of languages: data, and what follows from it for every row alike.
type Language struct {
	// Name is the value of GANTRY_RUNTIME.
	Name string
	// Title is what people call it.
	Title string
	// OldVersion is the major version of which the platform has runtimes, and for which there is no worker here; it may be
	// empty.
	OldVersion string
	// Handler is the default handler. Without a dot it is a program in the code folder, which File names if its name is
	// fixed.
	Handler, File string
	// Extensions are the file extensions by which a code folder is recognised, the handler's first.
	Extensions []string
	// Program is the interpreter. It is looked up in PATH, then below Platform, a pattern of the platform's own
	// interpreter paths (page functiongraph_01_1442). Empty when the worker is a program in the code folder.
	Program, Platform string
	// Source is the worker. The interpreter finds it in memory, as descriptor 5; Arguments make it run that.
	Source    string
	Arguments []string
	// Archive is the worker where it is a file beside the agent's program, in place of Source.
	Archive string
	// Classes says that handlers are package.Class.method, of classes in jars.
	Classes bool
	// Local are arguments in front of them that depend on the machine; nil if there are none.
	Local func() []string
	// MinVersion is the oldest version that can run Source.
	MinVersion Version
	// Carrier is what carries the calls.
	Carrier Carrier
	// NoInitializer and NoPreStop say that the language has no such hook, and what stands for it; empty for one that has.
	NoInitializer, NoPreStop string
	// Ends names what in user code ends the process, for the hint to a call that was cut off; Silent says what a worker
	// that does not end its load may lack.
	Ends, Silent string
	// AsksConcurrency is set for a worker that takes GANTRY_CONCURRENCY out of its environment before user code runs.
	AsksConcurrency bool
	// Ahead is set for a worker that takes GANTRY_AHEAD out of its environment, and whose calls may be written ahead then
	// if it says so (docs/PROTOCOL.md).
	Ahead bool
	// OneByOne is set for a language whose workers run one call at a time, and says what stands for GANTRY_CONCURRENCY.
	OneByOne string
	// Parks is set for a worker that can be started before it is needed: it waits for Load where GANTRY_PARKED says so.
	Parks bool
	// CachesCode is set for a worker that loads with a code cache, its last descriptor, as GANTRY_CODE_CACHE says.
	// Uncached says why a function may have no file that can be cached.
	// SharesClasses says that it is an archive of classes, which the interpreter itself reads at its start, or writes at
	// its end.
	CachesCode, SharesClasses bool
	Uncached                  string
	// Unanswered is the hint to a call that passed its deadline where the worker gave none; it may be empty.
	Unanswered string
	// Stacks says how the stack of a call that hangs is found. Examined are the arguments in place of Arguments that a
	// worker needs for it; it is left alone while DebugOption in the variable DebugVariable says that the user debugs it.
	Stacks                     Stacks
	Examined                   []string
	DebugVariable, DebugOption string
	// Libraries are the names of folders in the code folder that hold the code of others. Own is how the worker's own code
	// is called in stacks: names of files, in Go the beginnings of names of functions.
	Libraries, Own []string
	// False is how the language writes that word, for examples of results; empty where it is as in JSON.
	False string
	// Early explains ends before Hello, by what the worker's stderr shows.
	Early []Sign
	// Poller and Server are what an undecided row may turn out to be; nil in all others.
	Poller, Server *Language
}

// Stacks is how the stack of a call that hangs is found.
type Stacks uint8

// What there is.
const (
	ByQuit      Stacks = iota // QUIT, if the program is written in Go
	ByInspector               // USR1 opens the inspector of Node.js
	ByTraceback               // TracebackSignal has the worker write to descriptor 6
)

// TracebackSignal is SIGRTMAX, of which no system library makes use.
const TracebackSignal = 64

// Examinable reports whether a worker with this environment can be started so that it can be asked for its stack.
func (l *Language) Examinable(env []string) bool {
	return !slices.ContainsFunc(env, func(kv string) bool {
		name, value, _ := strings.Cut(kv, "=")
		return l.DebugVariable != "" && name == l.DebugVariable && strings.Contains(value, l.DebugOption)
	})
}

// Sign is what to look for, and the hint it gives; {code} in it is the name of the code folder.
type Sign struct{ Text, Hint string }

// ParseHandler reads a handler in the form that the language's handlers have.
func (l *Language) ParseHandler(handler string) (fncontext.Handler, error) {
	if l.OwnProgram() {
		return fncontext.ParseProgram(handler)
	}
	if l.Classes {
		return fncontext.ParseMethod(handler)
	}
	return fncontext.ParseHandler(handler)
}

// OwnProgram reports whether the worker is a program of the user's, in the code folder, and not one of ours.
func (l *Language) OwnProgram() bool { return l.Program == "" }

// Polls reports whether the worker asks, or may ask, for its events over the runtime API, as a custom runtime does.
// What describes a call are headers then, of any length.
func (l *Language) Polls() bool { return l.Carrier == OverRuntimeAPI || l.Undecided() }

// Undecided reports whether it is only known once the program runs what it is: Poller or Server.
func (l *Language) Undecided() bool { return l.Carrier == OverRuntimeAPIOrHTTP }

// Carrier is what carries the calls to a language's worker.
type Carrier uint8

// What there is.
const (
	OverFrames           Carrier = iota // frames on descriptors 3 and 4 (docs/PROTOCOL.md)
	OverFramesOrRPC                     // what a Go program takes up: frames, or net/rpc
	OverRuntimeAPI                      // the worker polls the runtime API
	OverHTTP                            // the worker is a web server that takes the requests as they come
	OverHTTPEvents                      // the worker is a web server that takes events, as POST /invoke
	OverRuntimeAPIOrHTTP                // what a bootstrap takes up: the runtime API, or requests as a web server
)

package language

import (
	"fmt"
	"gantry/runtime/worker"
	"strings"
)

var python = &Language{
	Name:       "python",
	Title:      "Python",
	False:      "False",
	OldVersion: "2",
	Handler:    "index.handler",
	Extensions: []string{".py"},
	Program:    "python3",
	Platform:   "/opt/function/runtime/python3*/rtsp/python/bin/python3",
	Source:     worker.Python + "\f" + worker.PythonCodeCache,
	Arguments:  []string{"-u", "-B", "-c", pythonLoader},
	Stacks:     ByTraceback,
	Examined:   []string{"-u", "-B", "-c", pythonExamined},
	Libraries:  []string{"site-packages", "dist-packages"},
	Own:        []string{"<gantry>"},
	MinVersion: Version{3, 8},
	Parks:      true,
	Ahead:      true,
	CachesCode: true,
	Uncached:   "no file that the load has compiled is there to be read",
	Ends:       "os._exit(), an error in a signal handler or in a callback of the event loop",
	Silent:     "loading the code took too long: look for work or waiting at the top level of the module",
}

// pythonLoader runs the worker's source under a name that is no path: what shows a stack with its lines opens the files
// that it names, and descriptor 5 is the user's by then. The first section is compiled; the worker does that with the
// others when it needs them. Its built-in functions are its own, whatever user code makes of them.
const pythonLoader = `import posix;s=posix.pread(5,1<<20,0).decode().split("\f");exec(compile(s[0],"<gantry>","exec"),{"__name__":"__main__","SECTIONS":s,"__builtins__":dict(vars(__builtins__))})`

// pythonExamined has TracebackSignal write the stack of the main thread to descriptor 6, and the worker report the
// stacks that are not there.
var pythonExamined = strings.Replace(
	fmt.Sprintf("import faulthandler,posix;posix.set_inheritable(6,False);faulthandler.register(%d,6,all_threads=False);", TracebackSignal)+
		pythonLoader, `"SECTIONS":s`, `"SECTIONS":s,"STACKS":True`, 1)

package language

import "gantry/runtime/worker"

var nodejs = &Language{
	Name:            "nodejs",
	Title:           "Node.js",
	Handler:         "index.handler",
	Extensions:      []string{".js", ".mjs", ".cjs"},
	Program:         "node",
	Platform:        "/opt/function/runtime/nodejs*/rtsp/nodejs/bin/node",
	Source:          nodejsSource,
	Arguments:       []string{"--preserve-symlinks-main", "/proc/self/fd/5"},
	Stacks:          ByInspector,
	Examined:        []string{inspectLater, "--preserve-symlinks-main", "/proc/self/fd/5"},
	DebugVariable:   "NODE_OPTIONS",
	DebugOption:     "--inspect",
	Libraries:       []string{"node_modules"},
	Own:             []string{"node:gantry", "/proc/self/fd/5"},
	MinVersion:      Version{10, 0},
	AsksConcurrency: true,
	Parks:           true,
	CachesCode:      true,
	Uncached:        "the function has no CommonJS file, and others cannot be cached: bundle ES modules into CommonJS (esbuild --format=cjs)",
	Ends:            "process.exit(), an uncaught error or an unhandled rejection",
	Silent:          "loading the code took too long: look for work or waiting at the top level of the module",
	Unanswered:      "when the time was over the handler had neither settled its Promise nor called its callback: every path through it has to do so; limit what it waits for, or raise RUNTIME_TIMEOUT",
	Early:           []Sign{{"internal/preload", preload}, {"ERR_MODULE_NOT_FOUND", preload}},
}

// inspectLater has USR1 open the inspector on a port that the kernel chooses, not on the fixed one that may be taken.
const inspectLater = "--inspect-port=127.0.0.1:0"

// nodejsSource starts the worker under a name that cannot be opened, with none of its own frames in any stack: tools
// that show source lines open the files that a stack names, and descriptor 5 may be one of the user's. The outer
// function is never called: its text is compiled again under that name. The second one is compiled when it is called.
var nodejsSource = `'use strict';
const worker = {};
const parts = new (require('vm').Script)('[' + function (module, require) {` + worker.NodeJS +
	`} + ',' + function (module, require) {` + worker.NodeJSCodeCache + `} + ']',
  { filename: 'node:gantry' }).runInThisContext();
parts[0](worker, require);
process.nextTick(worker.exports.start, module, (url) => import(url), (...args) => {
  const cache = {};
  parts[1](cache, require);
  return cache.exports(...args);
});
`

const preload = "NODE_OPTIONS names a module that is not found: names are looked up from the working directory, which is the folder above the code folder. " +
	"Write its path, for example --require ./{code}/node_modules/dd-trace/init.js"

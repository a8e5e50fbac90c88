package language

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// codeFolder makes a folder with empty files. A name that ends in * is executable.
func codeFolder(t *testing.T, files string) string {
	t.Helper()
	dir := t.TempDir()
	for name := range strings.FieldsSeq(files) {
		name, program := strings.CutSuffix(name, "*")
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		mode := os.FileMode(0o644)
		if program {
			mode = 0o755
		}
		require.NoError(t, os.WriteFile(path, nil, mode))
	}
	return dir
}

// TestLanguageIsDetectedByTheFilesAndHandler: by the handler's file, then by a program, then by any file.
func TestLanguageIsDetectedByTheFilesAndHandler(t *testing.T) {
	t.Parallel()
	cases := []struct{ files, handler, want, says string }{
		{"index.js", "", "nodejs", "index.js is in the code folder"},
		{"index.py", "", "python", "index.py is in the code folder"},
		{"index.js index.py", "", "nodejs", "index.js is"},
		{"index.py tool.js", "", "python", "index.py is"},
		{"src/main.py index.js", "src/main.run", "python", "src/main.py is"},
		{"main.py README", "", "python", "but main.py"},
		{"main.mjs", "index.handler", "nodejs", "but main.mjs"},
		{"handler*", "", "go", "handler is in"},
		{"hello* handler*", "hello", "go", "hello is in"},
		{"handler", "", "nodejs", "default"},
		{"bootstrap*", "", "custom", "bootstrap is in"},
		{"bootstrap", "", "custom", "bootstrap is in"},
		{"bootstrap* index.py", "", "python", "index.py is"},
		{"bootstrap* helper.py", "index.handler", "custom", "bootstrap is in"},
		{"bootstrap* index.py", "bootstrap", "custom", "bootstrap is in"},
		{"README", "", "nodejs", "default"},
		{"App.dll App.deps.json", "", "", "looks like a C# function (App.dll), which is not supported in this version: publish it"},
		{"app.jar", "", "java", "but app.jar"},
		{"lib/app.jar Hello.class", "Hello.handle", "java", "Hello.class is in"},
		{"pom.xml src/main/java/Hello.java", "a.B.c", "", "is a Maven project without a jar: run mvn package, and set --code"},
		{"build.gradle.kts build/libs/app.jar", "a.B.c", "", "is a Gradle project, whose jar is in build/libs: set --code"},
		{"pom.xml index.js", "", "nodejs", "index.js is"},
		{"src/Hello.txt", "com.demo.Hello.handle", "java", "the handler is a method of a class"},
		{"src/Hello.txt", "com.demo.hello.handle", "nodejs", "default"},
		{"src/Hello.txt", "a..b", "nodejs", "default"},
		{"lib.dll index.js", "", "nodejs", "index.js is"},
		{"app.jar a.js", "com.demo.Test.handle", "java", "the handler is a method of a class, and app.jar is"},
		{"index.php", "", "php", "index.php is in the code folder"},
		{"main.php README", "", "php", "but main.php"},
		{"bootstrap* index.php", "", "php", "index.php is"},
		{"index.php a.js", "", "php", "index.php is"},
		{"src/main.php index.js", "src/main.run", "php", "src/main.php is"},
		{"app.dll a.js", "App::App.Program::Handle", "", "looks like a C# function (app.dll)"},
		{"index.php index.js", "", "nodejs", "index.js is"},
		{"index.ts jest.config.js", "", "", "but index.ts, which is TypeScript source: compile it to JavaScript"},
		{"main.go go.mod", "", "", "but main.go, which is Go source: build the program"},
		{"main.ts tsconfig.json", "", "", "but main.ts, which is TypeScript source"},
		{"Program.cs", "", "", "but Program.cs, which is C# source: C# functions are not supported in this version: publish it"},
		{"Main.java pom.xml", "", "", "which is Java source"},
		{"", "", "", "is empty: mount or copy the function's code there, or set --code"},
	}
	for _, c := range cases {
		dir := codeFolder(t, c.files)
		d, err := Detect(dir, c.handler)
		if c.want == "" {
			require.ErrorContains(t, err, c.says, c.files)
			continue
		}
		require.NoError(t, err, c.files)
		require.Equal(t, c.want, d.Language.Name, "%s, handler %q", c.files, c.handler)
		require.Contains(t, d.Reason, c.says, c.files)
	}
}

// TestMissingHandlerFileGetsARemarkWithAdvice: what is there instead of the handler's file, and what to do.
func TestMissingHandlerFileGetsARemarkWithAdvice(t *testing.T) {
	t.Parallel()
	for files, want := range map[string]string{
		"index.js":                "",
		"app.js package.json":     "the code folder has no index.js, but app.js: if that has the handler, set --handler app.handler",
		"a.py b.py":               "the code folder has no index.py; set --handler to file.function of one that is there: a.py, b.py",
		"README":                  "has neither index.js nor any other function's file: is it the right one?",
		"hello/index.js README":   "the code folder has no index.js, but hello/index.js: set --code ",
		"node_modules/index.js x": "has neither index.js",
		"function.zip README":     "the code folder has no index.js, but the archive function.zip: unpack it there, or set --code",
		"README main*":            "the code folder has no index.js, but the program main: if that is the function, set --handler main",
	} {
		dir := codeFolder(t, files)
		d, err := Detect(dir, "")
		require.NoError(t, err, files)
		if want == "" {
			require.Empty(t, d.Remark, files)
		}
		require.Contains(t, d.Remark, want, files)
	}
	d, err := Detect(codeFolder(t, "lib/app.js main.js"), "src/main.run")
	require.NoError(t, err)
	require.Contains(t, d.Remark, "no src/main.js, but main.js: if that has the handler, set --handler main.run")
}

// TestHTTPFunctionsAreRecognized: an HTTP function is not a custom runtime without an execute bit, and not
// the Node.js function that its server could be.
func TestHTTPFunctionsAreRecognized(t *testing.T) {
	t.Parallel()
	const server = "require('http').createServer().listen(8000)"
	cases := []struct {
		says, handler, want string
		files               map[string]string
	}{
		{"started by the platform's interpreter", "", "http", map[string]string{"bootstrap": "/opt/function/runtime/nodejs20.15/rtsp/nodejs/bin/node $RUNTIME_CODE_ROOT/src/index.js", "src/index.js": server}},
		{"a program", "", "http", map[string]string{"bootstrap": "#!/bin/sh\nexec ./handler\n", "handler": "\x7fELF\x00 :8000"}},
		{"beside the default handler's file", "", "http", map[string]string{"bootstrap": "node $RUNTIME_CODE_ROOT/index.js", "index.js": server}},
		{"a custom runtime", "", "custom", map[string]string{"bootstrap": "#!/bin/sh\ncurl http://$RUNTIME_API_ADDR/v1 # not port 8000\n"}},
		{"a custom runtime that starts another file", "", "custom", map[string]string{"bootstrap": "node $RUNTIME_CODE_ROOT/src/main.js", "src/main.js": "require('./poll')", "src/poll.js": "process.env.RUNTIME_API_ADDR // 8000"}},
		{"packages of npm", "", "http", map[string]string{
			"bootstrap": "exec node x.js", "node_modules/runtime/index.js": "RUNTIME_API_ADDR",
		}},
		{"PHP's own server, and packages of Composer", "", "http", map[string]string{
			"bootstrap": "/opt/function/runtime/php8.3/rtsp/php/bin/php -S 0.0.0.0:8000 $RUNTIME_CODE_ROOT/index.php", "index.php": "<?php",
			"vendor/autoload.php": "<?php // RUNTIME_API_ADDR",
		}},
		{"a port from the environment, in bootstrap", "", "http", map[string]string{
			"bootstrap": "#!/bin/sh\nexec php -S 127.0.0.1:$PORT $RUNTIME_CODE_ROOT/index.php", "index.php": "<?php",
		}},
		{"a port from the environment, in the server", "", "http", map[string]string{
			"bootstrap": "#!/bin/sh\nexec node index.js", "index.js": "listen(process.env.PORT)",
		}},
		{"another port, and a text that can be nothing else", "", "http", map[string]string{
			"bootstrap": "exec node index.js", "index.js": "listen(3000)",
		}},
		{"no port", "", "nodejs", map[string]string{
			"bootstrap": "#!/bin/sh\nexec node index.js", "index.js": "exports.handler = 1 // EXPORT, PORTS, A_PORT, PORTPORT",
		}},
		{"a folder of this name with something else", "", "custom", map[string]string{
			"bootstrap": "#!/bin/sh\nexec vendor/x 8000", "vendor/x": "RUNTIME_API_ADDR",
		}},
		{"a text that cannot be run by itself", "", "http", map[string]string{"bootstrap": "exec python3 -m runtime"}},
		{"a script without a port", "", "custom", map[string]string{"bootstrap": "#!/bin/sh\nexec python3 -m runtime"}},
		{"a text that polls", "", "custom", map[string]string{"bootstrap": "curl http://$RUNTIME_API_ADDR/v1"}},
		{"a program as custom runtime", "", "custom", map[string]string{"bootstrap": "\x7fELF\x00 8000"}},
		{"a server beside another function", "", "nodejs", map[string]string{"bootstrap": "exec /usr/bin/agent", "index.js": server}},
	}
	for _, c := range cases {
		dir := t.TempDir()
		for name, text := range c.files {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		d, err := Detect(dir, c.handler)
		require.NoError(t, err, c.says)
		require.Equal(t, c.want, d.Language.Name, c.says)
	}
}

// TestExecutableBootstrapIsDecidedWhenItRuns: where the files do not say what it is. Those that mention the runtime API
// say it, but for a program, which may serve all the same.
func TestExecutableBootstrapIsDecidedWhenItRuns(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile("/bin/true")
	require.NoError(t, err)
	elf := string(program)
	cases := []struct {
		says                string
		files               map[string]string
		undecided, namesAPI bool
	}{
		{"a program", map[string]string{"bootstrap": elf}, true, false},
		{"a program that knows the variable", map[string]string{"bootstrap": elf + "RUNTIME_API_ADDR"}, true, true},
		{"a program on port 8000", map[string]string{"bootstrap": elf + "8000"}, true, false},
		{"a script", map[string]string{"bootstrap": "#!/usr/bin/env node\nrequire('./server')", "server.js": "listen(PORT)"}, true, false},
		{"a script without a first line", map[string]string{"bootstrap": "exec server"}, true, false},
		{"a script on port 8000", map[string]string{"bootstrap": "#!/bin/sh\nexec server -p 8000"}, false, false},
		{"a script that polls", map[string]string{"bootstrap": "#!/bin/sh\ncurl $RUNTIME_API_ADDR"}, false, false},
		{"a script that starts what polls", map[string]string{"bootstrap": "#!/bin/sh\nexec python3 a.py", "a.py": "RUNTIME_API_ADDR"}, false, false},
	}
	for _, c := range cases {
		dir := t.TempDir()
		for name, text := range c.files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
		}
		d, err := Detect(dir, "")
		require.NoError(t, err, c.says)
		require.Equal(t, c.undecided, d.Language.Undecided(), c.says)
		require.Equal(t, c.namesAPI, d.NamesAPI, c.says)
	}
	dir := codeFolder(t, "bootstrap*")
	for i := range maxSearchedFiles {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a"+strconv.Itoa(i)), nil, 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "z"), []byte("RUNTIME_API_ADDR"), 0o644))
	d, err := Detect(dir, "")
	require.NoError(t, err)
	require.True(t, d.Language.Undecided(), "a folder that was not searched to its end")
}

// TestUndecidedLanguageSaysYesToBoth: what asks a row whether it polls or listens has to be ready for either.
func TestUndecidedLanguageSaysYesToBoth(t *testing.T) {
	t.Parallel()
	for _, l := range All {
		require.False(t, l.Undecided(), "%s can be set", l.Name)
		require.False(t, l.Polls() && l.Listens(), l.Name)
	}
	require.True(t, undecided.Polls() && undecided.Listens() && undecided.Proxies())
	require.True(t, undecided.Poller.Polls() && undecided.Server.Proxies())
	require.Contains(t, undecided.SilentFor(nil), "did not ask for an event")
	require.Contains(t, undecided.SilentFor(nil), "listens on GANTRY_UPSTREAM")
	require.Contains(t, undecided.SilentFor(os.ErrClosed), "did not ask for an event, as a custom runtime does")
	require.Contains(t, undecided.SilentFor(os.ErrClosed), os.ErrClosed.Error())
	require.Equal(t, os.ErrClosed.Error(), httpServer.SilentFor(os.ErrClosed))
}

// TestProgramWithoutExecuteBitIsDetectedAsGo: the start says what it lacks, and not that index.js is missing.
func TestProgramWithoutExecuteBitIsDetectedAsGo(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	text, err := os.ReadFile(self)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "handler"), text, 0o644))
	d, err := Detect(dir, "")
	require.NoError(t, err)
	require.Equal(t, "go", d.Language.Name)
}

// TestDetectIgnoresTheAgent: a platform has started it as bootstrap, and it is not its own function.
func TestDetectIgnoresTheAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(dir, "bootstrap")))
	d, err := Detect(dir, "")
	require.NoError(t, err)
	require.Equal(t, "nodejs", d.Language.Name)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.py"), nil, 0o644))
	d, err = Detect(dir, "bootstrap")
	require.NoError(t, err)
	require.Equal(t, "python", d.Language.Name)
}

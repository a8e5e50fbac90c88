// Command bootstrap runs a FunctionGraph function and the extensions beside it, in any container. It is the only package
// that reads the environment, parses flags and ends the process.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Exit codes. A second signal exits with 128 plus its number.
const (
	exitOK       = 0
	exitError    = 1 // something unexpected, or the call of "invoke" failed
	exitUsage    = 2 // a setting or an argument is wrong, or a needed program is missing
	exitListen   = 3 // an address cannot be listened on
	exitFunction = 4 // the function cannot be loaded or initialised, with GANTRY_EXIT_ON_FAILURE
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the program without the process: it returns the exit code.
func run(args, environ []string, stdin io.Reader, stdout, stderr *os.File) int {
	p := &program{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	if len(args) == 0 { // the way a container starts: no time for a command line library
		return p.exit(p.bare())
	}
	return p.exit(p.execute(args))
}

// program is what the commands share.
type program struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr *os.File
}

// failure is an error that chose its exit code.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func (p *program) exit(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitError
	if f := (*failure)(nil); errors.As(err, &f) {
		code, err = f.code, f.err
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "bootstrap: %v\n", err)
	}
	return code
}

// load builds the configuration from flags and environment; poll says that the agent will be a custom runtime.
func (p *program) load(flags map[string]string, poll bool) (*config, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	f := facts{pid: os.Getpid(), cwd: cwd, poll: poll, root: os.Geteuid() == 0}
	if f.pid != 1 {
		f.init, f.direct = initName(), os.Getppid() == 1
	}
	c, err := load(p.environ, flags, f)
	if err != nil {
		return nil, &failure{exitUsage, err}
	}
	return c, nil
}

// bare is the program without a command: poll where a platform starts its custom runtime, else serve.
func (p *program) bare() error {
	poll := p.polls()
	c, err := p.load(nil, poll)
	if err != nil {
		return err
	}
	if poll {
		return p.poll(c)
	}
	return p.serve(c)
}

// polls reports whether the environment is that of a custom runtime.
func (p *program) polls() bool { return variables(p.environ)["RUNTIME_API_ADDR"] != "" }

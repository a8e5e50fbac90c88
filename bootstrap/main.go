// Command bootstrap runs a FunctionGraph function and the extensions beside it, in any container. It is the only
// package that reads the environment, parses flags and ends the process.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"gantry/fault"
	"io"
	"os"
	"time"
)

// Exit codes. A second signal exits with 128 plus its number.
const (
	exitOK       = 0
	exitError    = 1 // something unexpected, or the call of "invoke" failed
	exitUsage    = 2 // a setting or an argument is wrong, or a needed program is missing
	exitListen   = 3 // an address cannot be listened on
	exitFunction = 4 // the function cannot be loaded or initialised, with GANTRY_EXIT_ON_FAILURE
	exitStuck    = 5 // the stop could not end everything within GANTRY_SHUTDOWN_TIMEOUT
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

// exitCodes are those of the kinds that other packages mark errors with; see fault.Mark.
var exitCodes = map[fault.Kind]int{
	fault.Invalid:     exitUsage,
	fault.Unavailable: exitListen,
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
	if kind, ok := fault.MarkOf(err); ok {
		code = cmp.Or(exitCodes[kind], exitError)
	}
	if f := (*failure)(nil); errors.As(err, &f) {
		code, err = f.code, f.err
	}
	if err != nil {
		p.lastLine(fmt.Sprintf("bootstrap: %v\n", err))
	}
	return code
}

// lastLine writes text to stderr, for lastWrite at most: the end of the program depends on no reader.
func (p *program) lastLine(text string) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = p.stderr.WriteString(text) // there is nowhere left to report an error
	}()
	timer := time.NewTimer(lastWrite)
	defer timer.Stop()
	select {
	case <-written:
	case <-timer.C:
	}
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

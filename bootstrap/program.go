package main

import (
	"cmp"
	"errors"
	"fmt"
	"gantry/agent"
	"gantry/fault"
	"gantry/process"
	"gantry/settings"
	"io"
	"os"
	"path/filepath"
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

// program is what the commands share.
type program struct {
	// name is what the program was called by: bootstrap, or gantry where it is installed as a command.
	name           string
	environ        []string
	stdin          io.Reader
	stdout, stderr *os.File
}

// nameOf is the program's name as help and errors show it.
func nameOf(args []string) string {
	if len(args) > 0 && filepath.Base(args[0]) == "gantry" {
		return "gantry"
	}
	return "bootstrap"
}

// exitCodes are those of the kinds that other packages mark errors with; see fault.Mark.
var exitCodes = map[fault.Kind]int{
	fault.Invalid:     exitUsage,
	fault.Unavailable: exitListen,
	fault.Init:        exitFunction,
	fault.Timeout:     exitStuck,
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
	if f := (*agent.Forced)(nil); errors.As(err, &f) {
		code = 128 + int(f.Signal)
	}
	if f := (*failure)(nil); errors.As(err, &f) {
		code, err = f.code, f.err
	}
	if err != nil {
		p.lastLine(fmt.Sprintf("%s: %v\n", p.name, err))
	}
	return code
}

// lastLine writes text to stderr, for lastLineLimit at most: the end of the program depends on no reader.
func (p *program) lastLine(text string) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = p.stderr.WriteString(text) // there is nowhere left to report an error
	}()
	timer := time.NewTimer(lastLineLimit)
	defer timer.Stop()
	select {
	case <-written:
	case <-timer.C:
	}
}

// load builds the configuration from flags and environment; poll says that the agent will be a custom runtime, command
// is the command line of the function's server.
func (p *program) load(flags map[string]string, poll bool, command []string) (*settings.Config, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	f := settings.Facts{PID: os.Getpid(), CWD: cwd, Poll: poll, Command: command, Root: os.Geteuid() == 0}
	if f.PID != 1 {
		f.Init, f.Direct = settings.InitName(), os.Getppid() == 1
	}
	c, err := settings.Load(p.environ, flags, f)
	if err != nil {
		return nil, &failure{exitUsage, err}
	}
	return c, nil
}

// conceal closes this process to other processes of its user, whatever its environment holds.
func (p *program) conceal() error {
	var names []string
	for _, s := range settings.Table() {
		if s.Secret {
			names = append(names, s.Env)
		}
	}
	return errors.Join(process.HideEnvironment(names), process.Protect())
}

// lastLineLimit bounds the write of the last line.
const lastLineLimit = 250 * time.Millisecond

// Set by the linker (Makefile).
var (
	version = "0.1.0-dev"
	commit  = "unknown"
)

// Command bootstrap runs a FunctionGraph function and the extensions beside it, in any container. It is the only
// package that reads the environment, parses flags and ends the process.
package main

import (
	"io"
	"os"

	"github.com/google/uuid"
)

func main() {
	uuid.EnableRandPool() // one read of the kernel's random bytes for 16 request ids, which are no secret
	os.Exit(run(os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the program without the process: it returns the exit code. args has the program's own name first.
func run(args, environ []string, stdin io.Reader, stdout, stderr *os.File) int {
	p := &program{name: nameOf(args), environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	if len(args) <= 1 { // the way a container starts: no time for a command line library
		return p.exit(p.bare())
	}
	return p.exit(p.execute(args[1:]))
}

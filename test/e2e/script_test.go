package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestProgramBehavesAsTheScriptFilesSay runs the real binary as the text files in testdata/script say, with the
// function written in the same file.
func TestProgramBehavesAsTheScriptFilesSay(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "../../testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"build": func(ts *testscript.TestScript, _ bool, args []string) { // PACKAGE PROGRAM
				cmd := exec.Command("go", "build", "-o", ts.MkAbs(args[1]), args[0])
				cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
				out, err := cmd.CombinedOutput()
				if err != nil {
					ts.Fatalf("%v: %s", err, out)
				}
			},
			"agent": func(ts *testscript.TestScript, _ bool, args []string) { // FILE: the program under test, as a file
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("#!/bin/sh\nexec "+program(t)+"\n"), 0o755))
			},
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(program(t))+":"+env.Getenv("PATH")+":"+os.Getenv("PATH"))
			env.Setenv("EXTENSION_API_ADDR", "127.0.0.1:0")
			env.Setenv("RUNTIME_CODE_ROOT", env.WorkDir)
			env.Setenv("RUNTIME_MEMORY", "512")
			examples, err := filepath.Abs("../../examples")
			env.Setenv("EXAMPLES", examples)
			return err
		},
	})
}

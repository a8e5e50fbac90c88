package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the real binary as the text files in testdata/script say, with the function written in the same file.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "../testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", env.Getenv("PATH")+":"+os.Getenv("PATH"))
			env.Setenv("EXTENSION_API_ADDR", "127.0.0.1:0")
			env.Setenv("RUNTIME_CODE_ROOT", env.WorkDir)
			env.Setenv("RUNTIME_MEMORY", "512")
			examples, err := filepath.Abs("../examples")
			env.Setenv("EXAMPLES", examples)
			return err
		},
	})
}

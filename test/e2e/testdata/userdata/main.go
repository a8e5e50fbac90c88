// Command userdata is a function that answers which user variables it finds where, for the tests of the agent.
package main

import (
	"context"
	"gantry/function"
	"os"
	"strings"
)

var early string

func main() {
	function.Start(handle, function.Initializer(func(ctx context.Context) error {
		early = function.FromContext(ctx).GetUserData("SECRET")
		return nil
	}))
}

type found struct {
	Env     []string `json:"env"`
	Context []string `json:"context"`
	Leaks   bool     `json:"leaks"`
	Early   string   `json:"early"`
}

func handle(ctx context.Context, _ any) (found, error) {
	c := function.FromContext(ctx)
	environ, err := os.ReadFile("/proc/self/environ")
	return found{
		Env:     []string{os.Getenv("K"), os.Getenv("RUNTIME_CPU"), os.Getenv("SECRET")},
		Context: []string{c.GetUserData("K"), c.GetUserData("RUNTIME_CPU"), c.GetUserData("SECRET")},
		Leaks:   strings.Contains(string(environ), "s3cr3t"), Early: early,
	}, err
}

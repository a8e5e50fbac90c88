// Command function is the function of the benchmarks in Go; as bootstrap of a custom runtime it polls.
package main

import (
	"context"
	"gantry/function"
)

type event struct {
	Name string `json:"name"`
}

type answer struct {
	StatusCode int    `json:"statusCode"`
	Body       string `json:"body"`
}

func main() {
	function.Start(func(_ context.Context, e event) (answer, error) { return answer{200, e.Name}, nil })
}

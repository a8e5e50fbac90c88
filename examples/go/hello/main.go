// Command hello is a function: it greets whom the event names.
package main

import (
	"cmp"
	"context"
	"gantry/function"
)

type event struct {
	Name string `json:"name"`
}

type answer struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

func handle(ctx context.Context, e event) (answer, error) {
	call := function.FromContext(ctx)
	call.GetLogger().Logf("hello from request %s", call.GetRequestID())
	return answer{
		StatusCode: 200,
		Headers:    map[string]string{"Content-Type": "text/plain"},
		Body:       "Hello, " + cmp.Or(e.Name, "world"),
	}, nil
}

func main() { function.Start(handle) }

// Package function is what a function written in Go imports to run: in a container, started by the agent, and as the
// custom runtime of the platform, from the same program.
//
//	func main() { function.Start(handle) }
//
//	func handle(ctx context.Context, event struct{ Name string }) (map[string]string, error) {
//		function.FromContext(ctx).GetLogger().Logf("hello %s", event.Name)
//		return map[string]string{"hello": event.Name}, nil
//	}
//
// Build it with CGO_ENABLED=0, name the file like the handler, and run it with "bootstrap serve --code DIR --runtime go
// --handler NAME". Named bootstrap and put into a ZIP, it is a custom runtime (page functiongraph_01_0406).
//
// # Output
//
// What the context's logger writes belongs to the call it was written for. What is printed to stdout and stderr is in
// the log as well, but belongs to a call only if no other one runs beside it.
//
// # Memory
//
// The collector keeps to 85 % of RUNTIME_MEMORY if it can. Set GOMEMLIMIT or use debug.SetMemoryLimit for anything
// else.
//
// # What ends the process
//
// A panic of the handler ends its call, not the process, and so does runtime.Goexit. A panic in a goroutine that the
// handler starts ends the process, with every call in it: recover there. Signals are left to the program; TERM ends it.
// On the platform TERM lets the calls under way end first.
package function

import (
	"context"
)

// Start serves events with handler until the process ends: it never returns. Call it once, at the end of main; what
// comes before it is part of the load.
//
// The event reaches handler as T. []byte and json.RawMessage are the event as it came; the handler may keep them. Any
// other T is unmarshalled from JSON, which has to be UTF-8 and may begin with a byte order mark; an event that is no
// JSON is answered without calling handler. An empty event counts as {}.
//
// The result is R, or what R holds if it is an interface: []byte and json.RawMessage are answered as they are, a string
// as text, anything else as json.Marshal writes it, with HTML characters escaped as on the platform (page
// functiongraph_02_0441); a nil result is null. It must not be changed after handler has returned. Results over
// RUNTIME_MAX_RESP_BODY_SIZE bytes are errors, and so is an error that handler returns: then the result is not used.
//
// ctx ends with the call: when handler returns, at the deadline, or when the caller cancels. context.WithoutCancel
// makes one that goes on. Handlers run at the same time, each on a goroutine of its own, if GANTRY_CONCURRENCY allows.
func Start[T, R any](handler func(ctx context.Context, event T) (R, error), options ...Option) {
	run(newFunction(handler, options))
}

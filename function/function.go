package function

import (
	"context"
	"log/slog"
)

// function is what the user gave to Start, and what is known about it.
type function struct {
	facts
	// handle is the handler without its types; configured is false if there is none.
	handle      func(ctx context.Context, event event, e *encoder) outcome
	configured  bool
	initializer func(context.Context) error
	pollers     int
	level       slog.Leveler
}

// Option is a setting of Start.
type Option func(*function)

// Initializer runs once in each process before the first event, with a context that has a logger and a deadline
// (RUNTIME_INITIALIZER_TIMEOUT; 300 s if there is none). An error or a panic fails the start.
//
// If RUNTIME_INITIALIZER_HANDLER is set, which of its values does not matter, it is the initialize phase, with a
// request id, log lines and a deadline of its own; otherwise it is part of the load. The platform has no initializers
// for Go (page functiongraph_01_0201); there it runs before the first poll.
func Initializer(initializer func(context.Context) error) Option {
	return func(f *function) { f.initializer = initializer }
}

// Pollers sets how many events are asked for at once on the platform, 1 or more, in place of GANTRY_CONCURRENCY or 1.
// Started by the agent, the agent decides.
func Pollers(n int) Option {
	return func(f *function) { f.pollers = max(n, 1) }
}

// LogLevel sets the lowest level that loggers made with Slog write; INFO if this is not used. A *slog.LevelVar can be
// changed at any time.
func LogLevel(level slog.Leveler) Option {
	return func(f *function) {
		if level != nil {
			f.level = level
		}
	}
}

func newFunction[T, R any](handler func(context.Context, T) (R, error), options []Option) *function {
	f := &function{handle: adapt(handler), configured: handler != nil, level: slog.LevelInfo}
	for _, o := range options {
		o(f)
	}
	return f
}

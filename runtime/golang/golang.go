// Package golang forwards to gantry/function, the module that functions written in Go import.
//
// Deprecated: import gantry/function. This package stays for one release.
package golang

import (
	"context"
	"gantry/function"
	"log/slog"
)

// Option is an option of Start.
//
// Deprecated: use function.Option.
type Option = function.Option

// Context is what a handler can know about its call.
//
// Deprecated: use function.Context.
type Context = function.Context

// Logger writes lines that belong to a call.
//
// Deprecated: use function.Logger.
type Logger = function.Logger

// Start serves events with handler until the process ends.
//
// Deprecated: use function.Start.
func Start[T, R any](handler func(ctx context.Context, event T) (R, error), options ...Option) {
	function.Start(handler, options...)
}

// FromContext returns the Context of a call.
//
// Deprecated: use function.FromContext.
func FromContext(ctx context.Context) *Context { return function.FromContext(ctx) }

// Initializer runs once in each process before the first event.
//
// Deprecated: use function.Initializer.
func Initializer(initializer func(context.Context) error) Option {
	return function.Initializer(initializer)
}

// Pollers sets how many events are asked for at once on the platform.
//
// Deprecated: use function.Pollers.
func Pollers(n int) Option { return function.Pollers(n) }

// LogLevel sets the lowest level that loggers made with Slog write.
//
// Deprecated: use function.LogLevel.
func LogLevel(level slog.Leveler) Option { return function.LogLevel(level) }

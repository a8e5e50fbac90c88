package runtime

import (
	"context"
	"gantry/fault"
	"gantry/logger"
	"sync/atomic"

	fncontext "gantry/context"
)

// either offers a program two transports; the first that it takes up is the one.
type either struct {
	// first stands for both before the choice: there are no calls then, and either would do.
	first, second Transport
	// dropFirst and dropSecond end the one that was not taken up.
	dropFirst, dropSecond func()
	chosen                atomic.Pointer[Transport]
}

// choose reports whether t is the transport in use from now on.
func (e *either) choose(t Transport) bool {
	if !e.chosen.CompareAndSwap(nil, &t) {
		return *e.chosen.Load() == t
	}
	if t == e.first {
		e.dropSecond()
	} else {
		e.dropFirst()
	}
	return true
}

// used is the chosen transport.
func (e *either) used() Transport {
	if t := e.chosen.Load(); t != nil {
		return *t
	}
	return e.first
}

// Init implements Transport, and so do the next ones.
func (e *either) Init(ctx context.Context, inv *fncontext.Call, log *logger.Request) error {
	return e.used().Init(ctx, inv, log)
}

// Invoke goes to the chosen transport.
func (e *either) Invoke(ctx context.Context, inv *fncontext.Call, event []byte, log *logger.Request) (Result, error) {
	return e.used().Invoke(ctx, inv, event, log)
}

// PreStop goes to the chosen transport.
func (e *either) PreStop(ctx context.Context, inv *fncontext.Call, log *logger.Request) error {
	return e.used().PreStop(ctx, inv, log)
}

// Close goes to the chosen transport.
func (e *either) Close() error { return e.used().Close() }

func (e *either) serve() {
	go e.second.serve()
	e.first.serve()
}

func (e *either) drain() {
	e.second.drain()
	e.first.drain()
}

func (e *either) fail(death *fault.Error) {
	e.second.fail(death)
	e.first.fail(death)
}

func (e *either) only() *logger.Request { return e.used().only() }

func (e *either) overdue() bool { return e.used().overdue() }

func (e *either) stacks(ctx context.Context) (string, error) { return e.used().stacks(ctx) }

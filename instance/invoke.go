package instance

import (
	"context"
	fncontext "gantry/context"
	"gantry/fault"
	"gantry/runtime"
)

// Invoke runs one call from admission to summary; see Admit and Lease.Invoke.
func (a *Instance) Invoke(ctx context.Context, inv *fncontext.Invocation, event []byte) Result {
	if a.mayGoAhead(inv, event) {
		return a.invokeAhead(ctx, inv, event)
	}
	l, err := a.Admit(ctx, inv)
	if err != nil {
		return Result{Fault: fault.From(err)}
	}
	return l.Invoke(ctx, event)
}

// Forward runs one request from admission to summary; see Admit and Lease.Forward.
func (a *Instance) Forward(ctx context.Context, inv *fncontext.Invocation, x runtime.Exchange) Result {
	l, err := a.Admit(ctx, inv)
	if err != nil {
		return Result{Fault: fault.From(err)}
	}
	return l.Forward(ctx, x)
}

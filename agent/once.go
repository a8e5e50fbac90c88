package agent

import (
	"context"
	"gantry/extension"
	"gantry/instance"
	"gantry/settings"
	"time"

	"github.com/google/uuid"

	fncontext "gantry/context"
)

// Report is what came of one call by Once.
type Report struct {
	instance.Result
	RequestID string
	// Phases are the steps of the start, Costs what each extension cost the call.
	Phases []instance.Phase
	Costs  []extension.Cost
	// Fatal is set when the interpreter cannot run the worker at all.
	Fatal error
}

// Once starts the function, runs one event, and stops everything. An error is one of the start; the failure of
// the call is in the result.
func Once(c *settings.Config, o *Options, event []byte, tail bool) (*Report, error) {
	in, err := openAgent(c, o)
	if err != nil {
		return nil, err
	}
	in.remark()
	go func() { _ = in.extensions.Serve() }() // ends with the instance, after its error can matter
	inv := &fncontext.Invocation{
		RequestID: uuid.NewString(), Function: &c.Function, Credentials: fncontext.NewCredentials(c.Secrets), Tail: tail,
	}
	r := &Report{RequestID: inv.RequestID, Result: in.instance.Invoke(in.instance.Base(), inv, event)}
	r.Phases = in.instance.Phases()
	in.awaitSubscription()
	in.close(time.Now().Add(c.ShutdownTimeout), extension.ReasonSpindown)
	r.Costs = in.host.Costs(inv.RequestID)
	select {
	case <-in.instance.Fatal():
		r.Fatal = in.instance.Failure()
	default:
	}
	return r, nil
}

// awaitSubscription gives extensions that have registered the time to subscribe to telemetry, which may come after the
// one call: what happened is kept for the subscriber. The stop that follows delivers it. Those that are never idle are
// waited for as long as for their registration.
func (in *agent) awaitSubscription() {
	ctx, cancel := context.WithTimeout(context.Background(), in.cfg.ExtensionWait)
	defer cancel()
	in.host.AwaitSubscription(ctx)
}

package agent

import (
	"context"
	"gantry/extension"
	"gantry/fault"
	"gantry/instance"
	"gantry/settings"
	"time"

	"github.com/google/uuid"

	fncontext "gantry/context"
)

// Report is what came of the calls by Once.
type Report struct {
	// Calls are in the order of their events.
	Calls []Call
	// Phases are the steps of the start.
	Phases []instance.Phase
	// Fatal is set when the interpreter cannot run the worker at all.
	Fatal error
}

// Call is what came of one event: the result, and what each extension cost the call.
type Call struct {
	instance.Result
	RequestID string
	Costs     []extension.Cost
}

// Once starts the function, runs the events one after the other, and stops everything. An error is one of the start;
// the failure of a call is in its result, and the next event runs all the same. tail asks for the tails of the logs.
// ended, which may be nil, is called after each call, before the next one begins and before its costs are known.
func Once(c *settings.Config, o *Options, events [][]byte, tail bool, ended func(*Call)) (*Report, error) {
	in, err := openAgent(c, o)
	if err != nil {
		return nil, err
	}
	in.remark()
	go func() { _ = in.extensions.Serve() }() // ends with the instance, after its error can matter
	r := &Report{}
	for _, event := range events {
		call := in.once(event, tail)
		if call.Hang == nil && call.Fault != nil && call.Fault.Kind == fault.Init {
			call.Hang = in.instance.Hang()
		}
		if ended != nil {
			in.sink.Flush(printLimit) // what ended prints about the call comes behind its log
			ended(&call)
		}
		r.Calls = append(r.Calls, call)
	}
	r.Phases = in.instance.Phases()
	in.awaitSubscription()
	in.close(time.Now().Add(c.ShutdownTimeout), extension.ReasonSpindown)
	for i := range r.Calls {
		r.Calls[i].Costs = in.host.Costs(r.Calls[i].RequestID)
	}
	select {
	case <-in.instance.Fatal():
		r.Fatal = in.instance.Failure()
	default:
	}
	return r, nil
}

// once runs one event.
func (in *agent) once(event []byte, tail bool) Call {
	inv := &fncontext.Invocation{
		RequestID: uuid.NewString(), Function: &in.cfg.Function, Tail: tail,
		Credentials: fncontext.NewCredentials(in.cfg.Secrets),
	}
	return Call{RequestID: inv.RequestID, Result: in.instance.Invoke(in.instance.Base(), inv, event)}
}

// awaitSubscription gives extensions that have registered the time to subscribe to telemetry, which may come after the
// calls: what happened is kept for the subscriber. The stop that follows delivers it. Those that are never idle are
// waited for as long as for their registration.
func (in *agent) awaitSubscription() {
	ctx, cancel := context.WithTimeout(context.Background(), in.cfg.ExtensionWait)
	defer cancel()
	in.host.AwaitSubscription(ctx)
}

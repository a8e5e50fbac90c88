package function

import "fmt"

// settler takes the outcome of a call: to a frame, or to the runtime API.
type settler interface{ settle(c *call, o outcome) }

// perform runs the handler, or for an Init the initializer, and settles the call once, even if the goroutine ends under
// it.
func (f *function) perform(c *call, ev event, e *encoder, s settler) {
	var o outcome
	returned := false
	defer func() {
		if !returned {
			o.failure = f.died(c, recover())
		}
		s.settle(c, f.limit(c, o))
	}()
	if c.initializes {
		o = f.initialize(c)
	} else {
		o = f.handle(c, ev, e)
	}
	returned = true
}

func (f *function) initialize(c *call) outcome {
	if f.initializer == nil {
		const why = "RUNTIME_INITIALIZER_HANDLER is set, but the program has no initializer: give function.Start the option function.Initializer, or unset it"
		return outcome{failure: &failure{code: codeInitializer, kind: kindConfig, message: initialization + why}}
	}
	if err := f.initializer(c); err != nil {
		return outcome{failure: &failure{code: codeInitializer, kind: kindReturned, message: initialization + err.Error()}}
	}
	return outcome{}
}

// limit refuses what is longer than an answer may be. Errors count too.
func (f *function) limit(c *call, o outcome) outcome {
	size := len(o.body)
	if o.failure != nil {
		o.failure.message = f.shorten(o.failure.message)
		size = len(o.failure.body())
	}
	if size <= f.maxResponse {
		return o
	}
	x := &failure{
		code: codeTooLarge, kind: "FunctionResponseTooLarge",
		message: fmt.Sprintf("Response body size '%d' larger than max value '%d'.", size, f.maxResponse), cause: o.failure,
	}
	if c.initializes { // the agent goes by that
		x.code = codeInitializer
	}
	return outcome{failure: x}
}

// died is the failure of a handler that did not return: v is what it panicked with, nil after runtime.Goexit. Called
// while the stack is still there.
func (f *function) died(c *call, v any) *failure {
	x := &failure{code: codeRaised, kind: "panic", stack: f.stack()}
	if v == nil {
		x.kind, v = "Goexit", "the goroutine of the call was ended with runtime.Goexit"
	}
	x.message = fmt.Sprintf("%+v", v)
	if c.initializes {
		x.code, x.message = codeInitializer, initialization+x.message
	}
	return x
}

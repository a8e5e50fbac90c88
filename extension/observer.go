package extension

import (
	"gantry/process"
	"time"
)

// Observer is called with what passes between the agent and the extensions, for tools that judge them. Functions may be
// nil. They are called from several goroutines and must return soon: the extension waits for its answer meanwhile.
type Observer struct {
	// Started is called when a script was started; err says why it could not be, and p is nil then.
	Started func(s Script, p *process.Process, err error)
	// Registered is called before a registration is answered; err, a *fault.Error, says why it is refused.
	Registered func(r Registration, err error)
	// Subscribed is called likewise for a subscription to telemetry; name is the header's, which may be empty.
	Subscribed func(name string, err error)
	// Batch is called after each attempt to deliver a batch of telemetry. batch is valid during the call.
	Batch func(batch []byte, took time.Duration, err error)
	// Noticed is called after the shutdown notice; err says why it was not answered.
	Noticed func(name string, took time.Duration, err error)
}

func (o *Observer) started(s Script, p *process.Process, err error) {
	if o.Started != nil {
		o.Started(s, p, err)
	}
}

func (o *Observer) registered(r Registration, err error) {
	if o.Registered != nil {
		o.Registered(r, err)
	}
}

func (o *Observer) subscribed(name string, err error) {
	if o.Subscribed != nil {
		o.Subscribed(name, err)
	}
}

func (o *Observer) batch(batch []byte, began time.Time, err error) {
	if o.Batch != nil {
		o.Batch(batch, time.Since(began), err)
	}
}

func (o *Observer) noticed(name string, began time.Time, err error) {
	if o.Noticed != nil {
		o.Noticed(name, time.Since(began), err)
	}
}

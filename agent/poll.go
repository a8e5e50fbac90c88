package agent

import (
	"context"
	"errors"
	"gantry/fault"
	"gantry/function/poll"
	"gantry/instance"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// pollers take events, run them and post the answers: hops 1 and 8 of a call. As many ask at once as calls can run.
type pollers struct {
	*agent
	count   int
	asking  context.Context
	quit    context.CancelFunc // of asking
	posting context.Context
	cut     context.CancelFunc // of posting
	running sync.WaitGroup
}

func newPollers(in *agent) *pollers {
	p := &pollers{agent: in, count: in.cfg.Concurrency * in.cfg.Workers}
	p.asking, p.quit = context.WithCancel(context.Background())
	p.posting, p.cut = context.WithCancel(context.Background())
	return p
}

// start asks for events as soon as the function is ready, and also when it has failed, so that its callers get the
// reason.
func (p *pollers) start() {
	if p == nil {
		return
	}
	for range p.count {
		p.running.Go(func() {
			if err := p.instance.WaitReady(p.asking); err != nil && p.instance.State() != instance.Failed {
				return
			}
			p.run()
		})
	}
}

// stop takes no more events and waits until those under way are answered, or ctx ends.
func (p *pollers) stop(ctx context.Context) {
	if p == nil {
		return
	}
	p.quit()
	defer context.AfterFunc(ctx, p.cut)()
	ended := make(chan struct{})
	go func() {
		p.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		p.log.Warn("calls are cut off: their answers are not posted")
	}
}

// run is one poller.
func (p *pollers) run() {
	client := poll.New(p.cfg.RuntimeAPI)
	defer func() {
		if err := client.Close(); err != nil {
			p.log.Debug("connection to the runtime API not closed", zap.Error(err))
		}
	}()
	client.Remark = func(err error) {
		if err != nil {
			p.log.Warn(
				"the runtime API cannot be reached; it is tried again and again",
				zap.String("address", p.cfg.RuntimeAPI),
				zap.Error(err),
			)
			return
		}
		p.log.Info("the runtime API can be reached again")
	}
	for p.asking.Err() == nil {
		event, err := client.Next(p.asking)
		var tooLarge *poll.TooLargeError
		switch {
		case err == nil:
			p.answer(client, event)
		case errors.As(err, &tooLarge):
			f := &fault.Error{Kind: fault.TooLarge, Type: fault.TypeTooLarge, Code: fault.CodeRequestSize, Message: err.Error()}
			p.post(client.Fail, tooLarge.RequestID, f.Text(false))
		}
	}
}

// printLimit bounds the wait for a stdout that is not read.
const printLimit = 100 * time.Millisecond

// answer runs one event and posts what came of it.
func (p *pollers) answer(client *poll.Client, event *poll.Event) {
	inv := p.invocation(event)
	r := p.instance.Invoke(p.instance.Base(), inv, event.Body)
	if r.Fault == instance.ErrInFlight {
		p.log.Warn("the runtime API handed out a request that is still running here", zap.String("request_id", inv.RequestID))
		return
	}
	p.sink.Flush(printLimit) // the platform takes what is printed until the answer for this call's
	post, body := client.Respond, r.Body
	if r.Fault != nil {
		post, body = client.Fail, r.Fault.Text(false)
	}
	p.post(post, event.RequestID, body)
}

func (p *pollers) post(
	post func(ctx context.Context, requestID string, body []byte) error,
	requestID string,
	body []byte,
) {
	if err := post(p.posting, requestID, body); err != nil {
		p.log.Warn("an answer is lost: the runtime API has not taken it", zap.String("request_id", requestID), zap.Error(err))
	}
}

// invocation builds the call from the headers beside the event, which come from the platform. The platform does not say
// when the call's time is over: RUNTIME_TIMEOUT does.
func (p *pollers) invocation(event *poll.Event) *fncontext.Invocation {
	h := event.Header
	inv := &fncontext.Invocation{
		RequestID: event.RequestID, Function: &p.cfg.Function, Credentials: fncontext.NewCredentials(p.cfg.Secrets),
		Trace: fncontext.Trace{Parent: h.Get("Traceparent"), State: h.Get("Tracestate")},
	}
	if id, err := uuid.Parse(event.RequestID); err == nil {
		inv.RequestID = id.String()
	}
	inv.TakeHeaders(h.Get)
	return inv
}

package async

import (
	"context"
	"errors"
	"gantry/fault"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// cancelWait is how long another agent may take to answer that it runs a request.
const cancelWait = 2 * time.Second

// copyLag is how far a copy of a stream that a confined agent reads may be behind while all is well.
const copyLag = 2 * time.Second

// cancelLimit bounds a cancel, with all that follows from a recursive one.
const cancelLimit = cancelWait + cascadeWait

// Cancel ends a request: one that waits is discarded, one that runs fails with code 4208. An id that is unknown, or
// whose request has an outcome, is an Invalid fault (page functiongraph_06_0146). recursive follows destinations that
// are functions: the outcome is not sent to a function, and for a request with an outcome, the requests that it caused
// there are cancelled recursively.
func (q *Queue) Cancel(ctx context.Context, id string, recursive bool) error {
	e, err := q.engine(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cancelLimit)
	defer cancel()
	for {
		err := e.cancelOnce(ctx, id, recursive)
		switch {
		case !errors.Is(err, errOvertaken):
			return err
		case ctx.Err() != nil:
			return unavailable("the record keeps changing", err)
		}
	}
}

func (e *engine) cancelOnce(ctx context.Context, id string, recursive bool) error {
	r, revision, err := e.record(ctx, id)
	if err != nil {
		return unavailable("the record cannot be read", err)
	}
	if r != nil && r.Status.final() {
		if recursive {
			return e.cascade(ctx, r)
		}
		return invalidID()
	}
	if r != nil && r.Status == Running {
		return e.cancelRunning(ctx, r, revision, recursive)
	}
	event, in, err := e.event(ctx, id)
	if err != nil {
		return err
	}
	if r == nil {
		r = &Record{RequestID: id, in: in}
	}
	if err := r.change(Discard); err != nil {
		return err
	}
	r.End, r.ErrorCode, r.ErrorMessage = e.q.cfg.Now(), fault.CodeCanceled, canceledWaiting
	return e.forget(ctx, r, revision, &queued{event, in}, recursive)
}

// event returns a request's event in the queue.
func (e *engine) event(ctx context.Context, id string) (*nats.RawStreamMsg, *layout, error) {
	msg, in, err := e.storedEvent(ctx, id)
	for at, ok := acceptedAt(id); ok && msg == nil && err == nil && e.confined.Load() && ctx.Err() == nil &&
		time.Since(at) < copyLag; { // the copy that was asked may not have it yet
		pause(ctx, fetchPause)
		msg, in, err = e.storedEvent(ctx, id)
	}
	if err != nil {
		return nil, nil, unavailable("the queue cannot be read", err)
	}
	if msg == nil {
		return nil, nil, invalidID()
	}
	return msg, in, nil
}

// queued is an event in the queue.
type queued struct {
	*nats.RawStreamMsg
	in *layout
}

// forget records an outcome that came from outside and takes the event out of the queue. An agent that fetched it
// meanwhile finds the outcome and does not run it; an agent that is about to run it is sent a cancel.
func (e *engine) forget(
	ctx context.Context,
	r *Record,
	revision uint64,
	event *queued,
	recursive bool,
) error {
	config := e.configuration(configurationKey(event.Header.Get(headerVersion), event.Header.Get(headerAlias)))
	if err := e.attach(
		r,
		config,
		event.Header,
		event.Data,
		&outcome{condition: conditionCanceled, recursive: recursive},
	); err != nil {
		return err
	}
	revision, err := e.write(ctx, r, revision)
	if err != nil {
		if errors.Is(err, errOvertaken) {
			return err
		}
		return unavailable("the record cannot be written", err)
	}
	e.q.counts.ended(r.Status, conditionCanceled)
	e.statusLog(r, config)
	if !e.q.cfg.Cancel(r.RequestID) { // it may wait for a slot, here or elsewhere
		if err := e.conn.Publish(e.prefix+".cancel", []byte(r.RequestID)); err != nil {
			e.q.cfg.Log.Debug("a cancel was not sent to the other agents", zap.String("request_id", r.RequestID), zap.Error(err))
		}
	}
	if err := e.handOver(ctx, r, revision); err != nil {
		// the next agent that gets the event, or the next cancel, stores it
		return unavailable("the outcome message cannot be stored", err)
	}
	if err := e.remove(ctx, event.in.events, event.Subject, event.Sequence); err != nil {
		e.q.cfg.Log.Debug("event of a cancelled request not removed", zap.String("request_id", r.RequestID), zap.Error(err))
		return nil
	}
	e.load.removed.Add(1)
	return nil
}

// cancelRunning asks the agent that runs it; if no agent answers, that one has died, and the outcome is recorded here.
func (e *engine) cancelRunning(ctx context.Context, r *Record, revision uint64, recursive bool) error {
	if e.cancelHere(r.RequestID, recursive) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, cancelWait)
	defer cancel()
	msg := &nats.Msg{Subject: e.prefix + ".cancel", Data: []byte(r.RequestID)}
	if recursive {
		msg.Header = nats.Header{headerRecursive: {"1"}}
	}
	_, err := e.conn.RequestMsgWithContext(wait, msg)
	if err == nil {
		return nil
	}
	if !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, nats.ErrTimeout) &&
		!errors.Is(err, context.DeadlineExceeded) {
		return unavailable("the other agents cannot be asked", err)
	}
	event, in, err := e.event(ctx, r.RequestID)
	if err != nil {
		return err
	}
	if err := r.change(Fail); err != nil {
		return err
	}
	r.End, r.ErrorCode, r.ErrorMessage = e.q.cfg.Now(), fault.CodeCanceled, "function invocation canceled"
	return e.forget(ctx, r, revision, &queued{event, in}, recursive)
}

// cancelHere ends a call of this agent; false if there is none with this request id.
func (e *engine) cancelHere(id string, recursive bool) bool {
	if recursive {
		e.recursive.Store(id, true) // before the call's end asks
	}
	if e.q.cfg.Cancel(id) {
		return true
	}
	e.recursive.Delete(id)
	return false
}

// listenForCancels answers the other agents' questions, for requests that run here.
func (e *engine) listenForCancels() error {
	err := e.listen("cancel", "", func(msg *nats.Msg) {
		if e.cancelHere(string(msg.Data), msg.Header.Get(headerRecursive) != "") && msg.Reply != "" {
			_ = msg.Respond(nil) // the agent that asked finds the outcome in the record
		}
	})
	if err != nil {
		return err
	}
	if err := e.listenForRunning(); err != nil {
		return err
	}
	return e.listenForCascades()
}

// listenForCascades cancels requests of this function for agents of others; one of its agents does it.
func (e *engine) listenForCascades() error {
	return e.listen("cascade", "cascade", func(msg *nats.Msg) {
		e.tasks.Go(func() {
			ctx, cancel := context.WithTimeout(e.ctx, cascadeWait)
			defer cancel()
			text := ""
			if err := e.q.Cancel(ctx, string(msg.Data), true); err != nil {
				f := fault.From(err)
				text = f.Message // the cause stays here
				if f.Kind == fault.Unavailable {
					e.q.causes.Warn("a recursive cancel is refused", f, zap.ByteString("request_id", msg.Data))
				}
			}
			if err := msg.Respond([]byte(text)); err != nil {
				e.q.cfg.Log.Debug("no word on a recursive cancel", zap.Error(err))
			}
		})
	})
}

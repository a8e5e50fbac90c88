package async

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Agents whose user may see one function alone are confined (docs/ASYNC.md has their permissions). The servers refuse
// the rest in one of two ways: a user without a permission gets an error of the connection and no answer, an account
// that does not import a subject gets no responders.

// errMayNot ends the making of a stream by a confined agent.
var errMayNot = errors.New(
	"a stream of the queue is missing, or no server that has it runs, and this agent's user may see its own function " +
		"alone: start an agent without that limit first, it makes the streams",
)

// errDenied adds to a refusal what the user of a confined agent needs.
func errDenied(why error) error {
	return fmt.Errorf(
		"%w; the user of an agent that may see one function alone needs what \"bootstrap permissions\" prints, with the "+
			"number of shards that the streams have",
		why,
	)
}

// firstLook reads the arrangement, and finds out whether the servers let this agent read from leaders. No answer to a
// direct read either, without a refusal, is another problem: no JetStream.
func (e *engine) firstLook(ctx context.Context) (*nats.RawStreamMsg, error) {
	msg, err := e.last(ctx, functionStream, layoutSubject)
	denied := errors.Is(err, nats.ErrPermissionViolation)
	if !denied && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, nats.ErrJetStreamNotEnabledForAccount) {
		return msg, err
	}
	e.confined.Store(true)
	msg, direct := e.last(ctx, functionStream, layoutSubject)
	switch {
	case direct == nil && msg == nil, denied && errors.Is(direct, nats.ErrNoResponders):
		return nil, errMayNot
	case direct == nil:
		e.q.cfg.Log.Info("the queue's servers let this agent see its own function alone")
		return msg, nil
	case denied:
		return nil, direct
	}
	e.confined.Store(false)
	return nil, err
}

// waitingFor is a request that the servers may refuse by an error of the connection.
type waitingFor struct {
	subject string
	refuse  context.CancelCauseFunc
}

// untilDenied returns a context that also ends, with the servers' error, when they refuse a request to a subject:
// otherwise there would be no answer until its timeout.
func (e *engine) untilDenied(ctx context.Context, subject string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &waitingFor{subject, cancel}
	e.asking.Store(w, nil)
	return ctx, func() {
		e.asking.Delete(w)
		cancel(nil)
	}
}

// deniedOr returns the servers' refusal if it ended the request with that context, else err.
func deniedOr(ctx context.Context, err error) error {
	if why := context.Cause(ctx); err != nil && errors.Is(why, nats.ErrPermissionViolation) {
		return why
	}
	return err
}

// noteError takes an error of the connection. That reads from leaders are refused makes the agent a confined one; any
// other refusal also ends the opening of the queue, which needs all that it asks for.
func (e *engine) noteError(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		e.q.causes.Warn("the queue reports an error", err)
		return
	}
	e.asking.Range(func(w, _ any) bool {
		if w := w.(*waitingFor); strings.Contains(err.Error(), `"`+w.subject+`"`) {
			w.refuse(err)
		}
		return true
	})
	if strings.Contains(err.Error(), ".STREAM.MSG.GET.") {
		e.confined.Store(true)
		return
	}
	e.q.causes.Warn("the queue's servers refuse a request of this agent", errDenied(err))
	e.refuse(err)
}

// publish stores a message, and returns early when the servers refuse its subject.
func (e *engine) publish(
	ctx context.Context,
	msg *nats.Msg,
	options ...jetstream.PublishOpt,
) (*jetstream.PubAck, error) {
	ctx, end := e.untilDenied(ctx, msg.Subject)
	defer end()
	ack, err := e.js.PublishMsg(ctx, msg, options...)
	return ack, deniedOr(ctx, err)
}

// noteKept logs a message that a confined agent cannot replace by a tombstone, most often because its stream is full.
// It stays, and its next delivery tries again; nothing runs or is sent again.
func (e *engine) noteKept(what, id, stream string, err error) {
	if !e.confined.Load() {
		e.q.cfg.Log.Debug(what+" is not taken out of its stream yet", zap.String("request_id", id), zap.Error(err))
		return
	}
	e.q.causes.Warn(what+" stays in its stream, and its removal is tried again: this agent's user may only replace "+
		"messages, which takes room; if the stream is full, raise its limit (nats stream edit --max-bytes) or start an "+
		"agent whose user may remove messages",
		err, zap.String("request_id", id), zap.String("stream", stream))
}

// listen calls handle with what is published to a subject of the function, in a group if it is not empty. Another
// function's agent could have its own messages delivered there, which keep their subjects.
func (e *engine) listen(name, group string, handle func(*nats.Msg)) error {
	subject := e.prefix + "." + name
	own := func(msg *nats.Msg) {
		if msg.Subject == subject {
			handle(msg)
		}
	}
	var err error
	if group == "" {
		_, err = e.conn.Subscribe(subject, own)
	} else {
		_, err = e.conn.QueueSubscribe(subject, group, own)
	}
	if err != nil {
		return fmt.Errorf("subscription %s: %w", subject, err)
	}
	return nil
}

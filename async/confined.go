package async

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
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

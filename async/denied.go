package async

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

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
	e.q.causes.Warn("the queue's servers refuse a request of this agent", errDenied(e.key, err))
	e.refuse(err)
}

// connectionError is the last error of the connection, for the log; nil for the refusal by which an agent learns that
// it is confined.
func (e *engine) connectionError() error {
	err := e.conn.LastError()
	if e.confined.Load() && errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	return err
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

// errDenied adds to a refusal what the user of a confined agent needs, whose function has that key.
func errDenied(own string, why error) error {
	if asked := destinationSubject.FindStringSubmatch(why.Error()); asked != nil && asked[1] != own {
		return errDestinationDenied(why)
	}
	return fmt.Errorf(
		"%w; the user of an agent that may see one function alone needs what \"bootstrap permissions\" prints, with the "+
			"number of shards that the streams have",
		why,
	)
}

// destinationSubject finds what an agent asks for another function, and that one's key.
var destinationSubject = regexp.MustCompile(`gantry\.(?:function\.|queue\.\d+\.)?([0-9a-f]{16})(?:"|\.event\.|\.cascade")`)

// errDestinationDenied adds what an agent needs for a destination that is a function of the same servers.
func errDestinationDenied(why error) error {
	return fmt.Errorf(
		"%w; for a destination that is a function, an agent that may see its own function alone needs three more subjects, "+
			"which \"bootstrap permissions\" does not print: docs/ASYNC.md, What one function may see",
		why,
	)
}

// isDenied reports whether a confined agent may not ask for what it has asked: a user without a permission, or an
// account without an import. The latter looks like a stream without a leader.
func (e *engine) isDenied(err error) bool {
	return e.confined.Load() && (errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrNoStreamResponse))
}

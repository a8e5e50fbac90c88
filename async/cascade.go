package async

import (
	"context"
	"encoding/json"
	"errors"
	"gantry/async/destination"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// headerRecursive says to another agent of the function that a cancel is recursive.
const headerRecursive = "Gantry-Recursive"

// cascadeWait bounds the cancel of what an outcome led to, all the way down.
const cascadeWait = 10 * time.Second

// deliverFunction sends an outcome message to a function; a recursive cancel waits for its end.
func (e *engine) deliverFunction(ctx context.Context, urn string, m *destination.Message) error {
	sent := make(chan struct{})
	e.sending.Store(m.RequestID, sent)
	defer func() {
		e.sending.Delete(m.RequestID)
		close(sent)
	}()
	made, err := e.callFunction(ctx, urn, m)
	if made != nil && err == nil {
		e.ledTo(ctx, m.RequestID, made)
	}
	return err
}

// ledTo notes what was made of an outcome, for a recursive cancel. It changes nothing that a caller sees.
func (e *engine) ledTo(ctx context.Context, id string, made *next) {
	for {
		r, revision, err := e.record(ctx, id)
		if err == nil && r != nil {
			r.Next, r.Pending = made, nil // it has been handed over, also if that could not be noted yet
			_, err = e.write(ctx, r, revision)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, errOvertaken) || ctx.Err() != nil {
			e.q.cfg.Log.Debug(
				"a recursive cancel will not find what an outcome led to",
				zap.String("request_id", id),
				zap.Error(err),
			)
			return
		}
	}
}

// cascade cancels what the outcome of r led to: an outcome message of a function that is not sent yet, or that
// function's request.
func (e *engine) cascade(ctx context.Context, r *Record) error {
	ctx, cancel := context.WithTimeout(ctx, cascadeWait)
	defer cancel()
	if sent, ok := e.sending.Load(r.RequestID); ok {
		select { // what it leads to is known then
		case <-sent.(chan struct{}):
		case <-ctx.Done():
		}
	}
	if latest, _, err := e.record(ctx, r.RequestID); err == nil && latest != nil {
		r = latest
	}
	switch {
	case r.Next == nil: // an outcome message that was sent may still be in its queue
		dropped, err := e.dropOutcomeMessage(ctx, r.RequestID)
		if err == nil && !dropped {
			err = invalidID()
		}
		return err
	case r.Next.Prefix != "":
		return e.cascadeHere(ctx, r.Next)
	}
	return e.cascadeRemote(ctx, r.Next)
}

// dropOutcomeMessage takes a function's outcome message out of its queue. Outcome messages of other kinds stay: they
// run no function.
func (e *engine) dropOutcomeMessage(ctx context.Context, id string) (dropped bool, err error) {
	for _, l := range e.layouts() {
		msg, err := e.last(ctx, l.outbox, l.notify+id)
		if e.gone(ctx, l, l.outbox, err) || msg == nil && err == nil {
			continue
		}
		if err != nil {
			return false, unavailable("the outcome messages cannot be read", err)
		}
		if msg.Header.Get(headerKind) != destination.Function {
			return false, nil
		}
		if err := e.remove(ctx, l.outbox, msg.Subject, msg.Sequence); err != nil {
			return false, unavailable("the outcome message cannot be removed", err)
		}
		return true, nil
	}
	return false, nil
}

// cascadeHere asks an agent of that function on the same cluster.
func (e *engine) cascadeHere(ctx context.Context, n *next) error {
	answer, err := e.conn.RequestWithContext(ctx, n.Prefix+".cascade", []byte(n.RequestID))
	if errors.Is(err, nats.ErrNoResponders) {
		return unavailable("no agent of "+n.URN+" is there to cancel request "+n.RequestID, err)
	}
	if err != nil {
		return unavailable("the agents of "+n.URN+" do not answer", err)
	}
	switch text := string(answer.Data); text {
	case "":
		return nil
	case invalidID().Message:
		return invalidID()
	default:
		return unavailable("request "+n.RequestID+" of "+n.URN+" cannot be cancelled: "+text, nil)
	}
}

// cascadeRemote asks the platform API of another agent.
func (e *engine) cascadeRemote(ctx context.Context, n *next) error {
	endpoint, ok := e.sender.EndpointOf(n.URN)
	if !ok {
		return unavailable("there is no endpoint of "+n.URN+" any more", nil)
	}
	body, err := json.Marshal(map[string]string{"request_id": n.RequestID, "type": "recursive"})
	if err != nil {
		return err
	}
	_, err = e.sender.Post(ctx, &endpoint, e.functionPath(n.URN)+"/cancel", body)
	var refused *destination.Refused
	if errors.As(err, &refused) && refused.Status == fasthttp.StatusBadRequest {
		return invalidID()
	}
	if err != nil {
		return unavailable("request "+n.RequestID+" of "+n.URN+" cannot be cancelled", err)
	}
	return nil
}

package async

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// layouts lists where a request of this function may be.
func (e *engine) layouts() []*layout {
	if old := e.old.Load(); old != nil {
		return []*layout{e.lay, old}
	}
	return []*layout{e.lay}
}

// last returns the newest message of a subject; nil if there is none. Only the leader of the stream is asked: any other
// copy may lag, and a request with an outcome would run again, or it cannot be reached, and the read takes until its
// timeout. An agent that may only ask for subjects asks any copy.
func (e *engine) last(ctx context.Context, stream, subject string) (*nats.RawStreamMsg, error) {
	var options []nats.JSOpt
	asked := "STREAM.MSG.GET." + stream
	if e.confined.Load() {
		asked, options = "DIRECT.GET."+stream+"."+subject, append(options, nats.DirectGet())
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	ctx, end := e.untilDenied(ctx, e.apiPrefix()+asked)
	defer end()
	msg, err := insist(ctx, func(ctx context.Context, subject string) (*nats.RawStreamMsg, error) {
		return e.leader.GetLastMsg(stream, subject, append(options, nats.Context(ctx))...)
	}, subject)
	if errors.Is(err, nats.ErrMsgNotFound) {
		return nil, nil
	}
	return msg, deniedOr(ctx, err)
}

// readTimeout bounds one read, with its repetitions.
const readTimeout = 10 * time.Second

// streamInfo asks for the state of a stream.
func (e *engine) streamInfo(ctx context.Context, stream string) (*nats.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return insist(ctx, func(ctx context.Context, stream string) (*nats.StreamInfo, error) {
		return e.leader.StreamInfo(stream, nats.Context(ctx))
	}, stream)
}

// storedEvent returns the event of a request that is in the queue, and where; nil if there is none.
func (e *engine) storedEvent(ctx context.Context, id string) (*nats.RawStreamMsg, *layout, error) {
	if _, ok := acceptedAt(id); !ok {
		return nil, nil, nil
	}
	for _, l := range e.layouts() {
		msg, err := e.last(ctx, l.events, l.event+id)
		if e.gone(ctx, l, l.events, err) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if msg != nil && !isTombstone(msg.Header) {
			return msg, l, nil
		}
	}
	return nil, nil, nil
}

// gone reports whether a request failed because a stream of an earlier release was removed meanwhile, after all in it
// had gone elsewhere. One that has no leader for a while looks the same at first.
func (e *engine) gone(ctx context.Context, l *layout, stream string, err error) bool {
	switch {
	case l.shared || err == nil:
		return false
	case errors.Is(err, nats.ErrStreamNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return true
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		_, err = e.leader.StreamInfo(stream, nats.Context(ctx))
		return errors.Is(err, nats.ErrStreamNotFound)
	}
	return false
}

// replace publishes the next message of a subject whose newest one has that number, 0 for none, and returns the new
// number; errOvertaken if the subject has another one.
func (e *engine) replace(
	ctx context.Context,
	subject string,
	text []byte,
	number uint64,
	options ...jetstream.PublishOpt,
) (uint64, error) {
	msg := &nats.Msg{Subject: subject, Data: text}
	ack, err := e.publish(ctx, msg, append(options, jetstream.WithExpectLastSequencePerSubject(number))...)
	if err == nil {
		return ack.Sequence, nil
	}
	if !isOvertaken(err) {
		return 0, err
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant {
		pause(ctx, fetchPause) // a cluster is still copying the other write: it cannot be read yet
	}
	return 0, errOvertaken
}

// isOvertaken recognises the refusal of a message because its subject has another number.
func isOvertaken(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// errOvertaken says that another writer has changed the record meanwhile.
var errOvertaken = errors.New("the record was changed by another agent")

// remove takes a message out of a stream and waits until the servers have stored that. That it is gone already is no
// error. An agent that may not remove messages by their number puts a tombstone on the message's subject.
func (e *engine) remove(ctx context.Context, stream, subject string, number uint64) error {
	if !e.confined.Load() {
		err := e.leader.DeleteMsg(stream, number, nats.Context(ctx))
		if errors.Is(err, nats.ErrMsgNotFound) || isNoMessage(err) {
			return nil
		}
		return err
	}
	msg := &nats.Msg{Subject: subject, Header: nats.Header{headerTombstone: {"1"}}}
	_, err := e.publish(ctx, msg, jetstream.WithMsgTTL(tombstoneAge))
	return err
}

// Codes of JetStream for a removal that failed; the description of the second one has the reason.
const (
	sequenceNotFound nats.ErrorCode = 10043
	deleteFailed     nats.ErrorCode = 10057
)

// isNoMessage recognises the refusal of a removal for a number that the stream does not have (any more).
func isNoMessage(err error) bool {
	var api *nats.APIError
	return errors.As(err, &api) && (api.ErrorCode == sequenceNotFound ||
		api.ErrorCode == deleteFailed && !strings.Contains(api.Description, "not permitted"))
}

func lastToken(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

// apiPrefix begins the subjects of JetStream's API.
func (e *engine) apiPrefix() string {
	if e.q.cfg.Domain == "" {
		return "$JS.API."
	}
	return "$JS." + e.q.cfg.Domain + ".API."
}

// kvPrefix leads messages to the buckets of another domain; the servers of a domain keep their $KV to themselves.
func (e *engine) kvPrefix() string {
	if e.q.cfg.Domain == "" {
		return ""
	}
	return e.apiPrefix()
}

// duplicateInProcess is JetStream's refusal of a message whose id has a copy that is being stored.
const duplicateInProcess jetstream.ErrorCode = 10158

// publishOnce stores a message that has an id; of several with the same one the first is stored. While a cluster stores
// that one, which another agent may have sent at the same moment, it refuses the others. It is asked again until it
// says that they are duplicates.
func (e *engine) publishOnce(
	ctx context.Context,
	msg *nats.Msg,
	options ...jetstream.PublishOpt,
) (*jetstream.PubAck, error) {
	for wait := oncePause; ; wait = min(2*wait, fetchPause) {
		ack, err := e.js.PublishMsg(ctx, msg, options...)
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != duplicateInProcess {
			return ack, err
		}
		if pause(ctx, wait); ctx.Err() != nil {
			return nil, err
		}
	}
}

// oncePause is the first pause of publishOnce: about what a cluster takes to store a message.
const oncePause = 5 * time.Millisecond

package async

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func unavailable(message string, err error) *fault.Error {
	return &fault.Error{
		Kind:    fault.Unavailable,
		Type:    fault.TypeQueue,
		Code:    fault.CodeUnavailable,
		Message: "asynchronous invocation is not available: " + message,
		Err:     err,
	}
}

// full reports whether a message was refused because its stream has as much as it may have.
func full(err *jetstream.APIError) bool {
	return err != nil && err.ErrorCode == storeFailed && strings.Contains(err.Description, "maximum")
}

// tooLarge is the platform's refusal of an event; detail says whose limit it is if it is not the platform's.
func tooLarge(limit int64, size int, detail string, err error) *fault.Error {
	return &fault.Error{
		Kind: fault.TooLarge, Type: fault.TypeTooLarge, Code: fault.CodeRequestSize, Err: err,
		Message: fmt.Sprintf("the size of request body is beyond maximum:%d, body size:%d", limit, size) + detail,
	}
}

// notStored returns the fault for an event of size bytes that the servers refused: for its size, for lack of room, or
// for a reason that may pass.
func (e *engine) notStored(err error, size int) *fault.Error {
	q := e.q
	var api *jetstream.APIError
	switch errors.As(err, &api); {
	case errors.Is(err, nats.ErrMaxPayload):
		return tooLarge(
			e.conn.MaxPayload(),
			size,
			"; the limit is the max_payload of the queue's servers or account, and counts headers too",
			err,
		)
	case api != nil && api.ErrorCode == messageTooLarge:
		return tooLarge(
			maxMessage,
			size,
			"; the limit is the max_msg_size of the stream of events, and counts headers too",
			err,
		)
	case full(api):
		q.counts.refused.Add(1)
		if q.cfg.Alone {
			return queueFull(err)
		}
		return throttled("too many requests: the events of all functions take the room that their stream has "+
			"(GANTRY_ASYNC_SHARD_BYTES)", err)
	}
	return unavailable("the event could not be stored", err)
}

// insist asks the servers, and asks again when there is no answer: a cluster may give none when two agents make the
// same thing at the same moment, and none for a stream that has no leader yet. Chance keeps agents apart from then on.
func insist[C, T any](ctx context.Context, ask func(context.Context, C) (T, error), cfg C) (made T, err error) {
	for wait := insistAfter; ; wait *= 2 {
		attempt, cancel := context.WithTimeout(ctx, wait+rand.N(wait))
		made, err = ask(attempt, cfg)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return made, err
		}
	}
}

// insistAfter is how long the first answer is waited for, and up to as long again at random; it doubles.
const insistAfter = time.Second

// Codes of JetStream for a message that was not stored.
const (
	storeFailed     jetstream.ErrorCode = 10077 // the description has the reason
	messageTooLarge jetstream.ErrorCode = 10054
)

func invalidID() *fault.Error {
	return &fault.Error{
		Kind:    fault.Invalid,
		Type:    fault.TypeBadRequest,
		Code:    fault.CodeBadRequest,
		Message: "Invalid RequestId",
	}
}

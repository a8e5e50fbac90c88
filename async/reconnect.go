package async

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// errCut says that the connection was lost before an answer came: the server has forgotten the request.
var errCut = errors.New("the connection to the queue was lost before the answer came")

// whileConnected returns a context that also ends, with errCut, when the connection is lost. If it is lost already, the
// next connection counts: messages sent meanwhile wait for it.
func (e *engine) whileConnected(ctx context.Context) (context.Context, context.CancelFunc) {
	e.mu.Lock()
	link := e.link
	e.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(link, func() { cancel(errCut) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// missing reports what the store does not have: a stream of messages, the configurations, or anything else.
func (e *engine) missing(ctx context.Context) (messages, configurations, others bool) {
	name := streamName(e.prefix)
	is := func(err, missing error) bool {
		if err != nil && !errors.Is(err, missing) && e.ctx.Err() == nil {
			e.q.causes.Warn("it is not known whether the queue's store is whole; it counts as whole", err)
		}
		return errors.Is(err, missing)
	}
	stream := func(name string) bool {
		_, err := e.js.Stream(ctx, name)
		return is(err, jetstream.ErrStreamNotFound)
	}
	consumer := func(stream, name string) bool {
		_, err := e.js.Consumer(ctx, stream, name)
		return is(err, jetstream.ErrConsumerNotFound)
	}
	messages = stream(name+"_events") || stream(name+"_notifications")
	configurations = stream("KV_" + name + "_configurations")
	others = stream("KV_"+name+"_records") || consumer(name+"_events", "run") || consumer(name+"_notifications", "notify")
	return messages, configurations, others
}

// keepConfigurations stores what is in force once more. Revisions begin anew.
func (e *engine) keepConfigurations(ctx context.Context) error {
	e.mu.Lock()
	kept := e.inForce
	e.inForce = map[string]inForce{}
	e.mu.Unlock()
	for key, f := range kept {
		if f.configuration == nil {
			continue
		}
		text, err := json.Marshal(f.configuration)
		if err != nil {
			return err
		}
		revision, err := e.configs.Put(ctx, key, text)
		if err != nil {
			return fmt.Errorf("configuration in force: %w", err)
		}
		e.follow(key, f.configuration, revision)
	}
	return nil
}

package async

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
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

// followConnection ends the link with each loss of the connection.
func (e *engine) followConnection(lost <-chan nats.Status) {
	for {
		select {
		case <-lost:
			e.mu.Lock()
			e.cut()
			e.link, e.cut = context.WithCancel(e.ctx)
			e.mu.Unlock()
		case <-e.ctx.Done():
			return
		}
	}
}

// restore creates again what the store has lost: its folder was removed, or a part of it was damaged. The contents of
// the streams are lost, except the configurations in force. It is called with every new connection.
func (e *engine) restore() {
	ctx, cancel := context.WithTimeout(e.ctx, openTimeout)
	defer cancel()
	ctx, release := e.whileConnected(ctx)
	defer release()
	messages, configurations, others := e.missing(ctx)
	if messages {
		e.epoch.Add(1)
		e.q.cfg.Log.Error("the queue's store is empty: requests, records and outcome messages that were in it are lost")
	} else if configurations || others {
		e.q.cfg.Log.Error("a part of the queue's store is missing, and is made again")
	} else {
		return
	}
	anew := &engine{q: e.q, js: e.js, prefix: e.prefix} // the handles of e go by name, and others are using them
	err := anew.prepare(ctx)
	if err == nil && configurations {
		err = e.keepConfigurations(ctx)
	}
	if err != nil && e.ctx.Err() == nil {
		e.q.cfg.Log.Error("the queue cannot be made again", zap.Error(err))
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

// message is a message with the store that it came from. In another store its number belongs to another message, which
// must not be acknowledged in its place.
type message struct {
	jetstream.Msg
	engine *engine
	epoch  int64
}

// errLost says that the store a message came from is gone.
var errLost = errors.New("the store of this message is gone")

func (m *message) lost() bool { return m.epoch != m.engine.epoch.Load() }

// tries is how often the message was delivered, as far as that is known; 0 if it is not.
func (m *message) tries() uint64 {
	meta, err := m.Metadata()
	if err != nil {
		return 0
	}
	return meta.NumDelivered
}

// acknowledge sends an acknowledgement to the store, unless the store is gone.
func (m *message) acknowledge(send func() error) error {
	if m.lost() {
		return errLost
	}
	return send()
}

// DoubleAck implements jetstream.Msg, and so do the next ones.
func (m *message) DoubleAck(ctx context.Context) error {
	return m.acknowledge(func() error { return m.Msg.DoubleAck(ctx) })
}

func (m *message) NakWithDelay(delay time.Duration) error {
	return m.acknowledge(func() error { return m.Msg.NakWithDelay(delay) })
}

func (m *message) InProgress() error { return m.acknowledge(m.Msg.InProgress) }

func (m *message) TermWithReason(reason string) error {
	return m.acknowledge(func() error { return m.Msg.TermWithReason(reason) })
}

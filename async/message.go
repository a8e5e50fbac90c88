package async

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// message is a message with the store that it came from. In another store its number belongs to another message, which
// must not be acknowledged in its place.
type message struct {
	jetstream.Msg
	engine *engine
	in     *layout
	epoch  int64
	// doubtful says that another agent may have it too, from a consumer that was lost.
	doubtful bool
}

// underWayPause comes before another look at a message that was handed out twice.
const underWayPause = time.Second

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

// finish takes the message out of its stream for good, and waits until the servers have stored that.
func (m *message) finish(ctx context.Context) error {
	return m.acknowledge(func() error {
		if !m.in.shared {
			return m.DoubleAck(ctx)
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if err := m.engine.remove(ctx, meta.Stream, m.Subject(), meta.Sequence.Stream); err != nil {
			return err
		}
		return m.Ack()
	})
}

// NakWithDelay implements jetstream.Msg, and so does InProgress.

func (m *message) NakWithDelay(delay time.Duration) error {
	return m.acknowledge(func() error { return m.Msg.NakWithDelay(delay) })
}

func (m *message) InProgress() error { return m.acknowledge(m.Msg.InProgress) }

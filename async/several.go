package async

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// severalWait is how long the copy of a stream that is asked may take; it may be one that does not run.
const severalWait = 2 * time.Second

// errTooMany says that more messages match than one request returns.
var errTooMany = errors.New("more messages than one request returns")

// newest calls each with the newest message of every subject of a filter. One request for all takes milliseconds even
// where other functions have millions of messages; reading with a consumer walks through theirs. nats.go has no call
// for it (nats-server's ADR-31).
func (e *engine) newest(
	ctx context.Context,
	stream, filter string,
	each func(subject string, data []byte) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, severalWait)
	defer cancel()
	text, err := json.Marshal(map[string]any{"multi_last": []string{filter}})
	if err != nil {
		return err
	}
	inbox := e.conn.NewInbox()
	answers, err := e.conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = answers.Unsubscribe() }() // the request is over
	if err := e.conn.PublishRequest(e.apiPrefix()+"DIRECT.GET."+stream, inbox, text); err != nil {
		return err
	}
	for {
		msg, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
			if err := each(msg.Header.Get("Nats-Subject"), msg.Data); err != nil {
				return err
			}
		case "204", "404": // the end, and none at all
			return nil
		case "413":
			return errTooMany
		case "503":
			return nats.ErrNoResponders
		default:
			return fmt.Errorf("stream %s cannot be read: %s %s", stream, status, msg.Header.Get("Description"))
		}
	}
}

// eachRecord calls each with the records of the function in one layout.
func (e *engine) eachRecord(ctx context.Context, l *layout, each func(id string, text []byte) error) error {
	one := func(subject string, text []byte) error {
		if len(text) == 0 { // a removal in a bucket
			return nil
		}
		return each(lastToken(subject), text)
	}
	if !e.confined.Load() {
		err := e.newest(ctx, l.records, l.record+"*", one)
		for l.shared && errors.Is(err, nats.ErrNoResponders) && ctx.Err() == nil { // a stream that is new
			pause(ctx, scanPause)
			err = e.newest(ctx, l.records, l.record+"*", one)
		}
		if !errors.Is(err, errTooMany) && !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
	return e.scan(ctx, l.records, l.record+"*", false, func(msg jetstream.Msg) error {
		return one(msg.Subject(), msg.Data())
	})
}

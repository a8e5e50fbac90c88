package async

import (
	"cmp"
	"context"
	"errors"
	"gantry/async/destination"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// roomFor is how long the text for a destination may be: its param lies beside it, in the record and in a header.
func (e *engine) roomFor(d *Destination) int {
	param, err := plainJSON(d.Param)
	if err != nil { // cannot happen for a string
		return 0
	}
	return min(maxOutcomeMessage, int(e.conn.MaxPayload())-(maxServerMessage-maxOutcomeMessage)) - len(param)
}

// hand puts the outcome message that is stored with r into the queue of outcome messages. The server forgets a second
// one.
func (e *engine) hand(ctx context.Context, r *Record) error {
	for r.Pending != nil {
		p := r.Pending
		in := cmp.Or(r.in, e.lay)
		if in.outgoing == nil { // its removal was interrupted
			in = e.lay
		}
		msg := &nats.Msg{Subject: in.notify + r.RequestID, Data: p.Text, Header: nats.Header{
			headerKind: {
				p.Destination.Kind,
			},
			headerParam:   {p.Destination.Param},
			HeaderHops:    {strconv.Itoa(p.Hops)},
			nats.MsgIdHdr: {e.messageID(in, r.RequestID)},
		}}
		if !e.outLoad.reserve(ctx, len(p.Text)) {
			return errOutboxFull
		}
		_, err := e.publishOnce(ctx, msg)
		if err != nil {
			e.outLoad.unreserve()
		}
		if !errors.Is(err, nats.ErrMaxPayload) {
			return err
		}
		e.lighten(r, err)
	}
	return nil
}

// finish takes an outcome message out of its queue; sending it may have used up the time for that.
func (e *engine) finish(msg *message) error {
	ctx, cancel := context.WithTimeout(e.ctx, storeTimeout)
	defer cancel()
	ctx, release := e.whileConnected(ctx)
	defer release()
	id, err := lastToken(msg.Subject()), msg.finish(ctx)
	if err == nil {
		e.outLoad.removed.Add(1)
		e.sent.Delete(id)
		return nil
	}
	e.sent.Store(id, nil)
	e.noteKept("an outcome message that was sent or dropped", id, msg.in.outbox, err)
	return msg.NakWithDelay(sendPause(msg.tries()))
}

// sendPause comes after so many tries.
func sendPause(tries uint64) time.Duration {
	return min(sendDelay<<min(max(tries, 1)-1, 16), maxSendDelay)
}

// deliver sends one outcome message. What becomes of it never changes a record.
func (e *engine) deliver(msg *message) {
	h := msg.Headers()
	id := lastToken(msg.Subject())
	if _, sent := e.sent.Load(id); sent {
		if err := e.finish(msg); err != nil {
			e.q.cfg.Log.Debug("an outcome message was not acknowledged: the server redelivers it", zap.Error(err))
		}
		return
	}
	if _, underWay := e.delivers.LoadOrStore(id, nil); underWay { // its consumer was lost meanwhile, and made again
		if err := msg.NakWithDelay(underWayPause); err != nil {
			e.q.cfg.Log.Debug("an outcome message is not handed back", zap.String("request_id", id), zap.Error(err))
		}
		return
	}
	defer e.delivers.Delete(id)
	d := &Destination{Kind: h.Get(headerKind), Param: h.Get(headerParam)}
	hops, _ := strconv.Atoi(h.Get(HeaderHops)) // absent: none
	ctx, cancel := context.WithTimeout(e.sends, destination.Timeout)
	defer cancel()
	accepted, _ := acceptedAt(id)
	err := e.sender.Send(
		ctx,
		d.Kind,
		d.Param,
		&destination.Message{RequestID: id, Accepted: accepted, Hops: hops, Text: msg.Data()},
	)
	if err != nil && e.sends.Err() != nil { // no fault of the destination's
		if err := msg.NakWithDelay(handBack); err != nil {
			e.q.cfg.Log.Debug("an outcome message is not handed back", zap.String("request_id", id), zap.Error(err))
		}
		return
	}
	fields := []zap.Field{zap.String("request_id", id), zap.String("destination", d.Kind), zap.Error(err)}
	if err == nil {
		e.q.counts.delivered.Add(1)
		if err := e.finish(msg); err != nil {
			e.q.cfg.Log.Debug("an outcome message was not acknowledged: the server redelivers it", append(fields, zap.Error(err))...)
		}
		return
	}
	tries := msg.tries()
	var refused *destination.Refused
	if tries >= sendAttempts || errors.As(err, &refused) && refused.Final {
		e.q.counts.undelivered.Add(1)
		e.q.cfg.Log.Error(
			"an outcome message is dropped: its destination does not take it",
			append(fields, zap.Uint64("tries", tries))...)
		err = e.finish(msg)
	} else {
		delay := sendPause(tries)
		if refused != nil && refused.After > 0 {
			delay = min(refused.After, maxSendServer)
		}
		e.q.cfg.Log.Warn("an outcome message is tried again", append(fields, zap.Duration("delay", delay))...)
		err = msg.NakWithDelay(delay)
	}
	if err != nil {
		e.q.cfg.Log.Debug("an outcome message was not acknowledged: the server redelivers it", zap.Error(err))
	}
}

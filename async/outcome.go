package async

import (
	"context"
	"errors"
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// again lets the request wait for its next attempt.
func (r *run) again(v verdict, now time.Time, f *fault.Error) error {
	if err := r.record.change(Wait); err != nil {
		return err
	}
	r.record.End = now
	r.record.ErrorCode, r.record.ErrorMessage = f.Code, messageOf(f)
	r.record.Due = now.Add(v.delay)
	switch err := r.store(); {
	case err == nil:
		r.q.counts.retried.Add(1)
	case !errors.Is(err, errOvertaken):
		return err
	}
	return r.msg.NakWithDelay(max(v.delay, handBack))
}

// maxLost is how many attempts may end without an outcome, as with the death of their agent.
const maxLost = 3

// giveUp fails a request during which agents keep dying: it may be the reason.
func (r *run) giveUp(now time.Time) error {
	f := &fault.Error{
		Kind: fault.Crash, Type: fault.TypeExited, Code: fault.CodeExited,
		Message: fmt.Sprintf("the agent died during %d attempts of this request", r.record.Attempts.Lost),
	}
	r.q.cfg.Log.Error("an asynchronous request is given up", zap.String("request_id", r.id), zap.Error(f))
	return r.end(Fail, now, f.Code, messageOf(f), &outcome{fault: f, condition: conditionExhausted})
}

// expire discards a request whose time is over.
func (r *run) expire(now time.Time) error {
	message := fmt.Sprintf("the event is older than %s", r.config.age())
	if r.record.Attempts.Started > 0 {
		message += fmt.Sprintf(", after %d attempts; the last error: %s", r.record.Attempts.Started, r.record.ErrorMessage)
	}
	return r.end(Discard, now, r.record.ErrorCode, message, &outcome{condition: conditionAge})
}

// end records the outcome, and only then takes the event out of the queue. An outcome that is there already stays.
func (r *run) end(status Status, now time.Time, code int, message string, o *outcome) error {
	if err := r.record.change(status); err != nil {
		return err
	}
	r.record.End, r.record.ErrorCode, r.record.ErrorMessage, r.record.Due = now, code, message, time.Time{}
	_, o.recursive = r.recursive.LoadAndDelete(r.id)
	if err := r.attach(&r.record, r.config, r.msg.Headers(), r.msg.Data(), o); err != nil {
		return err
	}
	// The call has been made: it is worth some patience that it is not made again.
	give := time.After(recordPatience)
	for {
		ended, err := r.tryEnd(o)
		if ended || err == nil {
			return err
		}
		select {
		case <-time.After(fetchPause):
		case <-give:
			return err
		case <-r.ctx.Done():
			return err
		}
	}
}

// recordPatience is how long an outcome is kept in memory while the store is away.
const recordPatience = time.Minute

// tryEnd stores the outcome, unless another one is there. ended is false as long as there is none.
func (r *run) tryEnd(o *outcome) (ended bool, err error) {
	err = r.store()
	if err == nil {
		r.q.counts.ended(r.record.Status, o.condition)
		return true, r.done()
	}
	if !errors.Is(err, errOvertaken) {
		return false, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
	defer cancel()
	other, revision, err := r.recordIn(ctx, r.msg.in, r.id)
	if err != nil {
		return false, err
	}
	r.revision = revision
	switch {
	case other == nil, r.noted != nil && !other.Status.final():
		return false, errOvertaken
	case !other.Status.final():
		// This agent did not run the request, and another writer has changed the record. Leave it; if that writer is
		// gone, JetStream redelivers the request after ackWait.
		return true, nil
	}
	// it was stored, but the answer of the store was lost
	if other.Status == r.record.Status && other.End.Equal(r.record.End) {
		r.q.counts.ended(other.Status, o.condition)
		r.statusLog(other, r.config)
	}
	r.record = *other
	return true, r.done()
}

// attach stores the outcome message with the outcome, if there is a destination for it.
func (e *engine) attach(r *Record, c *Configuration, h nats.Header, event []byte, o *outcome) error {
	d := c.destination(r.Status)
	if d == nil || o.recursive && d.Kind == destination.Function {
		return nil
	}
	text, err := e.outcomeMessage(r, event, o, e.roomFor(d))
	if err != nil {
		return err
	}
	hops, _ := strconv.Atoi(h.Get(HeaderHops)) // absent: none
	r.Pending = &pending{Destination: *d, Hops: hops, Text: text}
	return nil
}

// handOver puts a stored outcome message into its queue, and takes it off the record then.
func (e *engine) handOver(ctx context.Context, r *Record, revision uint64) error {
	if r.Pending == nil {
		return nil
	}
	if err := e.hand(ctx, r); err != nil {
		return err
	}
	r.Pending = nil
	if _, err := e.write(ctx, r, revision); err != nil && !errors.Is(err, errOvertaken) {
		return err
	}
	return nil
}

// unsent hands a request back that has ended, and whose outcome message has no room yet: it keeps its event until then.
func (r *run) unsent(err error) error {
	delay := sendPause(r.msg.tries())
	r.q.cfg.Log.Warn("a request has ended, and its outcome message cannot be stored; it is tried again",
		zap.String("request_id", r.id), zap.Duration("delay", delay), zap.Error(err))
	return r.msg.NakWithDelay(delay)
}

// done takes the event out of the queue and waits until the server confirms the acknowledgement.
func (r *run) done() error {
	ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
	defer cancel()
	ctx, release := r.whileConnected(ctx)
	defer release()
	var refused *jetstream.APIError
	if err := r.handOver(ctx, &r.record, r.revision); errors.As(err, &refused) || errors.Is(err, errOutboxFull) {
		return r.unsent(err)
	} else if err != nil {
		return err
	}
	if err := r.msg.finish(ctx); err != nil {
		// It is redelivered, found recorded, and does not run again.
		r.noteKept("the event of a request that has ended", r.id, r.msg.in.events, err)
		if noRoom(err) {
			return r.msg.NakWithDelay(sendPause(r.msg.tries()))
		}
		return nil
	}
	r.load.removed.Add(1)
	return nil
}

// after decides what follows an attempt.
func (r *run) after(result []byte, f *fault.Error) error {
	now := r.q.cfg.Now()
	a := &r.record.Attempts
	switch {
	case f == nil:
		return r.end(Success, now, 0, "", &outcome{result: result})
	case f.Kind == fault.Canceled:
		if r.noted == nil { // while it waited for a slot
			return r.end(Discard, now, f.Code, canceledWaiting, &outcome{fault: f, condition: conditionCanceled})
		}
		return r.end(Fail, now, f.Code, f.Message, &outcome{fault: f, condition: conditionCanceled})
	case f.Kind == fault.Unavailable && (f.Type == fault.TypeDraining || r.letGo || r.q.fetching.Err() != nil):
		// The instance goes away: no attempt of the function's. Another agent, or the next start, takes it.
		if r.noted != nil {
			a.Started--
		}
		return r.again(verdict{again: true}, now, f)
	}
	var v verdict
	if f.Kind == fault.Event { // it never becomes JSON
		v = verdict{}
	} else if f.UserSide() {
		a.UserFailures++
		v = a.afterUserError(r.config.retries(), r.q.cfg.UserDelay)
	} else {
		a.SystemFailures++
		v = a.afterSystemError()
	}
	if !v.again || r.msg.lost() { // no event, no other attempt
		return r.end(Fail, now, f.Code, messageOf(f), &outcome{fault: f, condition: conditionExhausted})
	}
	return r.again(v.cap(r.accepted.Add(r.config.age()).Sub(now)), now, f)
}

package async

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"time"

	"go.uber.org/zap"
)

// do makes one attempt, unless there is nothing to attempt any more.
func (r *run) do() error {
	if err := r.read(); err != nil {
		return err
	}
	if r.record.Status.final() {
		return r.done()
	}
	if delay := r.early(); delay > 0 {
		return r.msg.NakWithDelay(delay)
	}
	now := r.q.cfg.Now()
	if now.Sub(r.accepted) >= r.config.age() {
		return r.expire(now)
	}
	if r.record.Status == Running { // that attempt never reported an outcome
		if r.record.Attempts.Lost++; r.record.Attempts.Lost >= maxLost {
			return r.giveUp(now)
		}
	}
	result, f := r.q.cfg.Invoke(r.invocation(), r.started, r.msg.Data())
	if r.noted != nil {
		close(r.ended)
		<-r.noted
	}
	r.configure()
	if r.tooOld && f != nil && f.Kind != fault.Canceled {
		return r.expire(r.q.cfg.Now())
	}
	if !r.letGo || r.unnoted == nil {
		return r.after(result, f)
	}
	// Another agent may own the request: acknowledge nothing. If no agent owns it, JetStream redelivers it after
	// ackWait.
	r.q.cfg.Log.Warn("an asynchronous request is let go and will be redelivered: its start could not be recorded",
		zap.String("request_id", r.id), zap.Error(r.unnoted))
	if noRoom(r.unnoted) { // nothing was written: no other agent owns it
		return r.msg.NakWithDelay(sendPause(r.msg.tries()))
	}
	return nil
}

// early returns how long this delivery is too early, 0 for not at all. A consumer that was made again delivers at once
// what waits for its next attempt, and what other agents run.
func (r *run) early() time.Duration {
	left := r.record.Due.Sub(r.q.cfg.Now())
	switch {
	case !r.msg.in.shared || r.q.cfg.Alone:
		return max(left, 0)
	case r.record.Status == Wait && left > 0:
		return left
	case r.record.Status != Running:
		return 0
	case r.runsElsewhere(): // its heartbeats keep the message from being delivered once more
		return ackWait
	case r.volatile && r.msg.tries() == 1: // the agent that runs it may be cut off
		return ackWait
	}
	return 0
}

// started records that an attempt has a slot. The first attempt does not wait for the disk. Later ones do: otherwise an
// event that kills the agent at once would never be detected. So do all of a confined agent. An attempt that waited
// long for its slot does not run without the record: if this agent was cut off meanwhile, another one has run the
// request.
func (r *run) started() error {
	r.configure()
	now := r.q.cfg.Now()
	if r.tooOld = now.Sub(r.accepted) >= r.config.age(); r.tooOld {
		return errTooOld
	}
	sure, first := now.Sub(r.looked) < r.sureFor() && !r.msg.doubtful, r.deliveredOnce()
	if err := r.noteStart(); err != nil {
		return err
	}
	if r.confined.Load() { // what it has read may be old: only the write shows that the request has no outcome
		<-r.noted
		r.letGo = r.unnoted != nil
	} else if !first || !sure {
		select {
		case <-r.noted:
			r.letGo = !sure && r.unnoted != nil || errors.Is(r.unnoted, errOvertaken)
		case <-time.After(r.noteLimit()):
			r.letGo = !sure
		}
	}
	if r.letGo {
		return errLetGo
	}
	r.q.counts.started.Add(1)
	return nil
}

// errLetGo ends a call that may be another agent's by now.
var errLetGo = unavailable("the request waited for a slot, and its start cannot be recorded", nil)

// errTooOld ends a call whose time was over when it got its slot.
var errTooOld = unavailable("the request waited for a slot until it was too old", nil)

// deliveredOnce reports whether this is the first delivery of an event, as far as that is known. A consumer that was
// made again counts anew, so the record has a say.
func (r *run) deliveredOnce() bool {
	return r.msg.tries() == 1 && r.revision == 0 && !r.msg.doubtful
}

// noteStart records the start beside the attempt.
func (r *run) noteStart() error {
	if err := r.record.change(Running); err != nil {
		return err
	}
	r.record.Start = r.q.cfg.Now()
	r.record.Attempts.Started++
	r.underWay.Store(r.id, begun)
	r.noted, r.ended = make(chan struct{}), make(chan struct{})
	go r.keepNoting()
	return nil
}

// keepNoting stores the start until that works, or the call has ended: without a record other agents see a request that
// waits, and a consumer that was made again delivers it to one of them.
func (r *run) keepNoting() {
	defer close(r.noted)
	for {
		if r.unnoted = r.store(); r.unnoted == nil {
			return
		}
		r.q.cfg.Log.Debug("a start is not recorded", zap.String("request_id", r.id), zap.Error(r.unnoted))
		if r.othersNote() || r.confined.Load() { // a confined agent runs nothing without the record
			return
		}
		select {
		case <-r.ended:
			return
		case <-time.After(fetchPause):
		}
	}
}

// othersNote reads the record after a start could not be stored. It reports whether there is nothing to store any more:
// the start is there, and only the answer was lost; or another agent has the request, or it was cancelled.
func (r *run) othersNote() bool {
	ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
	defer cancel()
	ctx, release := r.whileConnected(ctx)
	defer release()
	other, revision, err := r.recordIn(ctx, r.msg.in, r.id)
	switch {
	case err != nil || other == nil:
		return errors.Is(r.unnoted, errOvertaken)
	case other.Status.final():
		r.q.cfg.Cancel(r.id) // it was cancelled on its way to the slot
	case other.Status == Running && other.Start.Equal(r.record.Start) && other.Attempts == r.record.Attempts:
		r.revision, r.unnoted = revision, nil
		r.statusLog(&r.record, r.config)
	case !errors.Is(r.unnoted, errOvertaken):
		return false
	}
	return true
}

// read finds out what is known of the request.
func (r *run) read() error {
	var ok bool
	if r.accepted, ok = acceptedAt(r.id); !ok {
		return fmt.Errorf("the queue holds a request that is not ours: %q", r.id)
	}
	ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
	defer cancel()
	r.looked = r.q.cfg.Now()
	record, revision, err := r.recordIn(ctx, r.msg.in, r.id)
	if err != nil {
		return err
	}
	r.record, r.revision = Record{RequestID: r.id, Status: Wait, in: r.msg.in}, revision
	if record != nil {
		r.record = *record
	}
	r.configure()
	return nil
}

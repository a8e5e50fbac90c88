package async

import (
	"context"
	"fmt"
	"gantry/fault"
	"strconv"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// run is one request under way.
type run struct {
	*engine
	msg      *message
	id       string
	record   Record
	revision uint64
	config   *Configuration
	accepted time.Time
	// looked is when the record was read.
	looked time.Time
	// noted is closed once the start was recorded, or could not be: then unnoted is the error. It is nil before the
	// start.
	noted   chan struct{}
	unnoted error
	// letGo and tooOld are set when the slot was returned unused, and say why.
	letGo, tooOld bool
}

// storeTimeout bounds one write of a record.
const storeTimeout = 10 * time.Second

// do makes one attempt, unless there is nothing to attempt any more.
func (r *run) do() error {
	if err := r.read(); err != nil {
		return err
	}
	if r.record.Status.final() {
		return r.done()
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
	r.q.cfg.Log.Warn("an asynchronous request is let go: it waited for a slot, and its start could not be recorded",
		zap.String("request_id", r.id), zap.Error(r.unnoted))
	return nil
}

const (
	// noteLimit is how long an attempt waits for the record of its start.
	noteLimit = time.Second
	// sureFor is how long after its record was read a request certainly belongs to this agent: the server redelivers it
	// to no other agent before ackWait.
	sureFor = ackWait / 3
)

// errLetGo ends a call that may be another agent's by now.
var errLetGo = unavailable("the request waited for a slot, and its start cannot be recorded", nil)

// errTooOld ends a call whose time was over when it got its slot.
var errTooOld = unavailable("the request waited for a slot until it was too old", nil)

// started records that an attempt has a slot. The first attempt does not wait for the disk. Later ones do: otherwise an
// event that kills the agent at once would never be detected. An attempt that waited long for its slot does not run
// without the record: if this agent was cut off meanwhile, another one has run the request.
func (r *run) started() error {
	r.configure()
	now := r.q.cfg.Now()
	if r.tooOld = now.Sub(r.accepted) >= r.config.age(); r.tooOld {
		return errTooOld
	}
	sure := now.Sub(r.looked) < sureFor
	r.noteStart()
	if !r.deliveredOnce() || !sure {
		select {
		case <-r.noted:
			r.letGo = !sure && r.unnoted != nil
		case <-time.After(noteLimit):
			r.letGo = !sure
		}
	}
	if r.letGo {
		return errLetGo
	}
	r.q.counts.started.Add(1)
	return nil
}

// deliveredOnce reports whether this is the first delivery of an event, as far as that is known.
func (r *run) deliveredOnce() bool {
	return r.msg.tries() == 1
}

// noteStart records the start beside the attempt.
func (r *run) noteStart() {
	r.record.Status, r.record.Start = Running, r.q.cfg.Now()
	r.record.Attempts.Started++
	r.noted = make(chan struct{})
	go func() {
		defer close(r.noted)
		if r.unnoted = r.store(); r.unnoted == nil {
			return
		}
		r.q.cfg.Log.Debug("a start is not recorded", zap.String("request_id", r.id), zap.Error(r.unnoted))
		ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
		defer cancel()
		if other, _, err := r.engine.record(ctx, r.id); err == nil && other != nil && other.Status.final() {
			r.q.cfg.Cancel(r.id) // it was cancelled on its way to the slot
		}
	}()
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
	record, revision, err := r.engine.record(ctx, r.id)
	if err != nil {
		return err
	}
	r.record, r.revision = Record{RequestID: r.id, Status: Wait}, revision
	if record != nil {
		r.record = *record
	}
	r.configure()
	return nil
}

// configure takes over the configuration in force: it may have changed during a wait or an attempt. It must not run
// while the start is being recorded.
func (r *run) configure() {
	h := r.msg.Headers()
	r.config = r.configuration(configurationKey(h.Get(headerVersion), h.Get(headerAlias)))
}

// store writes the record, and a line of the status log.
func (r *run) store() error {
	ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
	defer cancel()
	ctx, release := r.whileConnected(ctx)
	defer release()
	revision, err := r.write(ctx, &r.record, r.revision)
	if err != nil {
		return err
	}
	r.revision = revision
	r.statusLog(&r.record, r.config)
	return nil
}

// statusLog writes a line about a change of status, if the configuration wants it.
func (e *engine) statusLog(r *Record, c *Configuration) {
	if c != nil && c.StatusLog {
		e.q.cfg.Log.Info(
			"asynchronous status",
			zap.String("request_id", r.RequestID),
			zap.String("status", string(r.Status)),
			zap.Int(
				"attempts",
				r.Attempts.Started,
			),
			zap.Int("error_code", r.ErrorCode),
			zap.String("error_message", r.ErrorMessage),
		)
	}
}

func (r *run) invocation() *fncontext.Invocation {
	h, cfg := r.msg.Headers(), r.q.cfg
	inv := &fncontext.Invocation{
		RequestID: r.id, Function: cfg.Function, Credentials: cfg.Credentials, Async: true, Alias: h.Get(headerAlias),
		Trace: fncontext.Trace{Parent: h.Get(headerParent), State: h.Get(headerState)},
	}
	inv.MemoryMB, _ = strconv.Atoi(h.Get(headerMemory)) // absent: the function's own
	return inv
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

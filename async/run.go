package async

import (
	"context"
	"errors"
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// counts are what happened so far, for the metrics.
type counts struct {
	accepted, refused, started, retried, expired, cancelled, succeeded, failed, notified, unnotified atomic.Int64
}

// ended counts an outcome that this agent has recorded.
func (c *counts) ended(s Status, condition string) {
	switch {
	case s == Success:
		c.succeeded.Add(1)
	case condition == conditionCanceled:
		c.cancelled.Add(1)
	case condition == conditionAge:
		c.expired.Add(1)
	default:
		c.failed.Add(1)
	}
}

// countNames says what Counts has, and what each means.
var countNames = []struct{ name, help string }{
	{"accepted", "Asynchronous requests stored."},
	{"refused", "Asynchronous requests refused because the queue or its records were full."},
	{"started", "Attempts that got a slot."},
	{"retried", "Attempts that are to be repeated."},
	{"expired", "Asynchronous requests that got too old."},
	{"canceled", "Asynchronous requests that were canceled."},
	{"succeeded", "Asynchronous requests that ended well."},
	{"failed", "Asynchronous requests that failed after their last attempt."},
	{"notified", "Notifications that a destination took."},
	{"notification_failures", "Notifications that were dropped."},
}

// CountNames is the closed list of what Counts has.
func CountNames() []string {
	names := make([]string, 0, len(countNames))
	for _, c := range countNames {
		names = append(names, c.name)
	}
	return names
}

// CountHelp says in a sentence what a count of that name is; empty for other names.
func CountHelp(name string) string {
	for _, c := range countNames {
		if c.name == name {
			return c.help
		}
	}
	return ""
}

// Counts returns what happened at this agent so far, by name.
func (q *Queue) Counts() map[string]int64 {
	c := &q.counts
	return map[string]int64{
		"accepted": c.accepted.Load(), "refused": c.refused.Load(), "started": c.started.Load(), "retried": c.retried.Load(),
		"expired": c.expired.Load(), "canceled": c.cancelled.Load(), "succeeded": c.succeeded.Load(), "failed": c.failed.Load(),
		"notified": c.notified.Load(), "notification_failures": c.unnotified.Load(),
	}
}

const (
	fetchWait = 5 * time.Second
	fetchMost = 64
	// fetchPause comes after a fetch that failed: the child is being started again, or the cluster has no leader.
	fetchPause = 200 * time.Millisecond
)

// fetch takes as many messages as there is room for, until Pause. A message is fetched only when it can be processed:
// from then on the server expects heartbeats or an acknowledgement.
func (e *engine) fetch(from jetstream.Consumer, parallel int, handle func(*message)) {
	room := make(chan struct{}, parallel)
	ctx := e.q.fetching
	var since time.Time // the first of the fetches that have failed in a row
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		n := 1
		for n < fetchMost && len(room) < cap(room) {
			room <- struct{}{} // only this goroutine adds
			n++
		}
		taken, err := e.take(ctx, from, n, room, handle)
		for ; taken < n; taken++ {
			<-room
		}
		if ctx.Err() != nil || e.ctx.Err() != nil {
			return
		}
		since = e.noteFetch(from, err, since)
	}
}

// fetchPatience is how long fetches may fail before the log says so: an election, or a start of the child, passes.
const fetchPatience = 15 * time.Second

// noteFetch logs a fetch that failed, and waits before the next one. It returns since when fetches fail.
func (e *engine) noteFetch(from jetstream.Consumer, err error, since time.Time) time.Time {
	if err == nil {
		return time.Time{}
	}
	if since.IsZero() {
		since = time.Now()
	}
	if time.Since(since) < fetchPatience {
		e.q.cfg.Log.Debug("no requests from the queue", zap.Error(err))
	} else {
		e.q.causes.Warn("nothing comes out of the queue, and what was accepted waits", err,
			zap.String("stream", from.CachedInfo().Stream), zap.Time("since", since), zap.NamedError("connection", e.conn.LastError()))
	}
	pause(e.q.fetching, fetchPause)
	return since
}

// take fetches up to n messages and starts them; it returns how many. Each gives its place in the room back. No message
// is no error.
func (e *engine) take(ctx context.Context, from jetstream.Consumer, n int, room chan struct{}, handle func(*message)) (taken int, err error) {
	wait, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	wait, release := e.whileConnected(wait) // a new server does not know the pending fetches
	defer release()
	epoch := e.epoch.Load()
	batch, err := from.Fetch(n, jetstream.FetchContext(wait))
	if err == nil {
		for msg := range batch.Messages() {
			taken++
			e.running.Go(func() {
				defer func() { <-room }()
				handle(&message{msg, e, epoch})
			})
		}
		err = batch.Error()
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) && !e.away.Load() {
		err = nil
	}
	return taken, err
}

// underWayPause comes before another look at a request that was handed out twice.
const underWayPause = time.Second

// handle looks after one request until it has an outcome, or waits for its next attempt.
func (e *engine) handle(msg *message) {
	id := msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:]
	if _, underWay := e.underWay.LoadOrStore(id, nil); underWay {
		// JetStream redelivered a request that this agent is still processing (a heartbeat was lost). Keep the running
		// attempt, and ask for redelivery later.
		_ = msg.NakWithDelay(underWayPause)
		return
	}
	defer e.underWay.Delete(id)
	beating, stop := context.WithCancel(e.ctx)
	defer stop()
	go e.beat(beating, msg)
	r := &run{engine: e, msg: msg, id: id}
	if err := r.do(); err != nil {
		// Nothing was decided: JetStream redelivers it, here or to another agent.
		e.q.cfg.Log.Warn("an asynchronous request will be redelivered", zap.String("request_id", r.id), zap.Error(err))
		if err := msg.NakWithDelay(fetchPause); err != nil {
			e.q.cfg.Log.Debug("not handed back", zap.Error(err))
		}
	}
}

// beat sends the server heartbeats while the request is processed.
func (e *engine) beat(ctx context.Context, msg jetstream.Msg) {
	tick := time.NewTicker(ackWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = msg.InProgress() // the next one may get through
		case <-ctx.Done():
			return
		}
	}
}

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
		e.q.cfg.Log.Info("asynchronous status", zap.String("request_id", r.RequestID), zap.String("status", string(r.Status)),
			zap.Int("attempts", r.Attempts.Started), zap.Int("error_code", r.ErrorCode), zap.String("error_message", r.ErrorMessage))
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

// maxMessageText bounds the error message of a record.
const maxMessageText = 1 << 10

func messageOf(f *fault.Error) string {
	text := strings.TrimSpace(string(f.Text(false)))
	if len(text) > maxMessageText {
		text = strings.ToValidUTF8(text[:maxMessageText], "") + "…"
	}
	return text
}

// handBack is the least delay: without one the server keeps a returned request only in memory, and after its restart
// would wait for an acknowledgement as before.
const handBack = time.Millisecond

// again lets the request wait for its next attempt.
func (r *run) again(v verdict, now time.Time, f *fault.Error) error {
	r.record.Status, r.record.End = Wait, now
	r.record.ErrorCode, r.record.ErrorMessage = f.Code, messageOf(f)
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
	r.record.Status, r.record.End, r.record.ErrorCode, r.record.ErrorMessage = status, now, code, message
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
	other, revision, err := r.engine.record(ctx, r.id)
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

// attach stores the notification with the outcome, if there is a destination for it.
func (e *engine) attach(r *Record, c *Configuration, h nats.Header, event []byte, o *outcome) error {
	d := c.destination(r.Status)
	if d == nil || o.recursive && d.Kind == destination.Function {
		return nil
	}
	text, err := e.notification(r, event, o, e.roomFor(d))
	if err != nil {
		return err
	}
	hops, _ := strconv.Atoi(h.Get(HeaderHops)) // absent: none
	r.Pending = &pending{Destination: *d, Hops: hops, Text: text}
	return nil
}

// handOver puts a stored notification into its queue, and takes it off the record then.
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

// unsent hands a request back that has ended, and whose notification has no room yet: it keeps its event until then.
func (r *run) unsent(err error) error {
	delay := notifyPause(r.msg.tries())
	r.q.cfg.Log.Warn("a request has ended, and its notification cannot be stored; it is tried again",
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
	if err := r.handOver(ctx, &r.record, r.revision); errors.As(err, &refused) {
		return r.unsent(err)
	} else if err != nil {
		return err
	}
	if err := r.msg.DoubleAck(ctx); err != nil {
		// It is redelivered, found recorded, and does not run again.
		r.q.cfg.Log.Debug("event not taken out of the queue yet", zap.String("request_id", r.id), zap.Error(err))
	}
	return nil
}

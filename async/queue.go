// Package async is durable asynchronous invocation: a request is answered once its event is stored, and runs later,
// with retries, until it has an outcome. Records, configurations and events lie in NATS JetStream: in a child process
// of the agent, or in a cluster that several agents share. Only this package, and the child's, know NATS.
package async

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// openTimeout bounds one attempt to open the queue: the start of the child, the streams, what is set.
const openTimeout = 30 * time.Second

// Start opens the queue without a request: for what was left in it. An error means that it is tried again at the next
// need.
func (q *Queue) Start(ctx context.Context) error {
	_, err := q.engine(ctx)
	return err
}

// engine returns the open engine, opening it at the first need. All callers share one attempt.
func (q *Queue) engine(ctx context.Context) (*engine, error) {
	q.mu.Lock()
	for q.open == nil {
		if q.closed {
			q.mu.Unlock()
			return nil, unavailable("the instance is stopping", nil)
		}
		if q.opening == nil {
			q.opening = make(chan struct{})
			go q.reopen(q.opening)
		}
		attempt := q.opening
		q.mu.Unlock()
		select {
		case <-attempt:
		case <-ctx.Done():
			return nil, unavailable("the queue is still being opened", ctx.Err())
		}
		q.mu.Lock()
		if q.open == nil {
			err := q.lastErr
			q.mu.Unlock()
			return nil, err
		}
	}
	defer q.mu.Unlock()
	return q.open, nil
}

func (q *Queue) reopen(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	e, err := q.openEngine(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opening = nil
	close(done)
	if err == nil && e.ctx.Err() != nil {
		err = nats.ErrConnectionClosed
	}
	if err != nil {
		q.causes.Error("the queue cannot be opened", err)
		q.lastErr = unavailable("the queue cannot be opened", err)
		return
	}
	q.open = e
}

// Pauses between tries to open the queue again.
const (
	reopenPause    = time.Second
	maxReopenPause = time.Minute
)

// closedByServers drops an engine whose connection the client has given up: it reconnects after a loss, but not after
// an error from the servers that it does not know. Requests in flight there are redelivered.
func (q *Queue) closedByServers(e *engine, why error) {
	if e.ctx.Err() != nil { // the connection was closed here
		return
	}
	e.cancel()
	q.cfg.Log.Error("the servers closed the connection to the queue; it is opened again", zap.Error(why))
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == e {
		q.open = nil
	}
	if q.closed {
		return
	}
	q.tasks.Go(e.close)
	q.tasks.Go(q.openAgain)
}

// openAgain opens the queue for what is in it, until that works or Pause: there may be no further request.
func (q *Queue) openAgain() {
	for wait := reopenPause; ; wait = min(2*wait, maxReopenPause) {
		if _, err := q.engine(q.fetching); err == nil || q.fetching.Err() != nil {
			return
		}
		pause(q.fetching, wait)
	}
}

// sendGrace is how long outcome messages that are being sent may take once the queue closes. They go back after it.
const sendGrace = time.Second

// Pause stops fetching: nothing new starts. The requests under way go on.
func (q *Queue) Pause() { q.stop() }

// Close waits until the requests under way have been recorded, or ctx ends, and closes the connection. Pause, and the
// end of the calls, come first.
func (q *Queue) Close(ctx context.Context) {
	q.Pause()
	q.mu.Lock()
	q.closed = true
	attempt, e := q.opening, q.open
	q.mu.Unlock()
	if attempt != nil {
		select {
		case <-attempt:
		case <-ctx.Done():
			return
		}
		q.mu.Lock()
		e = q.open
		q.mu.Unlock()
	}
	if e != nil {
		q.drain(ctx, e)
	}
	within(ctx, q.tasks.Wait)
}

// drain waits until what is under way has been recorded, or ctx ends, and closes the connection.
func (q *Queue) drain(ctx context.Context, e *engine) {
	defer time.AfterFunc(sendGrace, e.stopSends).Stop()
	if !within(ctx, func() {
		e.fetchers.Wait()
		e.running.Wait()
	}) {
		q.cfg.Log.Warn("asynchronous requests are left to be run again: they were not recorded in time")
	} else {
		e.leaveConsumers()
	}
	e.close()
}

// within waits for wait to return; false if ctx ends before.
func within(ctx context.Context, wait func()) bool {
	ended := make(chan struct{})
	go func() {
		wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// Depth returns the number of events in the queue, those under way included, and the age of the oldest; zeros while the
// queue is not open, and what was seen last while it is disconnected. For metrics.
func (q *Queue) Depth() (events int64, oldest time.Duration) {
	q.mu.Lock()
	e := q.open // Info may take long: do not hold the lock meanwhile
	q.mu.Unlock()
	d, now := &q.depths, q.cfg.Now()
	d.Lock()
	defer d.Unlock()
	if e != nil && !e.away.Load() && now.Sub(d.looked) >= depthAge {
		d.looked = now
		ctx, cancel := context.WithTimeout(e.ctx, depthAge)
		defer cancel()
		if err := d.look(ctx, e); err != nil && e.ctx.Err() == nil {
			q.causes.Warn("the metrics show an older state of the queue: it does not answer", err)
		}
	}
	if d.events == 0 || d.first.IsZero() {
		return d.events, 0
	}
	return d.events, max(now.Sub(d.first), 0)
}

// look asks the servers; called with the lock held.
func (d *depths) look(ctx context.Context, e *engine) error {
	events, err := e.waitingEvents(ctx)
	if err != nil {
		return err
	}
	var first time.Time
	if events > 0 {
		if first, err = e.oldest(ctx); err != nil {
			return err
		}
	}
	d.events, d.first = events, first
	return nil
}

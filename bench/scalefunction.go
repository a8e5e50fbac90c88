package main

import (
	"context"
	"errors"
	"fmt"
	"gantry/async"
	"gantry/fault"
	"sync"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

const (
	// scaleMost is the largest backlog, in events.
	scaleMost     = 1 << 20
	scaleReplicas = 3
	// scaleParallel is how many requests each agent has under way: those of a held function cost heartbeats.
	scaleParallel = 1
	// scaleTogether is how many functions are opened at once where opening is not measured.
	scaleTogether = 8
	// scaleTries is how often an opening is tried that is not measured.
	scaleTries = 5
)

// newScaleQueue makes the queue of a function without worker processes; it is opened at the first need. call is each
// call, from its start to its end.
func newScaleQueue(url, name string, log *zap.Logger, call func(requestID string)) *async.Queue {
	cluster := &async.Cluster{URL: url}
	return async.New(&async.Config{
		Function: &fncontext.Function{
			Region: "local-1", Project: "00000000000000000000000000000000", Package: "default", Name: name, Version: "latest",
		},
		Connect: cluster.Connect, Replicas: scaleReplicas, Parallel: scaleParallel,
		MaxEvents: 2 * scaleMost, MaxBytes: 1 << 30, Retention: 24 * time.Hour,
		Invoke: func(inv *fncontext.Invocation, started func() error, _ []byte) ([]byte, *fault.Error) {
			if err := started(); err != nil {
				return nil, fault.From(err)
			}
			call(inv.RequestID)
			return []byte(`"done"`), nil
		},
		Cancel: func(string) bool { return false },
		Log:    log,
	})
}

// gate holds calls; the zero value lets them pass.
type gate struct {
	mu   sync.Mutex
	shut chan struct{}
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) wait() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// scaled is one function of the section scale, with the queue of its agent.
type scaled struct {
	queue *async.Queue
	// started gets the time at which a call began, if there is room.
	started chan time.Time
}

// newScaled makes a function whose calls end at once, or when g lets them.
func newScaled(c *natsCluster, name string, g *gate) *scaled {
	f := &scaled{started: make(chan time.Time, 1)}
	f.queue = newScaleQueue(c.url(), name, zap.NewNop(), func(string) {
		select {
		case f.started <- time.Now():
		default: // not timed
		}
		g.wait()
	})
	return f
}

func knownName(n int) string { return fmt.Sprintf("known%d", n) }

// start opens the queue and returns how long that took.
func (f *scaled) start(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := f.queue.Start(ctx)
	return time.Since(began), err
}

// insist opens the queue where opening is not measured, and returns how many tries failed.
func (f *scaled) insist(ctx context.Context) (failed int, err error) {
	for failed = range scaleTries {
		if _, err = f.start(ctx); err == nil {
			return failed, nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return failed, err
		}
	}
	return failed, err
}

func (f *scaled) accept(ctx context.Context) error {
	_, err := f.queue.Accept(ctx, &async.Event{Body: []byte(openEvent), Version: "latest"})
	return err
}

// run accepts one event and returns the time until its call began. No other event may be in the queue.
func (f *scaled) run(ctx context.Context) (time.Duration, error) {
	select {
	case <-f.started: // of a call before
	default:
	}
	began := time.Now()
	if err := f.accept(ctx); err != nil {
		return 0, err
	}
	select {
	case at := <-f.started:
		return at.Sub(began), nil
	case <-time.After(scaleLimit):
		return 0, errors.New("an accepted event has not started")
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// ended is how many requests have an outcome from this agent.
func (f *scaled) ended() int64 {
	n := f.queue.Counts()
	return n["succeeded"] + n["failed"] + n["expired"] + n["canceled"]
}

// drained waits until all that functions have accepted has ended. It gives up when nothing ends any more.
func drained(ctx context.Context, functions []*scaled) error {
	last, since := int64(-1), time.Now()
	for {
		var accepted, ended int64
		for _, f := range functions {
			accepted, ended = accepted+f.queue.Counts()["accepted"], ended+f.ended()
		}
		switch {
		case ended >= accepted:
			return nil
		case ended > last:
			last, since = ended, time.Now()
		case time.Since(since) > 2*scaleLimit: // longer than a redelivery takes
			return fmt.Errorf("%d accepted, %d ended, and no more end", accepted, ended)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// settle waits until the records show this number of ended requests, and no other.
func (f *scaled) settle(ctx context.Context, want int) error {
	for began := time.Now(); ; {
		page, err := f.queue.Records(ctx, &async.Filter{Status: async.Success, Limit: 2 * want})
		if err != nil {
			return err
		}
		if page.Count == want {
			return nil
		}
		if time.Since(began) > scaleLimit {
			return fmt.Errorf("%d requests have succeeded, want %d", page.Count, want)
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// know gives a new function a configuration and one ended request.
func (f *scaled) know(ctx context.Context) error {
	configuration := &async.Configuration{AgeSeconds: 600, Retries: 1}
	if _, err := f.queue.SetConfiguration(ctx, "latest", "", "urn", configuration); err != nil {
		return err
	}
	if err := f.accept(ctx); err != nil {
		return err
	}
	return f.settle(ctx, 1)
}

// close ends the queue; held calls must have been let go.
func (f *scaled) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	f.queue.Close(ctx)
}

// closeAll ends queues, some at once.
func closeAll(functions []*scaled) {
	_ = each(len(functions), func(i int) error { // close returns no error
		functions[i].close()
		return nil
	})
}

// each calls do for 0 to n-1, some at once, and returns the first error. After an error no more calls begin.
func each(n int, do func(i int) error) error {
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	failed := make(chan struct{})
	var once sync.Once
	return together(min(scaleTogether, n), func(int) error {
		for i := range next {
			select {
			case <-failed:
				return nil
			default:
			}
			if err := do(i); err != nil {
				once.Do(func() { close(failed) })
				return err
			}
		}
		return nil
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"gantry/async"
	"gantry/fault"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// What the section scale accounts for: this many functions have a configuration and one ended request, and this many of
// them have an agent.
const (
	knownFunctions = 10_000
	withAgents     = 200
)

const (
	// scaleMost is the limit of each queue in events, room for those of the accepts included.
	scaleMost     = 1 << 20
	scaleReplicas = 3
	scaleQuiet    = 15 * time.Second // after a change, before the servers count as idle: elections, snapshots
	scaleSettle   = 3 * time.Second  // after events were accepted, before the next start is timed
	scaleIdle     = 8 * time.Second  // of measuring idle servers
	scaleStarts   = 20               // events whose start is timed
	scaleLimit    = 30 * time.Second
)

// scaled is one function of the section scale: the queue of an agent without worker processes.
type scaled struct {
	queue *async.Queue
	// started gets the time at which each call began.
	started chan time.Time
	hold    chan struct{} // calls last until it is closed
}

// newScaled makes a function; its queue is opened at the first need.
func newScaled(c *natsCluster, n int) *scaled {
	f := &scaled{started: make(chan time.Time, scaleStarts), hold: make(chan struct{})}
	cluster := &async.Cluster{URL: c.url()}
	f.queue = async.New(&async.Config{
		Function: &fncontext.Function{
			Region: "local-1", Project: "00000000000000000000000000000000", Package: "default",
			Name: fmt.Sprintf("scale%d", n), Version: "latest",
		},
		Connect: cluster.Connect, Replicas: scaleReplicas, Parallel: 1,
		MaxEvents: 2 * scaleMost, MaxBytes: 1 << 30, Retention: 24 * time.Hour,
		Invoke: func(_ *fncontext.Invocation, started func() error, _ []byte) ([]byte, *fault.Error) {
			if err := started(); err != nil {
				return nil, fault.From(err)
			}
			select {
			case f.started <- time.Now():
			default: // not timed
			}
			<-f.hold
			return []byte(`"done"`), nil
		},
		Cancel: func(string) bool { return false },
		Log:    zap.NewNop(),
	})
	return f
}

// open opens the queue and returns how long that took.
func (f *scaled) open(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	err := f.queue.Start(ctx)
	return time.Since(began), err
}

// run accepts one event and returns the time until its call began.
func (f *scaled) run(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if _, err := f.queue.Accept(ctx, &async.Event{Body: []byte(openEvent), Version: "latest"}); err != nil {
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

// know gives a new function a configuration and one ended request.
func (f *scaled) know(ctx context.Context) error {
	close(f.hold)
	configuration := &async.Configuration{AgeSeconds: 600, Retries: 1}
	if _, err := f.queue.SetConfiguration(ctx, "latest", "", "urn", configuration); err != nil {
		return err
	}
	if _, err := f.run(ctx); err != nil {
		return err
	}
	for began := time.Now(); ; {
		page, err := f.queue.Records(ctx, &async.Filter{Status: async.Success, Limit: 1})
		if err != nil {
			return err
		}
		if page.Count == 1 {
			return nil
		}
		if time.Since(began) > scaleLimit {
			return errors.New("an event that has started has no outcome")
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func (f *scaled) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	f.queue.Close(ctx)
}

// scale measures what functions cost three servers that keep the queues of all.
func (b *bench) scale(ctx context.Context) (err error) {
	c, err := b.startCluster(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	s := &scaleRun{bench: b, cluster: c}
	defer s.close()
	for _, step := range []func(context.Context) error{s.base, s.know, s.agents, s.list, s.accept, s.beside} {
		if err := step(ctx); err != nil {
			return errors.Join(err, c.problem())
		}
	}
	return nil
}

// scaleRun is one run of the section.
type scaleRun struct {
	*bench
	cluster *natsCluster
	open    []*scaled
	starts  []float64 // ms, on the empty cluster
	empty   usage
	known   usage
}

func (s *scaleRun) close() {
	var closing sync.WaitGroup
	for _, f := range s.open {
		closing.Go(f.close)
	}
	closing.Wait()
}

// base looks at servers without functions, and times the starts of a first function's events.
func (s *scaleRun) base(ctx context.Context) (err error) {
	if s.empty, err = s.cluster.idle(ctx); err != nil {
		return err
	}
	s.starts, err = s.timeStarts(ctx, -1)
	return err
}

// timeStarts opens a function and returns how long each of its events waits for its start, in ms.
func (s *scaleRun) timeStarts(ctx context.Context, n int) (ms []float64, err error) {
	f := newScaled(s.cluster, n)
	close(f.hold)
	s.open = append(s.open, f)
	if _, err := f.open(ctx); err != nil {
		return nil, err
	}
	for range scaleStarts {
		took, err := f.run(ctx)
		if err != nil {
			return nil, err
		}
		ms = append(ms, millis(took))
	}
	return ms, nil
}

// know makes functions known, one after the other, and closes each: what is left is what a function without an agent
// costs.
func (s *scaleRun) know(ctx context.Context) error {
	var ms []float64
	for n := range s.functions {
		if n%20 == 0 {
			progress("scale, function %d of %d", n, s.functions)
		}
		f := newScaled(s.cluster, n)
		took, err := f.open(ctx)
		if err == nil {
			err = f.know(ctx)
		}
		f.close()
		if err != nil {
			return err
		}
		ms = append(ms, millis(took))
	}
	slices.Sort(ms)
	s.table.add(
		&row{
			section: "scale", figure: "opening a function's queue, p99, ms", values: []float64{ms[len(ms)*99/100]},
			target: atMost(100), format: "%.0f",
		},
		&row{section: "scale", figure: "… median", values: []float64{median(ms)}, format: "%.0f"},
	)
	var err error
	s.known, err = s.cluster.idle(ctx)
	return err
}

// agents opens some of the functions again, and accounts for all.
func (s *scaleRun) agents(ctx context.Context) error {
	n := max(min(s.functions, withAgents)/4, 1)
	for i := range n {
		f := newScaled(s.cluster, i)
		s.open = append(s.open, f)
		if _, err := f.open(ctx); err != nil {
			return err
		}
	}
	with, err := s.cluster.idle(ctx)
	if err != nil {
		return err
	}
	account := func(empty, known, with float64) (one, agent, all float64) {
		one, agent = (known-empty)/float64(s.functions), (with-known)/float64(n)
		return one, agent, empty + one*knownFunctions + agent*withAgents
	}
	one, agent, all := account(s.empty.memory, s.known.memory, with.memory)
	oneCPU, agentCPU, allCPU := account(s.empty.processor, s.known.processor, with.processor)
	value := func(figure, format string, v float64, t target) *row {
		return &row{section: "scale", figure: figure, values: []float64{v}, target: t, format: format}
	}
	s.table.add(
		value("10,000 functions, 200 with agents, accounted: memory of a server, MB", "%.0f", all, atMost(400)),
		value(fmt.Sprintf("… for each of %d functions known, MB", s.functions), "%.3f", one, target{}),
		value(fmt.Sprintf("… for each of %d agents more, MB", n), "%.3f", agent, target{}),
		value("the same: processor of the three servers, idle, % of a core", "%.1f", allCPU, atMost(15)),
		value(fmt.Sprintf("… for each of %d functions known, %%", s.functions), "%.4f", oneCPU, target{}),
		value(fmt.Sprintf("… for each of %d agents more, %%", n), "%.4f", agentCPU, target{}),
		value("… of servers without functions, %", "%.1f", s.empty.processor, target{}),
	)
	return nil
}

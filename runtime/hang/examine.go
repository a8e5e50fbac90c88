package hang

import (
	"context"
	"errors"
	"fmt"
	"gantry/process"
	"time"
)

// A process is looked at every look, over the first part of the time; the rest is for its stack, which it may have to
// help with.
const (
	look     = 3 * time.Millisecond
	lookOver = 30 * time.Millisecond
	// socketShare is the part of the time that may be spent on sockets: one in so many.
	socketShare = 3
)

// Examine looks at a process, within Limit. stack adds its stack to the evidence; it may end the process, and may be
// nil. The end of the process ends the examination.
func Examine(p *process.Process, stack func(context.Context, *Evidence) error) *Evidence {
	began := time.Now()
	ctx, cancel := context.WithDeadline(context.Background(), began.Add(Limit))
	defer cancel()
	e := &Evidence{}
	var err error
	// Before the stack, which opens sockets in Node.js.
	if e.Sockets, err = p.Sockets(began.Add(Limit / socketShare)); err != nil {
		e.missing("sockets", err)
	}
	stopped := e.watch(ctx, p)
	switch {
	case stopped:
		e.missing("stack", errors.New("the process is stopped by a signal"))
	case stack == nil:
		e.missing("stack", errors.New("there is no way to ask this kind of program for it"))
	default:
		if err = stack(ctx, e); err != nil {
			e.missing("stack", err)
		}
	}
	e.Took = time.Since(began)
	return e
}

func (e *Evidence) missing(what string, err error) {
	e.Missing = append(e.Missing, fmt.Sprintf("%s: %v", what, err))
}

// watched is what was seen of one process.
type watched struct {
	name           string
	seen, running  int
	first, last    time.Duration
	stopped, alive bool
}

func (w *watched) kind() Kind {
	switch {
	case w.stopped || w.seen == 0:
		return Unknown
	case 4*w.running >= 3*w.seen:
		return Busy
	case 4*w.running <= w.seen:
		return Waiting
	}
	return Unknown
}

// watch looks at the process and its descendants for a while. It reports whether the process itself is stopped.
func (e *Evidence) watch(ctx context.Context, p *process.Process) (stopped bool) {
	seen := map[int]*watched{}
	var order []int
	began := time.Now()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for end := began.Add(lookOver); time.Now().Before(end); {
		for _, w := range seen {
			w.alive = false
		}
		for _, m := range p.Tree() {
			w := seen[m.PID]
			if w == nil {
				w = &watched{first: m.Used}
				seen[m.PID], order = w, append(order, m.PID)
			}
			w.name, w.last, w.stopped, w.alive = m.Name, max(w.last, m.Used), m.Stopped, true
			w.seen++
			if m.Running {
				w.running++
			}
		}
		select {
		case <-tick.C:
		case <-p.Exited():
			end = began
		case <-ctx.Done():
			end = began
		}
	}
	e.Over = time.Since(began)
	for _, pid := range order {
		w := seen[pid]
		e.CPU += w.last - w.first
		if pid == p.PID {
			e.Kind, stopped = w.kind(), w.stopped
		} else if w.alive {
			e.Children = append(e.Children, Child{PID: pid, Name: w.name, Kind: w.kind()})
		}
	}
	return stopped
}

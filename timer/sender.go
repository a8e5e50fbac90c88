package timer

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// mostSenders is how many calls are handed over at once.
	mostSenders = 32
	// mostWaiting is how many ticks may wait for that.
	mostWaiting = 100_000
	// tryLimit bounds one try.
	tryLimit = 15 * time.Second
)

// sender hands calls over beside the loop.
type sender struct {
	mu      sync.Mutex
	waiting []*tick
	retries []*tick
	active  int
	running sync.WaitGroup
	tries   context.Context
	giveUp  context.CancelFunc
}

var (
	errOverflow = errors.New("too many calls of timers wait to be handed over")
	errLate     = errors.New("the next tick was due before this one could be handed over")
	errStopping = errors.New("the agent is stopping")
)

// take returns the next tick; nil ends the sender.
func (d *sender) take() *tick {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		d.waiting = nil
		d.active--
		return nil
	}
	t := d.waiting[0]
	d.waiting[0] = nil
	d.waiting = d.waiting[1:]
	return t
}

// keep hands a tick back to the loop, which decides about another try.
func (d *sender) keep(t *tick, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t.err = err
	d.retries = append(d.retries, t)
}

func (d *sender) takeRetries() []*tick {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.retries
	d.retries = nil
	return all
}

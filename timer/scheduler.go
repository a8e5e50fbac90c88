package timer

import (
	"context"
	"gantry/logger"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Config is what a Scheduler needs.
type Config struct {
	Timers []*Timer
	// Queue hands a call over, and reports whether this was the first with its id. It is called by several goroutines.
	Queue func(ctx context.Context, requestID string, event []byte) (first bool, err error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// After is like time.NewTimer; nil means that.
	After func(d time.Duration) (rings <-chan time.Time, stop func() bool)
	Log   *zap.Logger
}

// Scheduler waits for the ticks of timers. Use New.
type Scheduler struct {
	cfg    Config
	counts counts
	causes *logger.Causes

	agenda agenda // of the loop alone
	seen   time.Time

	halt   context.Context
	stop   context.CancelFunc // of halt
	loop   chan struct{}      // closed when the loop has ended
	begun  sync.Once
	wake   chan struct{}
	sender sender
}

// New returns a scheduler that does not wait yet.
func New(cfg Config) *Scheduler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.After == nil {
		cfg.After = func(d time.Duration) (<-chan time.Time, func() bool) {
			t := time.NewTimer(d)
			return t.C, t.Stop
		}
	}
	s := &Scheduler{cfg: cfg, causes: logger.NewCauses(cfg.Log), loop: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.halt, s.stop = context.WithCancel(context.Background())
	s.sender.tries, s.sender.giveUp = context.WithCancel(context.Background())
	return s
}

// Count is how many ticks had an outcome so far.
func (s *Scheduler) Count(o Outcome) int64 { return s.counts.of(o).Load() }

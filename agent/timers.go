package agent

import (
	"context"
	"errors"
	"fmt"
	"gantry/async"
	"gantry/fault"
	"gantry/settings"
	"gantry/timer"
	"time"

	"go.uber.org/zap"
)

// checkTimers refuses timers whose calls could not be queued.
func checkTimers(c *settings.Config) error {
	if len(c.Timers) == 0 || c.Async.NATSURL != "" {
		return nil
	}
	if why := noStore(c); why != "" {
		return fault.Mark(fault.Invalid, errors.New("GANTRY_TIMER: the calls of timers go through the queue of asynchronous requests, and there is none: "+why))
	}
	return nil
}

// mostShown is how many timers the log lists at the start.
const mostShown = 20

// startTimers starts the timers, and says in the log when they are due.
func (in *agent) startTimers() {
	timers := in.cfg.Timers
	if len(timers) == 0 {
		return
	}
	in.timers = timer.New(timer.Config{Timers: timers, Queue: in.queueTick, Log: in.log})
	for _, o := range timer.Outcomes() {
		in.metrics.Counter(
			fmt.Sprintf("gantry_timer_ticks_total{outcome=%q}", o),
			"Ticks of timers, by outcome.",
			func() float64 { return float64(in.timers.Count(o)) },
		)
	}
	now := time.Now()
	for i, t := range timers {
		if i == mostShown {
			in.log.Info("and more timers; bootstrap timers lists all", zap.Int("more", len(timers)-i))
			break
		}
		in.log.Info("timer set", zap.String("timer", t.Name), zap.String("schedule", t.Schedule),
			zap.String("zone", t.ZoneName(now)), zap.String("next", t.Next(now).Format(time.RFC3339Nano)))
		for _, w := range t.Warnings(now) {
			in.log.Warn("timer "+t.Name+": "+w, zap.String("schedule", t.Schedule))
		}
	}
	in.timers.Start()
}

// queueTick hands the call of a tick to the queue.
func (in *agent) queueTick(ctx context.Context, requestID string, event []byte) (first bool, err error) {
	return in.queue.AcceptOnce(ctx, requestID, &async.Event{Body: event, Version: in.cfg.Function.Version})
}

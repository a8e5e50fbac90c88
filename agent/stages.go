package agent

import (
	"time"

	"go.uber.org/zap"
)

// stage is one stage of the stop. Times are sixteenths of the stop's time: GANTRY_SHUTDOWN_TIMEOUT since the first
// signal, or what is left of it once the workers had their time.
type stage struct {
	name string
	rest bool // of what is left
	// until is when the stage cuts off its own work; next is when the following stage begins, whatever this one still
	// waits for. Each ends as soon as its work is done.
	until, next float64
	// most is how long the stage takes at most, if it begins early; 0 for no such limit.
	most float64
	// least is how long the stage has at least, whatever the time.
	least time.Duration
}

// stages is the stop, in order. docs/ARCHITECTURE.md has the same table; a test compares them.
var stages = []stage{
	{name: "calls in flight", until: 11, next: 11.5},
	{name: "workers", until: 12, next: 12.5},
	{name: "queue", until: 13, next: 13.5},
	{name: "last answers", until: 14, next: 14.5, most: 1}, // while extensions still run
	{name: "notifications and telemetry", rest: true, until: 8, next: 9},
	{name: "extensions", rest: true, until: 14, next: 14.5},
	{name: "last telemetry", rest: true, until: 15, next: 15.5},
	{name: "collecting children", rest: true, until: 16, next: 16, least: killLimit},
}

// schedule is the time that stages have.
type schedule struct {
	began time.Time
	limit time.Duration
	log   *zap.Logger
}

// at is the moment after so many sixteenths.
func (s schedule) at(sixteenths float64) time.Time {
	return s.began.Add(time.Duration(float64(s.limit) / 16 * sixteenths))
}

// run runs the stage of that name, until it has ended or its time is over. What it does beyond that goes on beside
// the next one.
func (s schedule) run(name string, do func(until time.Time)) {
	st := stageOf(name)
	until := s.at(st.until)
	if st.most > 0 {
		until = time.Now().Add(time.Duration(float64(s.limit) / 16 * st.most))
	}
	latest := s.at(st.next)
	if least := time.Now().Add(st.least); latest.Before(least) {
		latest = least
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(until)
	}()
	timer := time.NewTimer(time.Until(latest))
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.log.Warn("the stop goes on: a stage has not ended in its time", zap.String("stage", name))
	}
}

// killLimit bounds the kill of all children by an exit that waits for nothing else. Those that it does not reach die
// with the agent (PDEATHSIG).
const killLimit = 500 * time.Millisecond

// stageOf finds a row of the table; a name that is not there would be a mistake of ours.
func stageOf(name string) stage {
	for _, s := range stages {
		if s.name == name {
			return s
		}
	}
	panic("no stage is called " + name)
}

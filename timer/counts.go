package timer

import "sync/atomic"

// Outcome is what became of a tick.
type Outcome string

// The outcomes.
const (
	// Queued is a tick whose call this agent has handed over.
	Queued Outcome = "queued"
	// Elsewhere is one that another agent was first with.
	Elsewhere Outcome = "elsewhere"
	// Failed is one whose call could not be handed over.
	Failed Outcome = "failed"
	// Missed is one that came while the agent, or the machine, did not run.
	Missed Outcome = "missed"
)

// Outcomes is the closed list of them.
func Outcomes() []Outcome { return []Outcome{Queued, Elsewhere, Failed, Missed} }

// counts are the ticks so far, by outcome.
type counts struct{ queued, elsewhere, failed, missed atomic.Int64 }

func (c *counts) of(o Outcome) *atomic.Int64 {
	switch o {
	case Queued:
		return &c.queued
	case Elsewhere:
		return &c.elsewhere
	case Failed:
		return &c.failed
	}
	return &c.missed
}

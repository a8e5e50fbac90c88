package timer

import (
	"time"

	"go.uber.org/zap"
)

// missed are the ticks of one pause of the machine or the agent.
type missed struct {
	ticks  int64
	timers int
	first  time.Time
	name   string // of the timer that missed the first one
}

// mostCounted is how many missed ticks of a timer are counted for one pause.
const mostCounted = 1000

// skip counts the ticks of a timer that were missed until now, from e on, and returns the latest one, which is called;
// the zero time if that is too long ago as well.
func (m *missed) skip(e entry, now time.Time) (latest time.Time) {
	count, first := int64(0), e.at
	if begin := now.Add(-mostLate); e.at.Before(begin) {
		for at := e.at; !at.IsZero() && !at.After(begin) && count < mostCounted; at = e.timer.Next(at) {
			count++
		}
		e.at = e.timer.Next(begin)
	}
	for at := e.at; !at.IsZero() && !at.After(now); at = e.timer.Next(at) {
		latest = at
		count++
	}
	if !latest.IsZero() {
		count--
	}
	if count == 0 {
		return latest
	}
	m.ticks += count
	m.timers++
	if m.first.IsZero() || first.Before(m.first) {
		m.first, m.name = first, e.timer.Name
	}
	return latest
}

func (m *missed) log(log *zap.Logger) {
	log.Warn("timers have missed ticks, which are not repeated: the machine or the agent did not run, or the clock was set",
		zap.Int64("ticks", m.ticks), zap.Int("timers", m.timers), zap.String("first", m.first.Format(time.RFC3339)),
		zap.String("timer", m.name))
}

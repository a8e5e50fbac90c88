package timer

import (
	"time"

	"github.com/robfig/cron/v3"
)

// fields are the times of a cron schedule, read in UTC: there a clock on a wall never jumps.
type fields struct{ *cron.SpecSchedule }

// mostYears is how far next looks; the parser's own limit is five.
const mostYears = 9

// hourly reports whether every hour has times. Such a schedule follows the hours that pass, and not those that a clock
// on a wall shows.
func (f fields) hourly() bool {
	const all = 1<<24 - 1
	return f.Hour&all == all
}

func (f fields) next(after time.Time, zone *time.Location) time.Time {
	p := periodOf(after, zone)
	for from := p.wall(after); ; {
		w := f.Next(from)
		if w.IsZero() || w.Year() > after.Year()+mostYears { // each of its times may be in a gap
			return time.Time{}
		}
		at := w.Add(-p.offset)
		switch {
		case !p.end.IsZero() && !at.Before(p.end): // the clock is set before
			begin := p.end
			p = periodOf(begin, zone)
			from = p.wall(begin).Add(-1)
		case !f.hourly() && p.shownBefore(w):
			from = w
		default:
			return at.In(zone)
		}
	}
}

// period is the time between two changes of a zone's clock, or a part of it.
type period struct {
	start, end time.Time     // zero for none
	offset     time.Duration // of the clock, before UTC
	before     time.Duration // likewise, until start
}

func periodOf(t time.Time, zone *time.Location) period {
	p := period{offset: offsetOf(t.In(zone))}
	p.start, p.end = t.In(zone).ZoneBounds()
	if !p.end.IsZero() && !p.end.After(t) { // Go takes 365 days for a leap year: on its last day the end is in the past
		p.end = t.Add(24 * time.Hour)
	}
	p.before = p.offset
	if !p.start.IsZero() {
		p.before = offsetOf(p.start.Add(-1).In(zone))
	}
	return p
}

func offsetOf(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// wall is what the clock shows, as a time in UTC.
func (p *period) wall(t time.Time) time.Time { return t.UTC().Add(p.offset) }

// shownBefore reports whether a time on the wall comes for the second time, because the clock was set back.
func (p *period) shownBefore(w time.Time) bool {
	return !p.start.IsZero() && w.Add(-p.before).Before(p.start)
}

// change is a change of the clock that a schedule notices.
type change struct {
	// at is the moment, wall a time of the schedule that does not come, or comes twice.
	at   time.Time
	wall time.Time
	gap  bool
}

// changes are those of the year after a moment.
func (f fields) changes(after time.Time, zone *time.Location) (all []change) {
	if f.hourly() {
		return nil
	}
	last := after.AddDate(1, 0, 0)
	for p := periodOf(after, zone); !p.end.IsZero() && p.end.Before(last); {
		next := periodOf(p.end, zone)
		from, to := p.wall(p.end), next.wall(p.end)
		gap := from.Before(to)
		if !gap {
			from, to = to, from
		}
		if w := f.Next(from.Add(-1)); !w.IsZero() && w.Before(to) {
			all = append(all, change{p.end, w, gap})
		}
		p = next
	}
	return all
}

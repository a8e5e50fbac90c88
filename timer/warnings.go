package timer

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Warnings are what a person may not expect of the schedule, seen from a moment.
func (t *Timer) Warnings(now time.Time) (all []string) {
	if e, ok := t.schedule.(every); ok {
		if d := time.Duration(e); d%time.Second != 0 {
			all = append(all, fmt.Sprintf("@every %s: the platform counts whole seconds, of which there is one at least", d))
		}
		return all
	}
	f := t.schedule.(fields)
	texts := strings.Fields(t.Schedule)
	if strings.HasPrefix(texts[0], zonePrefix) {
		texts = texts[1:]
	}
	if w := t.otherReading(texts, f, now); w != "" {
		all = append(all, w)
	}
	for i, text := range texts {
		if w := cronFields[i].wideStep(text); w != "" {
			all = append(all, w)
		}
	}
	const star = 1 << 63
	if f.Dom&star == 0 && f.Dow&star == 0 {
		all = append(all, "day of month and day of week are both given: it runs on every day that one of them fits")
	}
	for _, c := range f.changes(now, t.Zone()) {
		what := "comes twice, and it runs the first time only"
		if c.gap {
			what = "does not come, and it does not run"
		}
		clock := "set back"
		if c.gap {
			clock = "set forward"
		}
		all = append(all, fmt.Sprintf("on %s the clock of %s is %s: %s %s",
			c.wall.Format(time.DateOnly), t.Zone(), clock, c.wall.Format(time.TimeOnly), what))
	}
	return all
}

// otherReading says how the fields are read, and how cron would read them, if they may be meant so: five always, six
// that run several times a minute or in every hour.
func (t *Timer) otherReading(texts []string, f fields, now time.Time) string {
	const star = 1 << 63
	other, g, ok := asCron(texts)
	count := "five"
	if len(texts) == 6 {
		count = "six"
		if bits.OnesCount64(f.Second&^star) == 1 && (f.Second == 1 || !f.hourly()) {
			return ""
		}
	}
	read := fmt.Sprintf("its %s fields are read as the platform reads them, as second, minute, hour, day of month%s: next %s",
		count, map[bool]string{true: ", month", false: ", month, day of week"}[len(texts) == 5], t.nextRuns(f, now))
	if !ok {
		return read
	}
	return fmt.Sprintf("%s; if minute, hour, day of month, month, day of week was meant, as in cron, write %q: next %s",
		read, other, t.nextRuns(g, now))
}

// nextRuns are the next two.
func (t *Timer) nextRuns(f fields, now time.Time) string {
	first := f.next(now, t.Zone())
	second := f.next(first, t.Zone())
	if first.IsZero() || second.IsZero() {
		return "none in five years"
	}
	return first.Format(time.RFC3339) + " and " + second.Format(time.RFC3339)
}

// wideStep names a step that fits only once into its field.
func (f *field) wideStep(text string) string {
	for item := range strings.SplitSeq(text, ",") {
		begin, step, _ := strings.Cut(item, "/")
		if n, err := strconv.Atoi(step); err == nil && n > f.high-f.low {
			return fmt.Sprintf("the step %d is wider than the %s, which has %d to %d: %q is the first of them alone",
				n, f.name, f.low, f.high, begin+"/"+step)
		}
	}
	return ""
}

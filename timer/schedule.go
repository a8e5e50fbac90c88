package timer

import (
	"errors"
	"fmt"
	"gantry/timer/zone"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// field is one field of a cron schedule.
type field struct {
	name      string
	low, high int
	names     string // that may stand for numbers
	any       bool   // ? may stand for all
}

// cronFields are those of the platform, in its order.
var cronFields = []field{
	{name: "second", low: 0, high: 59},
	{name: "minute", low: 0, high: 59},
	{name: "hour", low: 0, high: 23},
	{name: "day of month", low: 1, high: 31, any: true},
	{name: "month", low: 1, high: 12, names: "JAN to DEC"},
	{name: "day of week", low: 0, high: 6, names: "SUN to SAT", any: true},
}

func (f *field) want() string {
	names, q := "", ""
	if f.names != "" {
		names = " or " + f.names
	}
	if f.any {
		q = ", or ?"
	}
	if f.name == "day of week" {
		names += ", from Sunday on"
	}
	return fmt.Sprintf("want *, or %d to %d%s, alone, in lists (1,2), ranges (1-5) and steps (*/5)%s", f.low, f.high, names, q)
}

// parser reads all six fields.
var parser = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

const zonePrefix = "CRON_TZ="

const wantSchedule = `want @every and a time, like "@every 1m", or five or six fields, like "0 30 8 * * 1-5": second, minute, hour, day of month, month, and if you like day of week`

// descriptors are what other programs take beside @every, and the platform does not.
var descriptors = map[string]string{
	"@yearly": "0 0 0 1 1 ?", "@annually": "0 0 0 1 1 ?", "@monthly": "0 0 0 1 * ?", "@weekly": "0 0 0 ? * SUN",
	"@daily": "0 0 0 * * ?", "@midnight": "0 0 0 * * ?", "@hourly": "0 0 * * * ?",
}

// parseSchedule reads a schedule as the platform writes it, into t.
func (t *Timer) parseSchedule(text string) (err error) {
	t.Schedule = strings.Join(strings.Fields(text), " ")
	rest := t.Schedule
	if name, found := strings.CutPrefix(rest, zonePrefix); found {
		name, rest, _ = strings.Cut(name, " ")
		if t.zone, err = zone.Load(name); err != nil {
			return fmt.Errorf("CRON_TZ: %w", err)
		}
	}
	word, after, _ := strings.Cut(rest, " ")
	switch instead := descriptors[strings.ToLower(word)]; {
	case rest == "":
		return fmt.Errorf("there is no schedule in %.100q, %s", text, wantSchedule)
	case word == "@every":
		t.schedule, err = parseEvery(after)
		return err
	case instead != "":
		return fmt.Errorf("the platform does not know %s: write %q", word, instead)
	case strings.HasPrefix(word, "@"):
		return fmt.Errorf("%.100q is no schedule, %s", rest, wantSchedule)
	case strings.HasPrefix(word, "TZ="):
		return fmt.Errorf("the zone of a schedule is written CRON_%.100s, not %.100s", word, word)
	}
	f, err := parseFields(strings.Fields(rest))
	if err != nil {
		return fmt.Errorf("schedule %.100q: %w%s", rest, err, otherSpelling(strings.Fields(rest)))
	}
	t.schedule = f
	return nil
}

// parseFields reads five or six fields.
func parseFields(texts []string) (f fields, err error) {
	if len(texts) < 5 || len(texts) > 6 {
		fields := "fields"
		if len(texts) == 1 {
			fields = "field"
		}
		return f, fmt.Errorf("it has %d %s, %s", len(texts), fields, wantSchedule)
	}
	if len(texts) == 5 {
		texts = append(texts[:5:5], "*")
	}
	for i, text := range texts {
		if err := cronFields[i].check(i, text); err != nil {
			return f, fmt.Errorf("the %s is %.100q: %.200w, %s", cronFields[i].name, text, err, cronFields[i].want())
		}
	}
	parsed, err := parser.Parse(strings.Join(texts, " "))
	if err != nil { // all fields are right
		return f, err
	}
	f.SpecSchedule = parsed.(*cron.SpecSchedule)
	f.Location = time.UTC
	if f.Next(leap).IsZero() {
		return f, errors.New("no month that it names has such a day: it would never run")
	}
	return f, nil
}

// leap is the beginning of a year with a 29 February.
var leap = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)

// check reads the i-th field alone, so that an error is known to be of it. The parser takes more than the platform's
// page has: empty items of a list, and what follows a star.
func (f *field) check(i int, text string) error {
	for item := range strings.SplitSeq(text, ",") {
		begin, step, stepped := strings.Cut(item, "/")
		switch {
		case item == "":
			return errors.New("an item of the list is empty")
		case strings.Contains(begin, "?") && (!f.any || item != "?" || text != "?"):
			return errors.New("? stands alone, and only for a day")
		case strings.Contains(begin, "*") && begin != "*":
			return errors.New("a star stands alone, or before a step")
		case stepped && step == "":
			return errors.New("the step is missing")
		}
	}
	all := []string{"*", "*", "*", "*", "*", "*"}
	all[i] = text
	_, err := parser.Parse(strings.Join(all, " "))
	if err != nil && strings.Contains(err.Error(), "failed to parse int") { // with the words of strconv
		return errors.New("that is neither a number nor a name that the field has")
	}
	return err
}

// otherSpelling is what to write if the fields were meant in the order of cron; empty if they cannot be.
func otherSpelling(texts []string) string {
	if other, _, ok := asCron(texts); ok {
		return fmt.Sprintf("; if minute, hour, day of month, month and day of week were meant, as in cron, write %q", other)
	}
	return ""
}

// asCron reads the first five fields in the order of cron: minute, hour, day of month, month, day of week.
func asCron(texts []string) (written string, f fields, ok bool) {
	if len(texts) < 5 || len(texts) > 6 {
		return "", f, false
	}
	spelled := append([]string{"0"}, texts[:5]...)
	f, err := parseFields(spelled)
	return strings.Join(spelled, " "), f, err == nil
}

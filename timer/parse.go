package timer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

// mostTimers bounds a list. maxName is the longest name, in bytes.
const (
	mostTimers = 10000
	maxName    = 64
)

// nameBefore is the name of a timer before its schedule, and what a name may be.
var nameBefore = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([\pL\pN_][\pL\pN_.-]*)\s*=(.*)$`)
})

// Parse reads a list of timers: one a line, [NAME=]SCHEDULE[;USER EVENT], or a JSON array of objects with name,
// schedule and user_event. Empty lines and those that begin with # are left out. A timer without a name gets one by its
// place: Timer_001.
func Parse(text string) (all []*Timer, err error) {
	text = strings.TrimPrefix(text, "\ufeff")
	if begin := strings.TrimSpace(text); strings.HasPrefix(begin, "[") || strings.HasPrefix(begin, "{") {
		all, err = parseJSON(begin)
	} else {
		all, err = parseLines(text)
	}
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("there is no timer in it, " + wantSchedule)
	}
	return all, Name(all)
}

// Name names the timers that have no name, and refuses two of one name.
func Name(all []*Timer) error {
	if len(all) > mostTimers {
		return fmt.Errorf("%d timers are too many, want %d at most", len(all), mostTimers)
	}
	names := map[string]bool{}
	for i, t := range all {
		if t.Name == "" {
			t.Name = nameOf(i)
		}
		if names[t.Name] {
			return fmt.Errorf("two timers have the name %q: give each one of its own", t.Name)
		}
		names[t.Name] = true
	}
	return nil
}

// nameOf is the name of the i-th timer without one.
func nameOf(i int) string { return fmt.Sprintf("Timer_%03d", i+1) }

func parseLines(text string) (all []*Timer, err error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		t := &Timer{}
		schedule, userEvent, _ := strings.Cut(line, ";")
		t.UserEvent = strings.TrimSpace(userEvent)
		named := nameBefore().FindStringSubmatch(schedule)
		if named != nil && named[1] != "CRON_TZ" && named[1] != "TZ" {
			t.Name, schedule = named[1], named[2]
		}
		if err := t.parse(schedule); err != nil {
			return nil, fmt.Errorf("line %d, timer %.100s: %w", number, shownName(t, len(all)), err)
		}
		all = append(all, t)
	}
	return all, nil
}

func shownName(t *Timer, i int) string {
	if t.Name == "" {
		return nameOf(i)
	}
	return t.Name
}

// parse checks the name, and reads the schedule.
func (t *Timer) parse(schedule string) error {
	if len(t.Name) > maxName {
		return fmt.Errorf("the name has %d bytes, want %d at most", len(t.Name), maxName)
	}
	if t.Name != "" && nameBefore().FindString(t.Name+"=") == "" {
		return errors.New("a name has letters, digits, -, _ and dots, and begins with a letter, a digit or _")
	}
	return t.parseSchedule(schedule)
}

// written is a timer in JSON. A user event that is no text is meant as its JSON.
type written struct {
	Name      string          `json:"name"`
	Schedule  string          `json:"schedule"`
	UserEvent json.RawMessage `json:"user_event"`
}

func parseJSON(text string) (all []*Timer, err error) {
	if text[0] == '{' {
		text = "[" + text + "]"
	}
	var list []written
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf(`want a JSON array like [{"name": "nightly", "schedule": "0 0 2 * * ?", "user_event": "text"}]: %.300w`, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) { // More would pass a bracket too many
		return nil, errors.New("something follows the JSON array of timers")
	}
	for i, w := range list {
		t := &Timer{Name: w.Name}
		if t.UserEvent, err = textOf(w.UserEvent); err == nil {
			err = t.parse(w.Schedule)
		}
		if err != nil {
			return nil, fmt.Errorf("timer %.100s: %w", shownName(t, i), err)
		}
		all = append(all, t)
	}
	return all, nil
}

// textOf is a user event as the function gets it.
func textOf(raw json.RawMessage) (text string, err error) {
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", nil
	case raw[0] == '"':
		return text, json.Unmarshal(raw, &text)
	}
	var b bytes.Buffer
	err = json.Compact(&b, raw)
	return b.String(), err
}

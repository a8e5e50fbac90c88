package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"gantry/api"
	"gantry/expect"
	"gantry/settings"
	"io"
	"os"
	"slices"
	"strings"
)

// event is the input of one call, and its name in reports.
type event struct {
	name string
	body []byte
}

// expectation is what is expected of a result, and the name of its file.
type expectation struct {
	name string
	*expect.Expectation
}

// inline reports whether the value of a flag is JSON itself, and not the name of a file.
func inline(value string) bool {
	value = strings.TrimLeft(value, " \t\r\n")
	return value != "" && strings.ContainsRune(`{["`, rune(value[0]))
}

// wantText is what flags of events and expectations take.
const wantText = "want a file, JSON text that begins with {, [ or \", or - for standard input"

// readText reads what the value of a flag names: the JSON itself, - for standard input, or else a file.
func (p *program) readText(flag, value string) ([]byte, error) {
	if inline(value) {
		if err := json.Unmarshal([]byte(value), new(json.RawMessage)); err != nil {
			return nil, fmt.Errorf("%s: %.100q is no JSON: %w; %s, and ./ before the name of a file that begins so",
				flag, value, err, wantText)
		}
		return []byte(value), nil
	}
	text, err := p.readFile(value)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w; %s", flag, err, wantText)
	case len(text) > api.MaxEvent:
		return nil, fmt.Errorf("%s: %s is over the limit of %d bytes", flag, nameOfText(value, "JSON text"), api.MaxEvent)
	}
	return settings.PlainJSON(text), nil
}

// readFile reads a file, or standard input for -, up to a byte behind the largest event.
func (p *program) readFile(name string) ([]byte, error) {
	r := p.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	return io.ReadAll(io.LimitReader(r, api.MaxEvent+1))
}

// nameOfText is the file that the value of a flag names, or other for what is none.
func nameOfText(value, other string) string {
	if value == "" || value == "-" || inline(value) {
		return other
	}
	return value
}

// nameEvents gives every event a name of its own: that of its file, else its number.
func nameEvents(values []string) []event {
	events, used := make([]event, len(values)), map[string]bool{}
	for i, value := range values {
		number := fmt.Sprintf("event %d", i+1)
		name := nameOfText(value, number)
		if used[name] {
			name += ", " + number
		}
		used[name] = true
		events[i].name = name
	}
	return events
}

// readEvents reads the events and what is expected of their results: nothing, the same of all, or something of each.
func (p *program) readEvents(events []event, values, expectations []string) (expected []expectation, err error) {
	if n := len(expectations); n > 1 && n != len(events) {
		return nil, fmt.Errorf("--expect is given %d times for %d event(s): give it once for all, or once for each", n, len(events))
	}
	stdin := 0
	for _, value := range slices.Concat(values, expectations) {
		if value == "-" {
			stdin++
		}
	}
	if stdin > 1 {
		return nil, errors.New("- is given more than once by --event and --expect, and standard input can be read once")
	}
	for i, value := range values {
		if value == "" { // the empty event
			continue
		}
		if events[i].body, err = p.readText("--event", value); err != nil {
			return nil, err
		}
	}
	for _, value := range expectations {
		name := nameOfText(value, "--expect")
		text, err := p.readText("--expect", value)
		if err != nil {
			return nil, err
		}
		parsed, err := expect.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("--expect: %s: %w", nameOfText(value, "JSON text"), err)
		}
		expected = append(expected, expectation{name, parsed})
	}
	return expected, nil
}

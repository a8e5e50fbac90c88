package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/expect"
	"gantry/junit"
	"time"
)

// answer is what came of one event.
type answer struct {
	// body is the result, or the error as callers see it; failed says which.
	body   []byte
	failed bool
	code   string // of the error, as in X-Func-Err-Code
	tail   []byte // of the call's log
	took   time.Duration
	// err is set when there is no answer at all.
	err error
	// differences are those from what was expected; nil if nothing was.
	differences *expect.Differences
}

// wrong reports whether the answer is not as it should be: as expected, or else a result.
func (a *answer) wrong() bool {
	if a.differences != nil {
		return !a.differences.None()
	}
	return a.failed || a.err != nil
}

// results takes what comes of the events, in their order: it prints each, compares it with what is expected, and keeps
// it for the JUnit file.
type results struct {
	p *program
	// succeed prints a result, fail the error of a call that was not to fail.
	succeed, fail func(body []byte) error

	events   []event
	expected []expectation // none, one for all, or one for each
	function string        // its name, as far as it is known
	began    time.Time
	answers  []*answer
	junit    *junitFile
}

// add takes the next answer. The error says that the command has to end with it: with a single event.
func (r *results) add(a *answer) error {
	i := len(r.answers)
	r.answers = append(r.answers, a)
	if a.err != nil {
		if len(r.events) == 1 {
			return a.err
		}
		r.complain(fmt.Sprintf("%s: %v", r.events[i].name, a.err))
		return nil
	}
	if len(r.expected) > 0 {
		a.differences = r.expected[min(i, len(r.expected)-1)].Compare(a.body, a.failed)
	}
	write := r.succeed
	if a.failed && a.wrong() {
		write = r.fail
	}
	err := write(r.shown(a.body))
	if f := (*failure)(nil); errors.As(err, &f) && f.err == nil { // the next event runs all the same
		err = nil
	}
	if a.differences != nil && a.wrong() {
		name := r.expected[min(i, len(r.expected)-1)].name
		r.complain(fmt.Sprintf("%s: the result is not as %s says\n%s", r.events[i].name, name, a.differences))
	}
	return err
}

// complain writes a line, or several, to stderr.
func (r *results) complain(text string) { fmt.Fprintf(r.p.stderr, "%s: %s\n", r.p.name, text) }

// shown is what is printed of a body: of several, each JSON is one line.
func (r *results) shown(body []byte) []byte {
	if len(r.events) == 1 {
		return body
	}
	var line bytes.Buffer
	if json.Compact(&line, body) != nil {
		line.Reset()
		line.Write(bytes.TrimSuffix(body, []byte("\n")))
	}
	line.WriteByte('\n')
	return line.Bytes()
}

// end writes the JUnit file. err is what the command ends with if all answers are as they should be.
func (r *results) end(err error) error {
	if err == nil && r.failures() > 0 {
		err = &failure{exitError, nil}
	}
	defer r.junit.Close()
	if wrong := r.junit.write(r.suite(err)); wrong != nil {
		r.complain(wrong.Error())
		if err == nil {
			err = &failure{exitError, nil}
		}
	}
	return err
}

// failures is how many answers are not as they should be.
func (r *results) failures() (n int) {
	for _, a := range r.answers {
		if a.wrong() {
			n++
		}
	}
	return n
}

// suite has a case for each event. Those without an answer are errors, for the reason that the command ends with.
func (r *results) suite(err error) *junit.Suite {
	s := &junit.Suite{Name: "bootstrap invoke", Began: r.began, Took: time.Since(r.began)}
	if r.function != "" {
		s.Name += " " + r.function
	}
	for i := range r.events {
		c := junit.Case{Class: cmp.Or(r.function, "invoke"), Name: r.events[i].name}
		if i >= len(r.answers) {
			c.Error = notRun(err)
		} else {
			r.answers[i].judge(&c)
		}
		s.Cases = append(s.Cases, c)
	}
	return s
}

// errCutOff is the reason in the file as long as there is no other.
var errCutOff = errors.New("the command was cut off before it could write the results")

func notRun(err error) *junit.Problem {
	text := "the event did not run"
	if f := (*failure)(nil); err != nil && (!errors.As(err, &f) || f.err != nil) {
		text = err.Error()
	}
	return &junit.Problem{Type: "start", Message: text, Text: text}
}

// judge fills in what the answer says about its case.
func (a *answer) judge(c *junit.Case) {
	c.Took, c.Err = a.took, string(a.tail)
	switch {
	case a.err != nil:
		c.Error = &junit.Problem{Type: "no answer", Message: a.err.Error(), Text: a.err.Error()}
	case a.differences != nil && a.wrong():
		c.Failure = &junit.Problem{
			Type: "expect", Message: a.differences.Kept[0].String(), Text: fmt.Sprintf("%s\n\n%s", a.differences, a.body),
		}
	case a.wrong():
		c.Failure = &junit.Problem{Type: "error", Message: string(a.body), Text: string(a.body)}
		var said struct{ ErrorType, ErrorMessage string }
		if json.Unmarshal(a.body, &said) == nil { // a custom runtime may say it in other words
			c.Failure.Type = cmp.Or(said.ErrorType, c.Failure.Type)
			c.Failure.Message = cmp.Or(said.ErrorMessage, c.Failure.Message)
		}
		if a.code != "" {
			c.Failure.Type += " (" + a.code + ")"
		}
	}
}

package check

import (
	"fmt"
	"gantry/junit"
	"io"
	"strings"
	"sync"
	"time"
)

// verdict is how one check of an extension ended.
type verdict string

const (
	verdictOK   verdict = "ok"
	verdictWarn verdict = "warn"
	verdictFail verdict = "fail"
	verdictSkip verdict = "skip" // there was nothing to check, or no way to
)

// finding is the result of one check: what was seen, and what would be right unless all is well.
type finding struct {
	name        string
	verdict     verdict
	seen, right string
	took        time.Duration
}

func passed(seen string, args ...any) finding {
	return finding{verdict: verdictOK, seen: fmt.Sprintf(seen, args...)}
}

func warned(right, seen string, args ...any) finding {
	return finding{verdict: verdictWarn, seen: fmt.Sprintf(seen, args...), right: right}
}

func failed(right, seen string, args ...any) finding {
	return finding{verdict: verdictFail, seen: fmt.Sprintf(seen, args...), right: right}
}

func skipped(why string, args ...any) finding {
	return finding{verdict: verdictSkip, seen: fmt.Sprintf(why, args...)}
}

// colors are those of the verdicts on a terminal: green, yellow and red.
var colors = map[verdict]string{verdictOK: "\x1b[32m", verdictWarn: "\x1b[33m", verdictFail: "\x1b[31m"}

// line is the finding's line for people.
func (f *finding) line(color bool) string {
	word := fmt.Sprintf("%-4s", f.verdict)
	if code := colors[f.verdict]; color && code != "" {
		word = code + word + "\x1b[0m"
	}
	return word + "  " + f.text()
}

// text is the finding in one line, without its verdict.
func (f *finding) text() string {
	line := fmt.Sprintf("%-22s  %s", f.name, f.seen)
	if f.right != "" {
		line += "; right: " + f.right
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f { // the extension's own words may be in it
			return ' '
		}
		return r
	}, line)
}

// advice is the finding in the lines of a report.
func (f *finding) advice() string {
	if f.right == "" {
		return f.seen + "\n"
	}
	return f.seen + "\nright: " + f.right + "\n"
}

// report collects the findings and prints each at once.
type report struct {
	extension string
	began     time.Time
	w         io.Writer
	color     bool // of the verdicts

	mu       sync.Mutex
	findings []finding
}

func newReport(extension string, w io.Writer, color bool) *report {
	return &report{extension: extension, began: time.Now(), w: w, color: color}
}

// add takes one finding and prints its line.
func (r *report) add(f finding) {
	r.mu.Lock()
	r.findings = append(r.findings, f)
	r.mu.Unlock()
	fmt.Fprintln(r.w, f.line(r.color)) // not under the lock: the reader of w may be stuck
}

// all returns what was found so far.
func (r *report) all() []finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]finding(nil), r.findings...)
}

func (r *report) count() map[verdict]int {
	n := map[verdict]int{}
	for _, f := range r.all() {
		n[f.verdict]++
	}
	return n
}

func (r *report) summary() string {
	n := r.count()
	return fmt.Sprintf(
		"%s: %d checks in %s: %d ok, %d warnings, %d failures, %d skipped",
		r.extension,
		len(r.all()),
		shortTime(time.Since(r.began)),
		n[verdictOK],
		n[verdictWarn],
		n[verdictFail],
		n[verdictSkip],
	)
}

// suite has one case for each check; a warning is a case that passed and has said something.
func (r *report) suite() *junit.Suite {
	suite := &junit.Suite{Name: "bootstrap check " + r.extension, Began: r.began, Took: time.Since(r.began)}
	for _, f := range r.all() {
		c := junit.Case{Class: r.extension, Name: f.name, Took: f.took}
		switch f.verdict {
		case verdictWarn:
			c.Out = "warning: " + f.advice()
		case verdictFail:
			c.Failure = &junit.Problem{Type: "check", Message: f.seen, Text: f.advice()}
		case verdictSkip:
			c.Skipped = &junit.Problem{Message: f.seen}
		}
		suite.Cases = append(suite.Cases, c)
	}
	return suite
}

// shortTime writes a duration with few digits.
func shortTime(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func named(name string, f finding) finding {
	f.name = name
	return f
}

package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// journal writes the server's lines to stderr, "level: text" each; the agent reads them. It is a server.Logger.
type journal struct {
	debug bool // set before the first line
	// broken gets a value when a write to the store has failed.
	broken chan struct{}

	mu    sync.Mutex
	out   io.Writer
	limit limiter
	last  string // of errors
	died  bool
}

// A failing disk makes a line for every message.
const (
	journalBurst = 50
	journalEvery = time.Second
)

func newJournal(out io.Writer) *journal {
	return &journal{out: out, broken: make(chan struct{}, 1), limit: limiter{every: journalEvery, burst: journalBurst}}
}

// plaintext is the server's advice for passwords in files. Ours is random, in memory only, and behind a socket that
// accepts only the agent.
const plaintext = "Plaintext passwords detected"

// writeErrors are the server's messages when a write has failed (server/filestore.go and server/stream.go of v2.15.2).
// From then on it answers no publisher of that stream until it is restarted, whether the disk has room or not.
var writeErrors = []string{"Critical write error", "failed to store a msg", "disabling JetStream", "will be DISABLED"}

// Noticef implements server.Logger.
func (j *journal) Noticef(format string, v ...any) {
	if j.debug {
		j.line("notice", fmt.Sprintf(format, v...))
	}
}

// Warnf implements server.Logger.
func (j *journal) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.HasPrefix(text, plaintext) {
		return
	}
	j.line("warning", text)
	j.check(text)
}

// Errorf implements server.Logger.
func (j *journal) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	j.remember(text, false)
	j.line("error", text)
	j.check(text)
}

// Fatalf implements server.Logger. It does not end the process: the reason must reach the agent first.
func (j *journal) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	j.remember(text, true)
	j.line("fatal", text)
}

// Debugf implements server.Logger.
func (j *journal) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (j *journal) Tracef(string, ...any) {}

func (j *journal) line(level, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	ok, dropped := j.limit.allow(time.Now())
	if dropped > 0 {
		fmt.Fprintf(j.out, "warning: %d lines were left out\n", dropped)
	}
	if ok {
		fmt.Fprintf(j.out, "%s: %s\n", level, strings.ReplaceAll(text, "\n", " "))
	}
}

func (j *journal) remember(text string, fatal bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.died { // what follows a fatal error is its consequence
		j.last, j.died = text, fatal
	}
}

func (j *journal) check(text string) {
	for _, w := range writeErrors {
		if strings.Contains(text, w) {
			select {
			case j.broken <- struct{}{}:
			default:
			}
		}
	}
}

func (j *journal) fatal() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.died
}

// lastError is the fatal error, or else the newest one.
func (j *journal) lastError() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.last == "" {
		return "JetStream is not enabled, and the server does not say why"
	}
	return j.last
}

// limiter lets a number of lines through in each period and counts the others.
type limiter struct {
	every time.Duration
	burst int

	start   time.Time
	passed  int
	dropped int
}

// allow reports whether the line may pass; with the first one of a period, how many could not in the one before.
func (l *limiter) allow(now time.Time) (ok bool, dropped int) {
	if now.Sub(l.start) >= l.every {
		dropped = l.dropped
		l.start, l.passed, l.dropped = now, 0, 0
	}
	if l.passed == l.burst {
		l.dropped++
		return false, dropped
	}
	l.passed++
	return true, dropped
}

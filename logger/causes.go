package logger

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// causeInterval is the time between two lines of the same text.
	causeInterval = time.Minute
	// maxCauses bounds the texts that are remembered, and with it the lines per interval.
	maxCauses = 64
)

// Causes logs errors that may repeat for every request: each text at once, then at most once a minute with the number
// of repetitions in between. At most 64 different texts are logged per minute; further ones are counted. Use NewCauses;
// it may be used by several goroutines.
type Causes struct {
	log *zap.Logger
	now func() time.Time

	mu      sync.Mutex
	seen    map[string]*cause
	omitted int // texts that did not fit since the last line
}

// cause is one text.
type cause struct {
	logged  time.Time
	repeats int // since then
}

// NewCauses returns a limiter in front of log. Packages api and async log the queue's errors through it.
func NewCauses(log *zap.Logger) *Causes {
	return &Causes{log: log, now: time.Now, seen: map[string]*cause{}}
}

// Warn logs message with err and fields at level warn, unless the same message and error were logged less than a minute
// ago. The line has "repeated" if it stands for several, and "omitted" if other texts had no room before it.
func (c *Causes) Warn(message string, err error, fields ...zap.Field) {
	c.write(zap.WarnLevel, message, err, fields)
}

// Error is Warn at level error.
func (c *Causes) Error(message string, err error, fields ...zap.Field) {
	c.write(zap.ErrorLevel, message, err, fields)
}

func (c *Causes) write(level zapcore.Level, message string, err error, fields []zap.Field) {
	repeats, omitted, ok := c.admit(message + ": " + err.Error())
	if !ok {
		return
	}
	fields = append(fields, zap.Error(err))
	if repeats > 0 {
		fields = append(fields, zap.Int("repeated", repeats))
	}
	if omitted > 0 {
		fields = append(fields, zap.Int("omitted", omitted))
	}
	c.log.Log(level, message, fields...)
}

// admit decides whether a text is logged now, and returns what was counted before it.
func (c *Causes) admit(text string) (repeats, omitted int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	known := c.seen[text]
	switch {
	case known == nil && !c.room(now):
		c.omitted++
		return 0, 0, false
	case known == nil:
		known = &cause{}
		c.seen[text] = known
	case now.Sub(known.logged) < causeInterval:
		known.repeats++
		return 0, 0, false
	}
	repeats, omitted = known.repeats, c.omitted
	known.logged, known.repeats, c.omitted = now, 0, 0
	return repeats, omitted, true
}

// room forgets texts that are older than the interval when there are too many; false if all are younger.
func (c *Causes) room(now time.Time) bool {
	if len(c.seen) < maxCauses {
		return true
	}
	for text, known := range c.seen {
		if now.Sub(known.logged) >= causeInterval {
			c.omitted += known.repeats
			delete(c.seen, text)
		}
	}
	return len(c.seen) < maxCauses
}

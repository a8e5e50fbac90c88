package settings

import (
	"errors"
	"fmt"
	"gantry/async"
	"gantry/files"
	"gantry/runtime/language"
	"gantry/timer"
	"gantry/timer/zone"
	"path/filepath"
	"strings"
	"time"
)

// maxTimerFile bounds the file of timers, in bytes.
const maxTimerFile = 16 << 20

// timers reads GANTRY_TIMER.
func timers(c *Config, v string) (err error) {
	c.Timers, err = timer.Parse(v)
	return err
}

// CompleteTimers adds the timers of the file, and gives those a zone that have none: the agent's own.
func (c *Config) CompleteTimers(env map[string]string) error {
	if c.TimerFile != "" {
		text, err := files.Read(c.TimerFile, maxTimerFile)
		if err == nil {
			text, err = withoutMark(text)
		}
		var more []*timer.Timer
		if err == nil {
			more, err = timer.Parse(string(text))
		}
		if err != nil {
			return fmt.Errorf("GANTRY_TIMER_FILE: %s: %w", c.TimerFile, err)
		}
		c.Timers = append(c.Timers, more...)
		if err := timer.Name(c.Timers); err != nil {
			return fmt.Errorf("GANTRY_TIMER and GANTRY_TIMER_FILE: %w", err)
		}
	}
	if len(c.Timers) == 0 {
		return nil
	}
	own := c.ownZone(env["TZ"])
	for _, t := range c.Timers {
		t.In(own)
		if n := len(t.Event(time.Time{})); n > async.MaxEvent-64 { // the time may be longer
			return fmt.Errorf("GANTRY_TIMER: timer %s: its event has %d bytes, want %d at most", t.Name, n, async.MaxEvent-64)
		}
	}
	return nil
}

// TimersFor refuses timers of a language whose functions take requests. One that is not decided may take events.
func (c *Config) TimersFor(l *language.Language) error {
	if len(c.Timers) == 0 || !l.Proxies() || l.Undecided() {
		return nil
	}
	return errors.New("GANTRY_TIMER is for functions that take events: an HTTP function takes requests only, " +
		"as on the platform; leave it out")
}

// ownZone is the agent's zone. The Go library takes UTC for a name in TZ that the system has no file of.
func (c *Config) ownZone(tz string) *time.Location {
	name := strings.TrimPrefix(tz, ":")
	if name == "" || filepath.IsAbs(name) {
		return time.Local
	}
	own, err := zone.Load(name)
	if err != nil {
		c.Remarks = append(c.Remarks, fmt.Sprintf("TZ=%s: %s; timers without CRON_TZ run in UTC", tz, err))
		return time.UTC
	}
	return own
}

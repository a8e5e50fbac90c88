// Package timer calls a function by the clock: what a timer is, how it is written, when it is due, and the loop that
// waits for it. It knows no queue: what is due is handed to a function.
package timer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Timer calls the function by a schedule, with a text of the user's.
type Timer struct {
	// Name is trigger_name of the event; no two timers of a function have the same.
	Name string
	// Schedule is written as on the platform.
	Schedule string
	// UserEvent is user_event of the event.
	UserEvent string

	schedule schedule
	zone     *time.Location // nil for the default one
}

// schedule is when a timer is due.
type schedule interface {
	// next is the first tick after a moment; the zero time if there is none.
	next(after time.Time, zone *time.Location) time.Time
}

// Next is the first tick after a moment, in the timer's zone; the zero time if there is none in the next five years.
func (t *Timer) Next(after time.Time) time.Time {
	return t.schedule.next(after, t.Zone())
}

// Zone is where the clock hangs that the schedule is read by: that of CRON_TZ, or the agent's own.
func (t *Timer) Zone() *time.Location {
	if t.zone == nil {
		return time.Local
	}
	return t.zone
}

// ZoneName is the zone's name, for people. That of the agent's own clock has its abbreviation with it.
func (t *Timer) ZoneName(now time.Time) string {
	zone := t.Zone()
	if zone != time.Local {
		return zone.String()
	}
	name, _ := now.In(zone).Zone()
	return zone.String() + " (" + name + ")"
}

// In sets the zone of a timer whose schedule names none.
func (t *Timer) In(zone *time.Location) {
	if t.zone == nil {
		t.zone = zone
	}
}

// event is the platform's event of its timers.
type event struct {
	Version   string `json:"version"`
	Time      string `json:"time"`
	Type      string `json:"trigger_type"`
	Name      string `json:"trigger_name"`
	UserEvent string `json:"user_event"`
}

// Event is what the function gets for a tick.
func (t *Timer) Event(tick time.Time) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	when := tick.In(t.Zone()).Format(time.RFC3339Nano) // a tick at a whole second has no fraction
	if err := e.Encode(event{"v1.0", when, "TIMER", t.Name, t.UserEvent}); err != nil {
		panic(err) // strings always can
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// RequestID is the id of the call of a tick: the same at every agent that has the timer. It is a UUID of version 7,
// whose time is the tick's.
func (t *Timer) RequestID(tick time.Time) string {
	text := binary.BigEndian.AppendUint64([]byte("gantry timer "+t.Name+"\x00"), uint64(tick.UnixNano()))
	sum := sha256.Sum256(text)
	id := uuid.UUID(sum[:16])
	ms := tick.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

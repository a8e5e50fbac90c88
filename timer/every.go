package timer

import (
	"fmt"
	"time"
)

// Limits of @every. Each tick is a write that is synced to a disk.
const (
	leastEvery = 10 * time.Millisecond
	mostEvery  = 366 * 24 * time.Hour
)

// every is a schedule of equal distances, counted from the beginning of 1970 in UTC: so all agents have the same ticks,
// and a restart moves none.
type every time.Duration

func parseEvery(text string) (every, error) {
	d, err := time.ParseDuration(text)
	const want = "want a number and a unit, or several: ns, us, ms, s, m, h, as in @every 1h30m"
	switch {
	case err != nil:
		return 0, fmt.Errorf("@every is followed by %.100q, %s", text, want)
	case d < leastEvery || d > mostEvery:
		return 0, fmt.Errorf("@every %.100s is outside of %s to %s", text, leastEvery, "8784h")
	}
	return every(d), nil
}

func (e every) next(after time.Time, zone *time.Location) time.Time {
	at, d := after.UnixNano(), int64(e)
	begin := at - at%d
	if at < 0 && at%d != 0 { // before 1970
		begin -= d
	}
	return time.Unix(0, begin+d).In(zone)
}

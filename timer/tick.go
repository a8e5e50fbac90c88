package timer

import (
	"time"

	"go.uber.org/zap"
)

const (
	// grace is how late a tick may be noticed and still be one of several that are made up for: a busy machine loses
	// none. What is later comes from a pause of the machine, or of the agent.
	grace = 5 * time.Second
	// mostLate is how late the latest tick before the end of such a pause may be, to be called all the same. It is less
	// than the time for which a queue knows the ids of its requests: another agent may have called it.
	mostLate = time.Minute
	// mostSleep is how long the loop sleeps at most. A timer of the kernel does not go on while the machine is suspended,
	// and is not moved when the clock is set.
	mostSleep = 10 * time.Second
)

// tick is one call that is due.
type tick struct {
	timer *Timer
	at    time.Time
	// next is the timer's next tick: with it the retries of this one end.
	next time.Time
	// pause is the time before the next try; zero before the first one.
	pause time.Duration
	// err is why the latest try failed.
	err error
}

// Pauses between tries to hand a tick over.
const (
	firstPause = time.Second
	mostPause  = 30 * time.Second
)

// again is the time of the next try after one that failed now; false if the timer's next tick is due by then.
func (t *tick) again(now time.Time) (at time.Time, ok bool) {
	t.pause = min(max(2*t.pause, firstPause), mostPause)
	at = now.Add(t.pause)
	return at, t.next.IsZero() || at.Before(t.next)
}

// fields are what the log says of it.
func (t *tick) fields() []zap.Field {
	return []zap.Field{zap.String("timer", t.timer.Name), zap.String("tick", t.at.Format(time.RFC3339Nano))}
}

// late reports whether a first try is of no use any more.
func (t *tick) late(now time.Time) bool {
	return t.pause == 0 && now.Sub(t.at) > grace && !t.next.IsZero() && !now.Before(t.next)
}

// entry is what the loop waits for: the next tick of a timer, or the next try of one.
type entry struct {
	at    time.Time
	timer *Timer
	retry *tick // nil for the timer's next tick
}

// agenda is a heap of entries, the earliest first.
type agenda []entry

// Len implements heap.Interface, and so do the next ones.
func (a agenda) Len() int { return len(a) }

func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }

func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push is called by package heap.
func (a *agenda) Push(x any) { *a = append(*a, x.(entry)) }

// Pop is called by package heap.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	(*a)[last] = entry{}
	*a = (*a)[:last]
	return e
}

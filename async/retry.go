package async

import (
	"math/rand/v2"
	"time"
)

// Delays before another attempt. The platform publishes none (docs/COMPATIBILITY.md).
const (
	// userDelay comes before the second attempt after an error of the function, twice that before each further one.
	userDelay = 60 * time.Second
	// systemDelay is the first delay after an error that is not the function's; it doubles up to maxSystemDelay.
	systemDelay    = time.Second
	maxSystemDelay = 300 * time.Second
)

// attempts counts what has happened to one request so far.
type attempts struct {
	// Started is the number of attempts, UserFailures and SystemFailures how they failed.
	Started        int `json:"started"`
	UserFailures   int `json:"userFailures"`
	SystemFailures int `json:"systemFailures"`
	// Lost counts attempts that started but never reported an outcome, because the agent died.
	Lost int `json:"lost,omitempty"`
}

// verdict is what follows a failed attempt: another one after a delay, or none.
type verdict struct {
	again bool
	delay time.Duration
}

// afterUserError decides about an error on the function's side: the configuration limits the retries.
func (a attempts) afterUserError(limit int, base time.Duration) verdict {
	if a.UserFailures > limit {
		return verdict{}
	}
	if a.UserFailures > 1 {
		base *= 2
	}
	return verdict{again: true, delay: base + rand.N(base/10+1)}
}

// afterSystemError decides about any other error: only the age limits the retries. Half of the delay is random, so that
// requests which failed together do not come back together.
func (a attempts) afterSystemError() verdict {
	delay := maxSystemDelay
	if n := a.SystemFailures - 1; n < 16 {
		delay = min(systemDelay<<max(n, 0), maxSystemDelay)
	}
	return verdict{again: true, delay: delay/2 + rand.N(delay/2+1)}
}

// cap shortens a delay to the end of the request's age: it is discarded then, not an hour later.
func (v verdict) cap(left time.Duration) verdict {
	v.delay = max(min(v.delay, left), 0)
	return v
}

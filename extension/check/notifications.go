package check

import (
	"context"
	"fmt"
	"gantry/extension"
	"time"
)

// Limits of the checks of calls.
const (
	callRounds  = 100
	callsBudget = 10 * time.Second
	// hopeless is how many rounds without a good answer, one after another, are enough.
	hopeless = 3
	// slowAnswer and slowSyncAnswer are from when on the median is slow: in sync mode each call of the function takes
	// longer.
	slowAnswer, slowSyncAnswer = 100 * time.Millisecond, 20 * time.Millisecond
	// almostLate is from when on a single answer is close to the agent's limit.
	almostLate = time.Second
	// abreast is how many notifications the agent has under way to one extension at most.
	abreast = 8
)

const rightAnswers = "answer every POST /extension/invoke with 2xx within 2 s: read the body, answer, and work afterwards"

// rightBacklog is what helps when few answers take a second: the kernel sends the first packet of a connection again
// after that time, when there was no room for it in the listener's backlog.
const rightBacklog = "answer always at once; a second is what a new connection waits when the listener has no room for it: listen with a backlog of 128 (Python's http.server has 5: request_queue_size)"

// rounds asks until n calls were made, it is hopeless, or the budget is used up.
func (k *Kit) rounds(ctx context.Context, n, atOnce int) *answers {
	var all answers
	began, bad := time.Now(), 0
	for made := 0; made < n && bad < hopeless && time.Since(began) < callsBudget && ctx.Err() == nil; made += atOnce {
		a := k.ask(ctx, atOnce, replyLimit)
		if all.add(a); len(a.took) > 0 {
			bad = 0
			continue
		}
		bad++
		if _, gone := k.gone(); gone {
			break
		}
	}
	return &all
}

// judge is the finding about the answers to calls.
func (k *Kit) judge(how string, a *answers, right string) finding {
	if a.failed+a.missing > 0 {
		why := "not delivered"
		if a.err != nil {
			why = inWords(a.err)
		}
		return failed(
			right,
			"%s %s, %d of them without a good answer: %s",
			calls(len(a.took)+a.failed+a.missing),
			how,
			a.failed+a.missing,
			why,
		)
	}
	if len(a.took) == 0 { // no time was left
		return skipped("%v", errTooLong)
	}
	median, most, limit := a.median(), a.most(), slowAnswer
	seen := fmt.Sprintf(
		"%s %s, all answered; median %s, slowest %s",
		calls(len(a.took)),
		how,
		shortTime(median),
		shortTime(most),
	)
	if k.seen().sync {
		limit = slowSyncAnswer
		seen += "; sync: each call of the function waits for that"
	}
	switch {
	case median > limit:
		return warned("answer first, and work afterwards: an answer that takes over 2 s is a failure", "%s", seen)
	case most > almostLate:
		return warned(rightBacklog, "%s", seen)
	}
	return passed("%s", seen)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func calls(n int) string {
	if n == 1 {
		return "one call"
	}
	return fmt.Sprintf("%d calls", n)
}

func (k *Kit) checkCalls(ctx context.Context) finding {
	if !k.seen().invoke {
		return skipped("it did not ask for calls")
	}
	a := k.rounds(ctx, callRounds, 1)
	k.mute = len(a.took) == 0
	return k.judge("one after another", a, rightAnswers)
}

func (k *Kit) checkCallsAtOnce(ctx context.Context) finding {
	return k.judge(fmt.Sprintf("at once, %d at a time", abreast), k.rounds(ctx, callRounds-callRounds%abreast, abreast),
		rightAnswers+fmt.Sprintf("; serve up to %d connections at the same time, each of which stays open", abreast))
}

func (k *Kit) checkPauses(ctx context.Context) finding {
	var all answers
	for _, d := range []time.Duration{300 * time.Millisecond, 800 * time.Millisecond, 1500 * time.Millisecond} {
		if !pause(ctx, d) {
			break
		}
		all.add(k.ask(ctx, 1, replyLimit))
	}
	return k.judge(
		"after pauses of 0.3, 0.8 and 1.5 s",
		&all,
		"answer also after a while without calls; keep idle connections open for some seconds",
	)
}

const (
	burstCalls  = 1000
	burstBudget = 10 * time.Second
)

func (k *Kit) checkBurst(ctx context.Context) finding {
	began := time.Now()
	a := k.ask(ctx, burstCalls, burstBudget)
	took := time.Since(began)
	dropped := k.metrics.NotificationDrops[portOf(k.seen().Address)-extension.FirstPort].Get()
	switch {
	case a.failed > 0:
		return failed(rightAnswers, "of %d calls at once %d got no good answer: %s", burstCalls, a.failed, inWords(a.err))
	case dropped > 0:
		return failed(rightAnswers, "of %d calls at once %d were dropped for it: its buffer was full", burstCalls, dropped)
	case a.missing > 0:
		return warned(
			"answer faster: 1,000 calls wait for one extension, further ones are dropped",
			"of %d calls at once %d were answered within %s",
			burstCalls,
			len(a.took),
			shortTime(took),
		)
	}
	seen := fmt.Sprintf(
		"%d calls at once, all answered within %s; slowest answer %s",
		burstCalls,
		shortTime(took),
		shortTime(a.most()),
	)
	if a.most() > almostLate {
		return warned(rightBacklog, "%s", seen)
	}
	return passed("%s", seen)
}

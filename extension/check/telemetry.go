package check

import (
	"context"
	"fmt"
	"gantry/logger"
	"gantry/telemetry"
	"strings"
	"time"
)

// Sizes and limits of the checks of telemetry.
const (
	bigBatch     = 1000
	flushLimit   = 9 * time.Second // all attempts to deliver one batch take that long
	slowDelivery = time.Second
	// subscribeTime is how long an extension may take to subscribe once it is asked about it.
	subscribeTime = 2 * time.Second
	// quietCalls is how many calls there are for extensions that want telemetry alone.
	quietCalls = 10
)

const rightBatch = "answer every batch with 2xx within 2 s: read the body, answer, and work afterwards"

func (k *Kit) checkTelemetry(ctx context.Context) finding {
	k.awaitSubscription(ctx)
	if !k.seen().invoke { // the others had calls
		k.ask(ctx, quietCalls, replyLimit)
		k.flush(ctx, flushLimit)
	}
	sub := k.stream.Current()
	tried := k.batchesSince(0)
	if sub == nil && len(tried) == 0 {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.subscriptions) > 0 {
			return failed(
				"do as the refusal says",
				"its subscription was refused %s: %s",
				times(len(k.subscriptions)),
				k.subscriptions[0],
			)
		}
		return skipped("it did not subscribe")
	}
	if sub != nil && !allFailed(tried) {
		k.publishBig(ctx, sub)
	}
	seen := k.batchesSince(0)
	events, biggest, biggestBytes, bad := 0, 0, 0, 0
	var slowest time.Duration
	var err error
	for _, b := range seen {
		slowest = max(slowest, b.took)
		if b.err != nil {
			bad, err = bad+1, b.err
			continue
		}
		events, biggest, biggestBytes = events+b.events, max(biggest, b.events), max(biggestBytes, b.bytes)
	}
	if bad > 0 {
		return failed(rightBatch, "%d of %d deliveries failed: %s", bad, len(seen), inWords(err))
	}
	text := fmt.Sprintf(
		"%d telemetry events in %d batches, all taken; the biggest had %d events, the longest %d KiB; the slowest took %s",
		events,
		len(seen),
		biggest,
		biggestBytes>>10,
		shortTime(slowest),
	)
	lost := k.stream.Counts().Dropped
	switch {
	case len(seen) == 0:
		return failed(rightBatch, "nothing was delivered")
	case lost["overflow"] > 0:
		return warned(rightBatch, "%s; %d events came faster than it took them, and were dropped", text, lost["overflow"])
	case slowest > slowDelivery:
		return warned(rightBatch, "%s", text)
	}
	return passed("%s", text)
}

// awaitSubscription gives the extension the time to subscribe: it may have been stopped since it registered.
func (k *Kit) awaitSubscription(ctx context.Context) {
	waits := func() bool { return len(k.batchesSince(0)) == 0 && !k.stream.Subscribed() }
	for until := time.Now().Add(subscribeTime); time.Now().Before(until) && waits(); {
		if !pause(ctx, 10*time.Millisecond) {
			return
		}
	}
}

func allFailed(batches []batchSeen) bool {
	for _, b := range batches {
		if b.err == nil {
			return false
		}
	}
	return len(batches) > 0
}

// takesBatches reports whether telemetry is delivered without trouble.
func (k *Kit) takesBatches() bool {
	for _, b := range k.batchesSince(0) {
		if b.err != nil {
			return false
		}
	}
	return true
}

// publishBig has one batch made that is as big as batches get, with one line as long as lines get.
func (k *Kit) publishBig(ctx context.Context, sub *telemetry.Subscriber) {
	k.flush(ctx, flushLimit)
	if sub.Types&telemetry.TypeFunction != 0 {
		k.functionLine("check", []byte(strings.Repeat("x", logger.MaxLine)))
	}
	for range bigBatch - 1 {
		if sub.Types&telemetry.TypeFunction != 0 {
			k.functionLine("check", []byte("one of a thousand lines"))
			continue
		}
		k.stream.Publish(&telemetry.Event{Kind: telemetry.Start, Begin: time.Now(), RequestID: "check"})
	}
	k.flush(ctx, flushLimit)
}

func (k *Kit) flush(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	k.stream.Flush(ctx)
}

// Feedback: a subscriber to the lines of extensions that prints for what it gets, gets that in turn.
const (
	feedbackRounds = 3
	feedbackWindow = 200 * time.Millisecond
	feedbackFlush  = 2 * time.Second
	feedbackEvents = 50
)

func (k *Kit) checkFeedback(ctx context.Context) finding {
	sub := k.stream.Current()
	switch {
	case sub == nil:
		return skipped("it is not subscribed")
	case sub.Types&(telemetry.TypePlatform|telemetry.TypeFunction) == 0:
		return skipped("it subscribed to the lines of extensions alone")
	case !k.takesBatches():
		return skipped("it does not take batches")
	}
	loops := 0
	for range feedbackRounds {
		if k.printsFor(ctx, sub, 1) > 0 {
			loops++
		}
	}
	many := k.printsFor(ctx, sub, feedbackEvents)
	var what string
	switch {
	case loops == feedbackRounds && many >= feedbackEvents:
		what = "for every telemetry event it gets"
	case loops == feedbackRounds:
		what = "for every batch it gets"
	default:
		return passed("it does not print for what it gets")
	}
	if sub.Types&telemetry.TypeExtension == 0 {
		return passed("it prints %s, but does not subscribe to what extensions print", what)
	}
	return warned(
		"print nothing for telemetry, or leave out the type extension",
		"it prints %s, and gets that in turn, for ever; %d of its lines were dropped so far",
		what,
		k.stream.Counts().Dropped["feedback"],
	)
}

// printsFor publishes n telemetry events and counts the lines that the extension prints then.
func (k *Kit) printsFor(ctx context.Context, sub *telemetry.Subscriber, n int) int {
	k.flush(ctx, feedbackFlush)
	before := k.printed()
	for range n {
		if sub.Types&telemetry.TypePlatform != 0 {
			k.stream.Publish(&telemetry.Event{Kind: telemetry.Start, Begin: time.Now(), RequestID: "check"})
		} else {
			k.functionLine("check", []byte("a line of the function"))
		}
	}
	k.flush(ctx, feedbackFlush)
	for began := time.Now(); time.Since(began) < feedbackWindow && k.printed()-before < n; {
		if !pause(ctx, 5*time.Millisecond) {
			break
		}
	}
	return k.printed() - before
}

package check

import (
	"context"
	"errors"
	"fmt"
	"gantry/extension"
	"gantry/logger"
	"gantry/telemetry"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

func (k *Kit) checkFile(context.Context) finding {
	f, start := k.file.check(k.passedOver)
	if !start {
		k.blocked = "it cannot be started"
	}
	return f
}

func (k *Kit) checkStart(context.Context) finding {
	k.stream.Publish(&telemetry.Event{Kind: telemetry.InitStart, Begin: time.Now(), RequestID: "check"})
	began := time.Now()
	k.host.Start(k.api.Addr().String())
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.startErr != nil {
		k.blocked = "it cannot be started"
		return failed("a program, or a script whose interpreter is there", "%v", k.startErr)
	}
	return passed("process %d, in %s", k.proc.PID, shortTime(time.Since(began)))
}

// slowStart is from when on a registration is slow: initializer and first call of the function wait for it.
const slowStart = time.Second

func (k *Kit) checkRegistration(ctx context.Context) finding {
	k.mu.Lock()
	started := k.proc.Started
	k.mu.Unlock()
	k.awaitRegistration(ctx)
	now := time.Now()
	k.stream.Publish(&telemetry.Event{Kind: telemetry.InitRuntimeDone, Begin: started, RequestID: "check", Status: telemetry.StatusSuccess})
	k.stream.Publish(&telemetry.Event{Kind: telemetry.InitReport, Begin: started, End: now, RequestID: "check", Status: telemetry.StatusSuccess, Figures: &telemetry.Figures{Duration: now.Sub(started)}})
	k.stream.Settled()
	k.mu.Lock()
	r, refused := k.registration, k.refused
	k.mu.Unlock()
	if r != nil {
		return k.registeredAfter(r.at.Sub(started), refused)
	}
	const right = "POST http://$EXTENSION_API_ADDR/extension/register, with the headers FunctionGraph-Extension-Name and FunctionGraph-Extension-Address"
	how, gone := k.gone()
	switch {
	case len(refused) > 0 && gone:
		return failed("do as the refusal says", "refused: %s; then it ended: %s", refused[0], how)
	case len(refused) > 0:
		return failed("do as the refusal says", "refused %s: %s", times(len(refused)), refused[0])
	case gone:
		return failed(right, "it ended before it registered: %s%s", how, k.quote())
	}
	return failed(right+", within --wait", "it did not register within %s", shortTime(now.Sub(started)))
}

// anotherTry is how long an extension whose registration was refused has for a better one.
const anotherTry = 2 * time.Second

// awaitRegistration waits for a registration that is taken, or until there is no hope.
func (k *Kit) awaitRegistration(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Wait)
	defer cancel()
	select {
	case <-k.registered:
		return
	case <-k.proc.Exited():
		return
	case <-ctx.Done():
		return
	case <-k.rejected:
	}
	timer := time.NewTimer(anotherTry)
	defer timer.Stop()
	select {
	case <-k.registered:
	case <-k.proc.Exited():
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (k *Kit) registeredAfter(took time.Duration, refused []string) finding {
	seen := "after " + shortTime(took)
	switch {
	case len(refused) > 0:
		return warned("do as the refusal says, at the first time", "%s; before that it was refused %s: %s", seen, times(len(refused)), refused[0])
	case took > slowStart:
		return warned("register first, then prepare the rest: initializer and first call of the function wait for it", "%s", seen)
	}
	return passed("%s", seen)
}

func (k *Kit) checkName(context.Context) finding {
	r := k.seen()
	if name := trim(r.Name); name != k.file.Name {
		return failed("the file name: under another one it is a stranger, and the start of the function waits for the file's in vain", "it registered as %q, its file is %s", name, k.file.Name)
	}
	return passed("%s, the name of its file", k.file.Name)
}

// lateListener is how long after its registration an extension may begin to listen without losing the first calls.
const lateListener = 300 * time.Millisecond

func (k *Kit) checkAddress(ctx context.Context) finding {
	r := k.seen()
	address := trim(r.Address)
	if r.listened {
		return passed("%s, and it listens there", address)
	}
	for began := time.Now(); time.Since(began) < lateListener; {
		if listens(address) {
			return warned("listen first, then register: calls may come at once", "it listened at %s only after it had registered", address)
		}
		if !pause(ctx, 10*time.Millisecond) {
			break
		}
	}
	return failed("listen, then register", "it registered %s, and no process listens there", address)
}

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
// after that time, when there was no room for it in the listener's queue.
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
		return failed(right, "%s %s, %d of them without a good answer: %s", calls(len(a.took)+a.failed+a.missing), how, a.failed+a.missing, why)
	}
	if len(a.took) == 0 { // no time was left
		return skipped("%v", errTooLong)
	}
	median, most, limit := a.median(), a.most(), slowAnswer
	seen := fmt.Sprintf("%s %s, all answered; median %s, slowest %s", calls(len(a.took)), how, shortTime(median), shortTime(most))
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
	return k.judge("after pauses of 0.3, 0.8 and 1.5 s", &all, "answer also after a while without calls; keep idle connections open for some seconds")
}

// frozenTime is how long the extension is stopped: longer than the agent keeps a connection.
const frozenTime = 1500 * time.Millisecond

func (k *Kit) checkFreeze(ctx context.Context) finding {
	k.awaitSubscription(ctx) // which a freeze would delay
	quiet, cancel := context.WithTimeout(ctx, replyLimit)
	defer cancel()
	k.host.Quiet(quiet)
	k.stream.Flush(quiet)
	k.host.Signal(unix.SIGSTOP)
	pause(ctx, frozenTime)
	k.host.Signal(unix.SIGCONT)
	if !k.seen().invoke || k.mute {
		return passed("it was stopped for %s, and goes on", shortTime(frozenTime))
	}
	return k.judge("after a freeze of "+shortTime(frozenTime), k.ask(ctx, 1, replyLimit),
		"go on after SIGCONT as if nothing had been: clocks jump, and connections to others may be gone")
}

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
			return failed("do as the refusal says", "its subscription was refused %s: %s", times(len(k.subscriptions)), k.subscriptions[0])
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
	text := fmt.Sprintf("%d events in %d batches, all taken; the biggest had %d events, the longest %d KiB; the slowest took %s", events, len(seen), biggest, biggestBytes>>10, shortTime(slowest))
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
	for until := time.Now().Add(subscribeTime); time.Now().Before(until) && len(k.batchesSince(0)) == 0 && !k.stream.Subscribed(); {
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
		what = "for every event it gets"
	case loops == feedbackRounds:
		what = "for every batch it gets"
	default:
		return passed("it does not print for what it gets")
	}
	if sub.Types&telemetry.TypeExtension == 0 {
		return passed("it prints %s, but does not subscribe to what extensions print", what)
	}
	return warned("print nothing for telemetry, or leave out the type extension", "it prints %s, and gets that in turn, for ever; %d of its lines were dropped so far", what, k.stream.Counts().Dropped["feedback"])
}

// printsFor publishes n events and counts the lines that the extension prints then.
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

// checkSecondRegistration lets a second extension want its address, and itself a second one; then it must still get its
// calls.
func (k *Kit) checkSecondRegistration(ctx context.Context) finding {
	r := k.seen()
	k.mu.Lock()
	refused := k.refused
	k.intruding = true
	k.mu.Unlock()
	other := fmt.Sprintf("127.0.0.1:%d", extension.FirstPort+(portOf(r.Address)-extension.FirstPort+1)%extension.Slots)
	rival, errRival := k.registerAs("extensionRival", trim(r.Address))
	twin, errTwin := k.registerAs(trim(r.Name), other)
	k.mu.Lock()
	k.intruding = false
	k.mu.Unlock()
	if err := errors.Join(errRival, errTwin); err != nil || rival != fasthttp.StatusConflict || twin != fasthttp.StatusConflict {
		return failed("status 409; this is a mistake of the agent, please report it", "a second extension at its address got status %d, its name with another address %d (%v)", rival, twin, err)
	}
	if r.invoke && !k.mute {
		if a := k.ask(ctx, 1, replyLimit); len(a.took) == 0 {
			return k.judge("after a second registration", a, rightAnswers)
		}
	}
	if len(refused) > 0 {
		return warned("register once; the same name and address may come again", "it registered again, and was refused %s: %s", times(len(refused)), refused[0])
	}
	return passed("another extension with its address, and its name with another address, were refused; it goes on")
}

func portOf(address string) int {
	addr, err := extension.ParseAddress(trim(address))
	if err != nil { // it was taken before
		return extension.FirstPort
	}
	return int(addr.Port())
}

// registerAs sends a registration, as an extension does.
func (k *Kit) registerAs(name, address string) (status int, err error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI("http://" + k.api.Addr().String() + "/extension/register")
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.Set("FunctionGraph-Extension-Name", name)
	req.Header.Set("FunctionGraph-Extension-Address", address)
	if err := fasthttp.DoTimeout(req, resp, replyLimit); err != nil {
		return 0, err
	}
	return resp.StatusCode(), nil
}

const (
	burstCalls  = 1000
	burstBudget = 10 * time.Second
)

func (k *Kit) checkBurst(ctx context.Context) finding {
	began := time.Now()
	a := k.ask(ctx, burstCalls, burstBudget)
	took := time.Since(began)
	dropped := k.cfg.metrics.NotificationDrops[portOf(k.seen().Address)-extension.FirstPort].Get()
	switch {
	case a.failed > 0:
		return failed(rightAnswers, "of %d calls at once %d got no good answer: %s", burstCalls, a.failed, inWords(a.err))
	case dropped > 0:
		return failed(rightAnswers, "of %d calls at once %d were dropped for it: its queue was full", burstCalls, dropped)
	case a.missing > 0:
		return warned("answer faster: 1,000 calls wait for one extension, further ones are dropped", "of %d calls at once %d were answered within %s", burstCalls, len(a.took), shortTime(took))
	}
	seen := fmt.Sprintf("%d calls at once, all answered within %s; slowest answer %s", burstCalls, shortTime(took), shortTime(a.most()))
	if a.most() > almostLate {
		return warned(rightBacklog, "%s", seen)
	}
	return passed("%s", seen)
}

package check

import (
	"context"
	"errors"
	"fmt"
	"gantry/extension"
	"gantry/telemetry"
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
	k.stream.Publish(
		&telemetry.Event{
			Kind:      telemetry.InitRuntimeDone,
			Begin:     started,
			RequestID: "check",
			Status:    telemetry.StatusSuccess,
		},
	)
	k.stream.Publish(
		&telemetry.Event{
			Kind:      telemetry.InitReport,
			Begin:     started,
			End:       now,
			RequestID: "check",
			Status:    telemetry.StatusSuccess,
			Figures:   &telemetry.Figures{Duration: now.Sub(started)},
		},
	)
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
		return warned(
			"do as the refusal says, at the first time",
			"%s; before that it was refused %s: %s",
			seen,
			times(len(refused)),
			refused[0],
		)
	case took > slowStart:
		return warned(
			"register first, then prepare the rest: initializer and first call of the function wait for it",
			"%s",
			seen,
		)
	}
	return passed("%s", seen)
}

func (k *Kit) checkName(context.Context) finding {
	r := k.seen()
	if name := trim(r.Name); name != k.file.Name {
		return failed(
			"the file name: under another one it is a stranger, and the start of the function waits for the file's in vain",
			"it registered as %q, its file is %s",
			name,
			k.file.Name,
		)
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
			return warned(
				"listen first, then register: calls may come at once",
				"it listened at %s only after it had registered",
				address,
			)
		}
		if !pause(ctx, 10*time.Millisecond) {
			break
		}
	}
	return failed("listen, then register", "it registered %s, and no process listens there", address)
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

// checkSecondRegistration lets a second extension want its address, and itself a second one; then it must still get its
// calls.
func (k *Kit) checkSecondRegistration(ctx context.Context) finding {
	r := k.seen()
	k.mu.Lock()
	refused := k.refused
	k.intruding = true
	k.mu.Unlock()
	other := fmt.Sprintf("127.0.0.1:%d", extension.FirstPort+(portOf(r.Address)-extension.FirstPort+1)%extension.Seats)
	rival, errRival := k.registerAs("extensionRival", trim(r.Address))
	twin, errTwin := k.registerAs(trim(r.Name), other)
	k.mu.Lock()
	k.intruding = false
	k.mu.Unlock()
	if err := errors.Join(
		errRival,
		errTwin,
	); err != nil || rival != fasthttp.StatusConflict ||
		twin != fasthttp.StatusConflict {
		return failed(
			"status 409; this is a mistake of the agent, please report it",
			"a second extension at its address got status %d, its name with another address %d (%v)",
			rival,
			twin,
			err,
		)
	}
	if r.invoke && !k.mute {
		if a := k.ask(ctx, 1, replyLimit); len(a.took) == 0 {
			return k.judge("after a second registration", a, rightAnswers)
		}
	}
	if len(refused) > 0 {
		return warned(
			"register once; the same name and address may come again",
			"it registered again, and was refused %s: %s",
			times(len(refused)),
			refused[0],
		)
	}
	return passed("another extension with its address, and its name with another address, were refused; it goes on")
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

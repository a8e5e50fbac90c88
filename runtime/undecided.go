package runtime

import (
	"context"
	"errors"
	"gantry/logger"
	"time"

	fncontext "gantry/context"
)

// A program whose port for a server is open may still be a custom runtime, which listens there for what reads its
// metrics, and goes on to its first poll.
const (
	// restTime is how long it has to be at rest to be a server, quietLimit how long that is waited for.
	restTime   = 100 * time.Millisecond
	quietLimit = 2 * time.Second
	// restPause lies between two looks. restUse is the processor time between them that is no work.
	restPause = 10 * time.Millisecond
	restUse   = time.Millisecond
)

// undecidedLink offers a bootstrap the runtime API and requests to its server. What it takes up first is what the
// function is until the agent ends. Each start of a server is offered both, so that its environment is always the same.
type undecidedLink struct {
	either
	worker *Worker
	polls  *RuntimeAPI
	server *upstream
}

// errServer is the answer to polls of a server.
var errServer = errors.New("the function runs as an HTTP function, which has no events, because its program listened on " +
	"GANTRY_UPSTREAM first: if it is a custom runtime, set GANTRY_RUNTIME=custom and start the agent again")

func newUndecided(w *Worker) (offer, error) {
	o, err := newRuntimeAPI(w)
	if err != nil {
		return offer{}, err
	}
	decided := w.cfg.decided.Load()
	if decided == w.cfg.Language.Poller {
		return o, nil
	}
	u := &undecidedLink{worker: w, polls: o.transport.(*RuntimeAPI), server: newUpstream(w).transport.(*upstream)}
	u.first, u.dropSecond = u.polls, u.server.end
	u.second, u.dropFirst = u.server, func() { u.polls.end(errServer) }
	u.polls.takenUp, u.server.takenUp = u.polled, u.listened
	if decided != nil {
		u.choose(u.server)
	}
	o.transport = u
	return o, nil
}

// polled reports whether the program is a custom runtime, now that it has asked for an event.
func (u *undecidedLink) polled() bool {
	cfg := u.worker.cfg
	if !u.choose(u.polls) {
		cfg.Log.Warn("the program asks for events and gets none: " + errServer.Error())
		return false
	}
	return !u.worker.isStopping() &&
		cfg.decide(cfg.Language.Poller, "a custom runtime", "the program polls the runtime API")
}

// listened reports whether the program is a server, now that it listens where servers do.
func (u *undecidedLink) listened() bool {
	cfg := u.worker.cfg
	if cfg.decided.Load() == nil && !u.rests() {
		return false
	}
	return !u.worker.isStopping() && u.choose(u.server) &&
		cfg.decide(cfg.Language.Server, "an HTTP function", "the program listens on "+cfg.Upstream)
}

// rests waits until the program does nothing any more; false if it has polled meanwhile, or has ended.
func (u *undecidedLink) rests() bool {
	began := time.Now()
	since, used := began, time.Duration(0)
	for time.Since(since) < restTime && time.Since(began) < quietLimit {
		select {
		case <-u.server.ended.Done():
			return false
		case <-time.After(restPause):
		}
		now := u.worker.proc.Activity()
		if now.Busy || now.Used-used > restUse {
			since = time.Now()
		}
		used = now.Used
	}
	return true
}

// Forward implements Forwarder.
func (u *undecidedLink) Forward(ctx context.Context, inv *fncontext.Call, x Exchange, log *logger.Request) error {
	return u.server.Forward(ctx, inv, x, log)
}

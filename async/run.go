package async

import (
	"context"
	"strconv"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// run is one request under way.
type run struct {
	*engine
	msg      *message
	id       string
	record   Record
	revision uint64
	config   *Configuration
	accepted time.Time
	// looked is when the record was read.
	looked time.Time
	// noted is closed once the start was recorded, or could not be: then unnoted is the error. It is nil before the
	// start.
	noted   chan struct{}
	unnoted error
	ended   chan struct{} // closed when the call has ended
	// letGo and tooOld are set when the slot was returned unused, and say why.
	letGo, tooOld bool
}

const (
	// noteLimit is how long an attempt waits for the record of its start, unless it may not begin without.
	noteLimit = time.Second
	// sureLong is how long after its record was read a request certainly belongs to this agent: the server redelivers
	// it to no other agent before ackWait. sureShort is that for a consumer that may be made again meanwhile.
	sureLong  = ackWait / 3
	sureShort = time.Second
)

func (r *run) noteLimit() time.Duration {
	if r.msg.doubtful {
		return storeTimeout
	}
	return noteLimit
}

func (e *engine) sureFor() time.Duration {
	if e.volatile {
		return sureShort
	}
	return sureLong
}

// configure takes over the configuration in force: it may have changed during a wait or an attempt. It must not run
// while the start is being recorded.
func (r *run) configure() {
	h := r.msg.Headers()
	r.config = r.configuration(configurationKey(h.Get(headerVersion), h.Get(headerAlias)))
}

// store writes the record, and a line of the status log.
func (r *run) store() error {
	ctx, cancel := context.WithTimeout(r.ctx, storeTimeout)
	defer cancel()
	ctx, release := r.whileConnected(ctx)
	defer release()
	revision, err := r.write(ctx, &r.record, r.revision)
	if err != nil {
		return err
	}
	r.revision = revision
	r.statusLog(&r.record, r.config)
	return nil
}

// statusLog writes a line about a change of status, if the configuration wants it.
func (e *engine) statusLog(r *Record, c *Configuration) {
	if c != nil && c.StatusLog {
		e.q.cfg.Log.Info(
			"asynchronous status",
			zap.String("request_id", r.RequestID),
			zap.String("status", string(r.Status)),
			zap.Int(
				"attempts",
				r.Attempts.Started,
			),
			zap.Int("error_code", r.ErrorCode),
			zap.String("error_message", r.ErrorMessage),
		)
	}
}

func (r *run) invocation() *fncontext.Invocation {
	h, cfg := r.msg.Headers(), r.q.cfg
	inv := &fncontext.Invocation{
		RequestID: r.id, Function: cfg.Function, Credentials: cfg.Credentials, Async: true, Alias: h.Get(headerAlias),
		Trace: fncontext.Trace{Parent: h.Get(headerParent), State: h.Get(headerState)},
	}
	inv.MemoryMB, _ = strconv.Atoi(h.Get(headerMemory)) // absent: the function's own
	return inv
}

const canceledWaiting = "function invocation canceled while it waited"

package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"strings"
	"sync"
	"time"

	fncontext "gantry/context"
)

// RuntimeAPI is the transport to a custom runtime, which asks for its events and posts the answers (page
// functiongraph_01_0406). Package api serves it on a listener of this worker's own, so that a worker that is being
// replaced can neither take nor answer the calls of the next one.
type RuntimeAPI struct {
	calls
	// events hands calls to pollers, in the order of arrival. It is unbuffered.
	events chan *handover
	// takenUp asks whether this is the transport that the program has taken up.
	takenUp func() bool
	ended   context.Context // its cause is what pollers are answered
	end     context.CancelCauseFunc
	stop    func() // of the listener
	asked   sync.Once
	closed  sync.Once

	given sync.Mutex        // guards what follows; that of calls may be taken inside
	taken map[string]uint32 // request id → call, of events that were handed over
	over  recent            // request ids that are answered, or whose time is over
}

type handover struct {
	event *Event
	inv   *fncontext.Invocation
	id    uint32
	gone  <-chan struct{} // closed when the caller has stopped waiting
}

func newRuntimeAPI(w *Worker) (offer, error) {
	a := &RuntimeAPI{calls: calls{worker: w}, events: make(chan *handover), taken: map[string]uint32{}}
	a.takenUp = func() bool { return true }
	a.ended, a.end = context.WithCancelCause(context.Background())
	addr, stop, err := w.cfg.ListenRuntime(a)
	if err != nil {
		return offer{}, err
	}
	a.stop = stop
	env := []string{"RUNTIME_API_ADDR=" + addr, fmt.Sprintf("GANTRY_CONCURRENCY=%d", w.cfg.Concurrency)}
	return offer{transport: a, env: env}, nil
}

// aliveEvery is how often it is looked whether who asks is still there.
const aliveEvery = 5 * time.Second

// Next waits for an event. alive reports whether the poller is still connected; a poller that has left gets no event.
// The first poll shows that the worker has loaded. The error is an Unavailable fault when there will be no more events
// for this worker, or for this poller.
func (a *RuntimeAPI) Next(alive func() bool) (*Event, error) {
	a.asked.Do(func() {
		if !a.takenUp() {
			return
		}
		a.worker.recordHello(&helloMeta{Concurrency: true})
		a.worker.loadEnded(nil)
	})
	look := time.NewTicker(aliveEvery)
	defer look.Stop()
	for {
		select {
		case h := <-a.events:
			if alive() && a.hand(h) {
				return h.event, nil
			}
			go a.offer(h) // to the next one who asks
			return nil, noEvents("the runtime that asked for an event has closed its connection")
		case <-look.C:
			if !alive() {
				return nil, noEvents("the runtime that asked for an event has closed its connection")
			}
		case <-a.ended.Done():
			return nil, noEvents(context.Cause(a.ended).Error())
		}
	}
}

// errStopped is the answer to pollers of a worker that ends.
var errStopped = errors.New("this worker is being stopped: there are no more events for it")

func noEvents(why string) *fault.Error {
	return &fault.Error{Kind: fault.Unavailable, Type: fault.TypeDraining, Code: fault.CodeUnavailable, Message: why}
}

// offer waits for a poller.
func (a *RuntimeAPI) offer(h *handover) {
	select {
	case a.events <- h:
	case <-h.gone:
	case <-a.ended.Done():
	}
}

// hand notes that a call is handed over, and copies its event: what it lies in is the caller's, who may leave at the
// deadline. False if its time is over.
func (a *RuntimeAPI) hand(h *handover) bool {
	a.given.Lock()
	defer a.given.Unlock()
	select {
	case <-h.gone:
		return false
	default:
	}
	h.event.Body = bytes.Clone(h.event.Body)
	a.taken[h.inv.RequestID] = h.id
	a.suggest(
		h.id,
		"the runtime took the event and did not answer it: POST to /v1/runtime/invocation/response/"+h.inv.RequestID+" or …/error/…",
	)
	return true
}

// Invoke implements Transport.
func (a *RuntimeAPI) Invoke(
	ctx context.Context,
	inv *fncontext.Call,
	event []byte,
	log *logger.Request,
) (Result, error) {
	c, _, err := a.begin(inv, log)
	if err != nil {
		return Result{}, err
	}
	headers := platformHeaders(inv.Invocation)
	if inv.Async {
		headers["X-Cff-Invoke-Type"] = []string{"async"}
	}
	gone := make(chan struct{})
	a.suggest(
		c.id,
		"the runtime did not ask for the event in time: it must GET /v1/runtime/invocation/request in a loop, once for each call that it can run at once",
	)
	h := &handover{event: &Event{Headers: headers, Body: event}, inv: inv.Invocation, id: c.id, gone: gone}
	select {
	case a.events <- h: // a poller is waiting
	default:
		go a.offer(h)
	}
	r, err := a.await(ctx, c, inv, func(uint32) {})
	a.given.Lock()
	close(gone)
	delete(a.taken, inv.RequestID)
	a.over.add(inv.RequestID)
	a.given.Unlock()
	return r, err
}

// Respond takes the result of a call; the body is kept. The error says why it is refused: a request id that was never
// handed out (NotFound), or one that has its answer or whose deadline has passed (Conflict).
func (a *RuntimeAPI) Respond(requestID string, body []byte) error {
	limit := a.worker.cfg.Function.MaxResponse
	if len(body) > limit {
		return a.TooLarge(requestID, len(body))
	}
	return a.settle(requestID, reply{result: Result{Body: body, Text: !isDocument(body)}})
}

// Fail takes the error of a call, likewise; the body is the caller's answer as it is.
func (a *RuntimeAPI) Fail(requestID string, body []byte) error {
	if len(body) > a.worker.cfg.Function.MaxResponse {
		return a.TooLarge(requestID, len(body))
	}
	f := &fault.Error{
		Kind:    fault.Function,
		Type:    "UserFunctionError",
		Code:    fault.CodeInvocation,
		Body:    body,
		Message: "the function answered an error",
	}
	var e struct {
		Type string `json:"errorType"`
	}
	if json.Unmarshal(body, &e) == nil && e.Type != "" { // any text is allowed
		f.Type = e.Type
	}
	return a.settle(requestID, reply{err: f})
}

// TooLarge answers a call whose answer is over the limit, and says so to the runtime. size may be unknown, and is
// negative then.
func (a *RuntimeAPI) TooLarge(requestID string, size int) error {
	f := tooLargeFault(size, a.worker.cfg.Function.MaxResponse)
	if err := a.settle(requestID, reply{err: f}); err != nil {
		return err
	}
	return &fault.Error{
		Kind:    fault.TooLarge,
		Type:    fault.TypeTooLarge,
		Code:    fault.CodeResultSize,
		Message: string(f.Body),
	}
}

// settle gives a call its answer, once.
func (a *RuntimeAPI) settle(requestID string, r reply) error {
	a.readOutput()
	a.given.Lock()
	defer a.given.Unlock()
	id, taken := a.taken[requestID]
	delete(a.taken, requestID)
	over := a.over.has(requestID)
	switch {
	case taken:
		a.over.add(requestID)
		a.answer(id, r) // before the lock is let go: fail must not find the call neither taken nor answered
		return nil
	case over:
		return &fault.Error{
			Kind:    fault.Conflict,
			Type:    fault.TypeBadRequest,
			Code:    fault.CodeBadRequest,
			Message: fmt.Sprintf("request %.100q is answered already, or its deadline has passed", requestID),
		}
	}
	return &fault.Error{
		Kind: fault.NotFound,
		Type: fault.TypeNotFound,
		Code: fault.CodeBadRequest,
		Message: fmt.Sprintf(
			"request %.100q is none that was handed to this runtime: answer the id of the header X-Cff-Request-Id",
			requestID,
		),
	}
}

// Init implements Transport: what a custom runtime does before its first event is its initializer.
func (a *RuntimeAPI) Init(context.Context, *fncontext.Call, *logger.Request) error { return nil }

// PreStop implements Transport; it is never called.
func (a *RuntimeAPI) PreStop(context.Context, *fncontext.Call, *logger.Request) error {
	return nil
}

// Close implements Transport: pollers get no more events. Answers are still accepted.
func (a *RuntimeAPI) Close() error {
	a.end(errStopped)
	return nil
}

func (a *RuntimeAPI) serve() {}

func (a *RuntimeAPI) drain() {}

// fail ends the calls that the worker had taken; the others may go to another one.
func (a *RuntimeAPI) fail(death *fault.Error) {
	a.end(errStopped)
	a.unsent(a.waiting(), 0)
	a.calls.fail(death)
	a.closed.Do(a.stop)
}

// waiting lists the calls that no poller has taken.
func (a *RuntimeAPI) waiting() (ids []uint32) {
	a.given.Lock()
	defer a.given.Unlock()
	taken := map[uint32]bool{}
	for _, id := range a.taken {
		taken[id] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.pending {
		if !taken[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// recentSize is how many request ids are remembered after their end, to distinguish a second answer from a wrong one.
const recentSize = 1024

// recent is the latest ids. The zero value is ready.
type recent struct {
	ids  map[string]struct{}
	ring []string
	next int
}

func (r *recent) add(id string) {
	if r.has(id) {
		return
	}
	if r.ids == nil {
		r.ids = map[string]struct{}{}
	}
	id = strings.Clone(id)
	if len(r.ring) < recentSize {
		r.ring = append(r.ring, id)
	} else {
		delete(r.ids, r.ring[r.next])
		r.ring[r.next] = id
		r.next = (r.next + 1) % recentSize
	}
	r.ids[id] = struct{}{}
}

func (r *recent) has(id string) bool {
	_, ok := r.ids[id]
	return ok
}

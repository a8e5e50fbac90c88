package runtime

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"sync"
	"time"

	fncontext "gantry/context"
)

// ErrNotSent says that the worker never saw the call: the caller may give it to another one.
var ErrNotSent = errors.New("the worker ended before the call reached it")

// calls are those of one worker that wait for their answers, whatever carries them.
type calls struct {
	worker *Worker

	mu      sync.Mutex
	pending map[uint32]*call
	// abandoned names the calls that timed out: their output may still come. A worker retires at the first one, so there
	// are never more than it had calls at once.
	abandoned map[uint32]string
	nextID    uint32
	dead      *fault.Error
}

// call is one that waits for its answer. Pooled.
type call struct {
	id   uint32
	log  *logger.Request
	hint string // guarded by calls.mu, as are stack and company
	// stack is what the worker has reported with the hint.
	stack []reportedFrame
	// company is set once another call has run beside it.
	company bool
	done    chan reply
	timer   *time.Timer

	// Of a call that may be written ahead: its own facts, what is called when it begins and when it is taken back, whether
	// it began, and how long its frame is, in bytes.
	inv     *fncontext.Call
	begun   func(time.Time)
	back    func()
	started bool
	size    int
}

// reply is the end of a call. With err only the result's figures count.
type reply struct {
	result Result
	err    *fault.Error
	unsent bool
	taken  bool // back, before it began
}

// fault is err, and no error that holds nil.
func (r *reply) fault() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

var callPool = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &call{done: make(chan reply, 2), timer: t} // its end, and that it was taken back before
}}

// begin records a call before it is sent, and arms its deadline; company reports whether other calls are in flight. The
// error is ErrNotSent when the worker has ended.
func (s *calls) begin(inv *fncontext.Call, log *logger.Request) (c *call, company bool, err error) {
	if c, company, err = s.enter(log); err == nil {
		c.timer.Reset(time.Until(inv.Deadline))
	}
	return c, company, err
}

// enter is begin without the deadline, for a caller that has one of its own.
func (s *calls) enter(log *logger.Request) (c *call, company bool, err error) {
	c = callPool.Get().(*call)
	c.log, c.hint, c.stack = log, "", nil
	company, ok := s.register(c)
	if !ok {
		s.recycle(c)
		return nil, false, ErrNotSent
	}
	return c, company, nil
}

func (s *calls) register(c *call) (company, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead != nil {
		return false, false
	}
	s.assign(c)
	s.pending[c.id] = c
	c.company = len(s.pending) > 1
	if len(s.pending) == 2 {
		for _, other := range s.pending {
			other.company = true
		}
	}
	return c.company, true
}

// assign gives a call its id; called with mu held.
func (s *calls) assign(c *call) {
	if s.pending == nil {
		s.pending, s.abandoned = map[uint32]*call{}, map[uint32]string{}
	}
	s.nextID++
	if s.nextID == 0 { // 0 is the load
		s.nextID = 1
	}
	c.id = s.nextID
}

// await waits for the answer, the deadline or the end of ctx. quit notifies the worker that the answer is no longer
// awaited.
func (s *calls) await(ctx context.Context, c *call, inv *fncontext.Call, quit func(id uint32)) (Result, error) {
	var r reply
	select {
	case r = <-c.done:
	case <-c.timer.C:
		r = s.abandon(c, inv, TimeoutFault, quit)
	case <-ctx.Done():
		r = s.abandon(c, inv, stoppedFault, quit)
	}
	s.recycle(c)
	if r.unsent {
		return Result{}, ErrNotSent
	}
	return r.result, r.fault()
}

func (s *calls) recycle(c *call) {
	c.timer.Stop()
	c.log, c.inv, c.begun, c.back = nil, nil, nil, nil
	callPool.Put(c)
}

// abandon ends the wait for c. If the answer came at the same moment, it wins.
func (s *calls) abandon(
	c *call,
	inv *fncontext.Call,
	why func(*fncontext.Call, string) *fault.Error,
	quit func(uint32),
) reply {
	s.mu.Lock()
	_, waiting := s.pending[c.id]
	delete(s.pending, c.id)
	hint, stack := c.hint, c.stack
	if waiting {
		s.abandoned[c.id] = inv.RequestID
	}
	s.mu.Unlock()
	if !waiting {
		return <-c.done
	}
	if s.worker.Canceled() { // that came first; the kill takes a moment
		return reply{err: CanceledFault()}
	}
	reason := why(inv, hint)
	id := c.id // the caller puts c back
	if reason.Kind == fault.Timeout {
		s.worker.examine(stack, func() { quit(id) })
	} else {
		quit(id)
	}
	return reply{err: reason}
}

// TimeoutFault is the answer to a call whose deadline passed; it names the limit.
func TimeoutFault(inv *fncontext.Call, hint string) *fault.Error {
	return &fault.Error{
		Kind: fault.Timeout,
		Type: fault.TypeTimeout,
		Code: fault.CodeTimeout,
		Hint: hint,
		Message: fmt.Sprintf(
			"call invoke timeout %gs: the handler's deadline passed (RUNTIME_TIMEOUT)",
			inv.Function.Timeout.Seconds(),
		),
	}
}

// CanceledFault is the answer to a call that was ended by force, and to the others on its worker.
func CanceledFault() *fault.Error {
	return &fault.Error{
		Kind:    fault.Canceled,
		Type:    fault.TypeCanceled,
		Code:    fault.CodeCanceled,
		Message: "function invocation canceled",
	}
}

func stoppedFault(*fncontext.Call, string) *fault.Error {
	return &fault.Error{
		Kind:    fault.Unavailable,
		Type:    fault.TypeDraining,
		Code:    fault.CodeUnavailable,
		Message: "the instance stopped before the call was answered",
	}
}

// unsent ends the wait of calls that were not written; except, if not 0, is left to its own deadline.
func (s *calls) unsent(ids []uint32, except uint32) {
	for _, id := range ids {
		if id == except {
			continue
		}
		if c := s.take(id); c != nil {
			c.done <- reply{unsent: true}
		}
	}
}

// fail ends every call that still waits; there will be no more.
func (s *calls) fail(death *fault.Error) {
	s.mu.Lock()
	s.dead = death
	waiting := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, c := range waiting {
		c.done <- reply{err: death}
	}
}

// take removes a pending call; nil if no caller waits for the id.
func (s *calls) take(id uint32) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.pending[id]
	delete(s.pending, id)
	return c
}

// answer hands a reply to the caller that waits for the id, if there still is one.
func (s *calls) answer(id uint32, r reply) {
	if c := s.take(id); c != nil {
		s.worker.answers.Add(1)
		c.done <- r
	} else if s.worker.cfg.Stray != nil {
		s.worker.cfg.Stray()
	}
}

// suggest records the hint for local callers in case the call times out.
func (s *calls) suggest(id uint32, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.pending[id]; c != nil {
		c.hint = hint
	}
}

// only returns the log of the call in flight that output must belong to: one that has been alone since it began. nil if
// there is none, or if another call ran beside it, of which a late line would get a wrong id.
func (s *calls) only() *logger.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) != 1 {
		return nil
	}
	for _, c := range s.pending {
		if !c.company {
			return c.log
		}
	}
	return nil
}

// readOutput reads what the worker and its children have written to the pipes so far, before the answer to the call it
// belongs to.
func (s *calls) readOutput() {
	if s.only() != nil {
		s.worker.output.settle()
	}
}

// overdue reports whether calls were given up that the worker may still be busy with.
func (s *calls) overdue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.abandoned) > 0
}

// stacks is for transports on which a worker cannot be asked.
func (s *calls) stacks(context.Context) (string, error) {
	return "", errors.New("this transport does not carry stacks")
}

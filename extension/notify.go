package extension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/process"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// syncLimit is how long a call waits for extensions that asked for it.
const syncLimit = 2 * time.Second

// Extended reports whether an extension is registered, so that Notify has something to do.
func (h *Host) Extended() bool { return h.taken.Load() > 0 }

// Notify notifies the registered extensions that a call begins. What does not fit a buffer is dropped and counted. The
// buffers are filled in the background, so as not to delay the call. Notify waits only for extensions that registered
// with FunctionGraph-Extension-Mode: sync, at most for two seconds.
func (h *Host) Notify(call *fncontext.Call) {
	if h.taken.Load() == 0 {
		return
	}
	n := newNotification(call, h.urn)
	h.outstanding.Add(1)
	if h.cfg.Costs > 0 { // the notification of all, which ends when each has its own
		h.mu.Lock()
		h.costs.expect(call.RequestID, 1)
		h.mu.Unlock()
	}
	if h.inSync.Load() == 0 {
		go h.offer(n)
		return
	}
	n.answers = &answers{}
	began := time.Now()
	h.offer(n)
	answered := make(chan struct{})
	go func() { // at most as long as a delivery takes
		n.answers.Wait()
		close(answered)
	}()
	timer := time.NewTimer(syncLimit)
	defer timer.Stop()
	select {
	case <-answered:
		if !n.answers.missing.Load() {
			return
		}
	case <-timer.C: // a delivery has the same limit: whichever is first, an answer is missing
	}
	h.cfg.Log.Warn("a call goes on without the answer of an extension in sync mode",
		zap.String("request_id", call.RequestID), zap.Duration("waited", time.Since(began)))
}

// offer buffers n for every extension that asked for calls, and ends Notify's count of it.
func (h *Host) offer(n *notification) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.seats {
		if s != nil && s.invoke && s.offer(n) {
			h.costs.expect(n.requestID, 1)
		}
	}
	h.costs.ended(n.requestID, nil)
	h.outstanding.Add(-1)
}

// quietPoll is how often Quiet looks. Only a stop or a freeze waits for it.
const quietPoll = time.Millisecond

// Quiet waits until every notification was answered or given up, or ctx ends.
func (h *Host) Quiet(ctx context.Context) {
	tick := time.NewTicker(quietPoll)
	defer tick.Stop()
	for h.outstanding.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Costs returns what the extensions cost a call, if it is one of the last Config.Costs calls. Quiet comes first.
func (h *Host) Costs(requestID string) []Cost {
	h.mu.Lock()
	defer h.mu.Unlock()
	if call := h.costs.calls[requestID]; call != nil {
		return call.costs
	}
	return nil
}

// AwaitCosts waits until every notification of a call was answered or given up, or ctx ends; all is false then, and the
// costs are those so far. A call without notifications has none.
func (h *Host) AwaitCosts(ctx context.Context, requestID string) (known []Cost, all bool) {
	h.mu.Lock()
	call := h.costs.calls[requestID]
	h.mu.Unlock()
	if call == nil {
		return nil, true
	}
	select {
	case <-call.all:
		all = true
	case <-ctx.Done():
	}
	return h.Costs(requestID), all
}

// Signal sends sig to the group of every extension that was started here.
func (h *Host) Signal(sig unix.Signal) {
	h.mu.Lock()
	var procs []*process.Process
	for _, e := range h.byName {
		if e.proc != nil {
			procs = append(procs, e.proc)
		}
	}
	h.mu.Unlock()
	for _, p := range procs {
		if err := p.Signal(sig); err != nil {
			h.cfg.Log.Warn("extension not signalled", zap.String("extension", p.Name), zap.Error(err))
		}
	}
}

// Reasons of a stop, as shutdown notices have them.
const (
	ReasonSpindown = "spindown"
	ReasonFailure  = "failure"
)

// sendShutdown posts /extension/shutdown to those that asked for it, and waits for their answers until half of the time
// is over: the other half is for their ends.
func (h *Host) sendShutdown(deadline time.Time, reason string) {
	body, err := json.Marshal(map[string]any{"reason": reason, "deadlineMs": deadline.UnixMilli()})
	if err != nil { // strings and numbers: cannot happen
		return
	}
	limit := time.Now().Add(time.Until(deadline) / 2)
	var sending sync.WaitGroup
	h.mu.Lock()
	for _, s := range h.seats {
		if s != nil && s.shutdown {
			sending.Go(func() { s.sendShutdown(body, limit) })
		}
	}
	h.mu.Unlock()
	sending.Wait()
}

func (s *seat) sendShutdown(body []byte, limit time.Time) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI("http://" + s.addr.String() + "/extension/shutdown")
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentType("application/json")
	req.SetBodyRaw(body)
	client := &fasthttp.HostClient{ // those of the seat may all be taken by one that hangs
		Addr:                     s.addr.String(),
		MaxConns:                 1,
		MaxResponseBodySize:      64 << 10,
		NoDefaultUserAgentHeader: true,
		DisablePathNormalizing:   true,
	}
	defer client.CloseIdleConnections()
	began := time.Now()
	err := client.DoDeadline(req, resp, limit)
	if errors.Is(err, fasthttp.ErrBodyTooLarge) { // only the status counts
		err = nil
	}
	if err == nil && resp.StatusCode()/100 != 2 {
		err = fmt.Errorf("status %d", resp.StatusCode())
	}
	s.host.cfg.Observer.noticed(s.name, began, err)
	if err != nil {
		s.host.cfg.Log.Warn("shutdown notice not answered by the extension", zap.String("extension", s.name), zap.Error(err))
	}
}

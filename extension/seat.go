package extension

import (
	"errors"
	"fmt"
	"gantry/function/socket"
	"gantry/logger"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

const (
	// bufferSize is how many notifications wait for one extension; further ones are dropped.
	bufferSize = 1000
	// maxDeliveries is how many notifications are under way to one extension at once.
	maxDeliveries = 8
	// replyTimeout ends the wait for an extension's answer.
	replyTimeout = 2 * time.Second
	// A refused connection is tried again: an extension may register just before it listens.
	refusedTries = 3
	refusedPause = 150 * time.Millisecond
	// idleLimit is how long a connection to an extension is kept without use. Servers close idle ones after a while,
	// Node.js after 5 s, and whatever meets the close has to be sent again. So we close first.
	idleLimit = time.Second
	// refusedLimit is after how many refusals in a row an extension that was not started here counts as gone.
	refusedLimit = 3
	// complainEvery limits how often failures of one extension are logged.
	complainEvery = time.Minute
)

func newNotification(call *fncontext.Call, urn string) *notification {
	b := make([]byte, 0, 64+len(call.RequestID)+len(urn))
	b = logger.AppendJSONString(append(b, `{"traceId":`...), call.RequestID)
	b = logger.AppendJSONString(append(b, `,"invokedFunctionUrn":`...), urn)
	return &notification{
		requestID: call.RequestID, body: append(b, '}'), traceparent: call.Trace.Parent,
		deadline: strconv.AppendInt(nil, call.Deadline.UnixMilli(), 10),
	}
}

func newSeat(name string, addr netip.AddrPort, h *Host, o *options) *seat {
	return &seat{
		name: name, addr: addr, host: h, url: "http://" + addr.String() + "/extension/invoke",
		buffer: make(chan *notification, bufferSize), quit: make(chan struct{}),
		metrics: h.cfg.Metrics, index: seatOf(addr), options: *o,
		client: &fasthttp.HostClient{
			Addr:                      addr.String(),
			MaxConns:                  maxDeliveries,
			MaxResponseBodySize:       64 << 10,
			NoDefaultUserAgentHeader:  true,
			DisablePathNormalizing:    true,
			MaxIdemponentCallAttempts: 1,
			MaxIdleConnDuration:       idleLimit,
			Dial:                      dial,
		},
	}
}

// dial is the client's own, with reads and writes that cost less: a call of the function has up to ten notifications.
func dial(addr string) (net.Conn, error) {
	conn, err := fasthttp.Dial(addr)
	if err != nil {
		return nil, err
	}
	return socket.Wrap(conn), nil
}

// offer buffers n, or drops it and returns false. It is called with the host's lock held and never blocks.
func (s *seat) offer(n *notification) bool {
	s.host.outstanding.Add(1)
	pending := s.pending.Add(1)
	if s.sync && n.answers != nil {
		n.answers.Add(1)
	}
	select {
	case s.buffer <- n:
	default:
		s.ended(n, false)
		s.metrics.NotificationDrops[s.index].Inc()
		return false
	}
	if running := s.running.Load(); running < pending && running < maxDeliveries { // else one that is idle takes it
		s.running.Add(1)
		s.host.deliveries.Go(s.deliver)
	}
	return true
}

// close ends the deliverers; what is still buffered is dropped and counted.
func (s *seat) close() {
	close(s.quit)
	for {
		select {
		case n := <-s.buffer:
			s.ended(n, false)
			s.metrics.NotificationDrops[s.index].Inc()
		default:
			return
		}
	}
}

// ended records that n was answered, or never will be.
func (s *seat) ended(n *notification, answered bool) {
	if s.sync && n.answers != nil {
		if !answered {
			n.answers.missing.Store(true)
		}
		n.answers.Done()
	}
	s.pending.Add(-1)
	s.host.outstanding.Add(-1)
}

// deliver sends buffered notifications, one after another, until the seat closes.
func (s *seat) deliver() {
	defer s.running.Add(-1)
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	for {
		select {
		case <-s.quit:
			return
		case n := <-s.buffer:
			s.ended(n, s.send(n, req, resp))
		}
	}
}

// send posts n once and reports whether the extension answered, with whatever status.
func (s *seat) send(n *notification, req *fasthttp.Request, resp *fasthttp.Response) bool {
	began := time.Now()
	req.SetRequestURI(s.url)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentType("application/json")
	req.Header.SetBytesV("Gantry-Deadline", n.deadline)
	if n.traceparent != "" {
		req.Header.Set("Traceparent", n.traceparent)
	}
	req.SetBodyRaw(n.body)
	err := s.post(req, resp)
	status := 0
	if err == nil {
		status = resp.StatusCode()
	}
	req.Reset()
	resp.Reset()
	s.account(n, time.Since(began), status, err)
	if err == nil && status/100 == 2 {
		s.reached.Store(true)
		s.refused.Store(0)
		return true
	}
	s.metrics.NotificationFailures[s.index].Inc()
	s.complain(status, err)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		s.refused.Store(0)
	} else if s.refused.Add(1) == refusedLimit {
		go s.lost(s)
	}
	return err == nil
}

// post retries where the extension cannot have seen the request: it did not listen yet, or had closed the kept
// connection, as servers do after some seconds. Of an answer that is too long only the status counts.
func (s *seat) post(req *fasthttp.Request, resp *fasthttp.Response) error {
	for try := 1; ; try++ {
		err := s.client.DoTimeout(req, resp, replyTimeout)
		switch {
		case errors.Is(err, fasthttp.ErrBodyTooLarge):
			return nil
		case errors.Is(err, syscall.ECONNREFUSED) && !s.reached.Load() && try < refusedTries:
			if !s.pause() {
				return err
			}
		case hungUp(err) && s.reached.Load() && try == 1:
			s.client.CloseIdleConnections() // the others are as old
		default:
			return err
		}
	}
}

// hungUp reports whether the connection ended before the first byte of an answer.
func hungUp(err error) bool {
	return errors.Is(err, fasthttp.ErrConnectionClosed) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNRESET)
}

// account notes what the notification cost.
func (s *seat) account(n *notification, took time.Duration, status int, err error) {
	s.metrics.Notifications[s.index].Inc()
	s.metrics.NotificationSeconds[s.index].Add(took.Seconds())
	if ce := s.host.cfg.Log.Check(zap.DebugLevel, "extension notified"); ce != nil {
		ce.Write(
			zap.String("request_id", n.requestID),
			zap.String("extension", s.name),
			zap.Duration("took", took),
			zap.Int("status", status),
			zap.Error(err),
		)
	}
	if s.host.cfg.Costs == 0 {
		return
	}
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("status %d", status)
	}
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	s.host.costs.ended(n.requestID, &Cost{Extension: s.name, Took: took, Sync: s.sync, Err: err})
}

// pause waits before the next try; false if the seat closed meanwhile.
func (s *seat) pause() bool {
	timer := time.NewTimer(refusedPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.quit:
		return false
	}
}

// complain logs the first failure at once, and then one line a minute with their number.
func (s *seat) complain(status int, err error) {
	n := s.failures.Add(1)
	now := time.Now().UnixNano()
	last := s.complainedAt.Load()
	if last != 0 && now-last < int64(complainEvery) || !s.complainedAt.CompareAndSwap(last, now) {
		return
	}
	s.failures.Add(-n)
	why := fmt.Sprintf("it answered with status %d", status)
	if err != nil {
		why = NoAnswer(err)
	}
	s.host.cfg.Log.Warn("notifications fail", zap.String("extension", s.name), zap.String("address", s.addr.String()),
		zap.Int64("failures", n), zap.String("error", why))
}

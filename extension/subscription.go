package extension

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/telemetry"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// Error types of a refused subscription. The platform documents none.
const (
	TypeNotRegistered     = "Telemetry.NotRegistered"
	TypeInvalidBody       = "Telemetry.InvalidBody"
	TypeInvalidURI        = "Telemetry.InvalidURI"
	TypeInvalidTypes      = "Telemetry.InvalidTypes"
	TypeInvalidBuffering  = "Telemetry.InvalidBuffering"
	TypeURIInUse          = "Telemetry.AddressInUse"
	TypeAlreadySubscribed = "Telemetry.AlreadySubscribed"
)

// subscriptionBody is how it is written. Buffering and SchemaVersion are our own.
type subscriptionBody struct {
	SchemaVersion *string `json:"schemaVersion"`
	Subscriber    *struct {
		Protocol string `json:"protocol"`
		URI      string `json:"uri"`
	} `json:"subscriber"`
	Types     []string `json:"types"`
	Buffering *struct {
		MaxItems  *int `json:"maxItems"`
		MaxBytes  *int `json:"maxBytes"`
		TimeoutMs *int `json:"timeoutMs"`
	} `json:"buffering"`
}

// Subscribe makes an extension the subscriber of telemetry. name is the header FunctionGraph-Extension-Name, which may
// be missing. The same request is idempotent; another one is refused until the first one's address refuses connections.
// Errors are *fault.Error with one of the types above.
func (h *Host) Subscribe(name string, body []byte) (err error) {
	defer func() { h.cfg.Observer.subscribed(strings.TrimSpace(name), err) }()
	asked, port, err := parseSubscription(body)
	if err != nil {
		return err
	}
	name = strings.TrimSpace(name)
	for {
		old, err := h.subscribe(name, asked, port)
		if old == nil || err == nil {
			return err
		}
		if !silent(old.port) {
			return err
		}
		h.mu.Lock()
		if h.listener == old {
			h.unlisten(old.owner)
		}
		h.mu.Unlock()
	}
}

// subscribe returns, with the error, the listener that is in the way.
func (h *Host) subscribe(name string, asked *subscription, port uint16) (*listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return nil, refuse(fault.Unavailable, TypeShuttingDown, "the instance is stopping")
	}
	owner, err := h.ownerOf(name, port)
	if err != nil {
		return nil, err
	}
	if l := h.listening(); l != nil {
		if l.asked == *asked {
			return nil, nil
		}
		return l, refuse(
			fault.Invalid,
			TypeAlreadySubscribed,
			fmt.Sprintf(
				"%s at port %d has the one telemetry subscription, and listens; its process has to end first",
				describe(l.owner),
				l.port,
			),
		)
	}
	l := &listener{port: port, owner: owner, asked: *asked, sub: newSubscriber(owner, asked, &h.cfg.Observer)}
	if !h.cfg.Stream.Subscribe(l.sub) {
		return nil, refuse(fault.Unavailable, TypeShuttingDown, "there is no telemetry")
	}
	h.listener = l
	h.cfg.Log.Info("telemetry subscribed", zap.String("extension", owner), zap.String("uri", asked.uri))
	return nil, nil
}

func describe(owner string) string {
	if owner == "" {
		return "a subscriber"
	}
	return owner
}

// ownerOf finds whose subscription it is; called with mu held.
func (h *Host) ownerOf(name string, port uint16) (string, error) {
	if h.registered() == 0 {
		return "", refuse(
			fault.Invalid,
			TypeNotRegistered,
			"no extension is registered; POST /extension/register comes first",
		)
	}
	if e := h.byName[name]; name != "" && (e == nil || e.seat == nil) {
		return "", refuse(
			fault.Invalid,
			TypeNotRegistered,
			fmt.Sprintf("%.100q is not registered; POST /extension/register comes first", name),
		)
	}
	if s := h.seats[port-FirstPort]; s != nil {
		if name != "" && name != s.name {
			return "", refuse(fault.Invalid, TypeURIInUse, fmt.Sprintf("port %d belongs to %s", port, s.name))
		}
		return s.name, nil
	}
	if name == "" && h.registered() == 1 {
		for _, s := range h.seats {
			if s != nil {
				return s.name, nil
			}
		}
	}
	return name, nil
}

// listening returns the listener, or nil if there is none, or if its subscription has ended because its address refused
// connections; called with mu held.
func (h *Host) listening() *listener {
	if h.listener != nil && h.cfg.Stream.Current() != h.listener.sub {
		h.listener = nil
	}
	return h.listener
}

// unlisten ends the subscription of an extension that ended; called with mu held.
func (h *Host) unlisten(name string) {
	if h.listener != nil && h.listener.owner == name {
		h.cfg.Stream.Unsubscribe(h.listener.sub)
		h.listener = nil
	}
}

// probeLimit bounds the probe of a subscriber's port; on loopback the kernel answers at once.
const probeLimit = time.Second

// silent reports whether no process listens at a port.
func silent(port uint16) bool {
	conn, err := net.DialTimeout(
		"tcp",
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String(),
		probeLimit,
	)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// parseSubscription reads the body. One comma before a closing bracket is forgiven, as the platform's own sample has
// it.
func parseSubscription(body []byte) (*subscription, uint16, error) {
	var b subscriptionBody
	if err := json.Unmarshal(withoutTrailingCommas(body), &b); err != nil {
		return nil, 0, refuse(
			fault.Invalid,
			TypeInvalidBody,
			fmt.Sprintf(
				`the body is not of the form {"subscriber":{"protocol":"POST","uri":"http://127.0.0.1:8085"},"types":["platform","function","extension"]}: %.200s`,
				err,
			),
		)
	}
	if b.Subscriber == nil {
		return nil, 0, refuse(fault.Invalid, TypeInvalidBody, `member "subscriber" is missing, with "protocol" and "uri"`)
	}
	if !strings.EqualFold(strings.TrimSpace(b.Subscriber.Protocol), "POST") {
		return nil, 0, refuse(
			fault.Invalid,
			TypeInvalidBody,
			fmt.Sprintf("subscriber.protocol is %.50q, want POST", b.Subscriber.Protocol),
		)
	}
	s := &subscription{
		maxItems: telemetry.DefaultMaxItems,
		maxBytes: telemetry.DefaultMaxBytes,
		timeout:  telemetry.DefaultTimeout,
	}
	port, err := s.readURI(b.Subscriber.URI)
	if err == nil {
		err = s.readTypes(b.Types)
	}
	if err == nil {
		err = s.readBuffering(&b)
	}
	if b.SchemaVersion != nil {
		s.envelope = true
		if *b.SchemaVersion == "" && err == nil {
			err = refuse(fault.Invalid, TypeInvalidBody, "schemaVersion is empty; leave it out for the platform's events")
		}
	}
	return s, port, err
}

func (s *subscription) readURI(text string) (port uint16, err error) {
	bad := func(why string) error {
		return refuse(
			fault.Invalid,
			TypeInvalidURI,
			fmt.Sprintf("subscriber.uri %.100q %s; write for example http://127.0.0.1:%d", text, why, FirstPort),
		)
	}
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil || u.Host == "":
		return 0, bad("is no URL")
	case u.Scheme != "http":
		return 0, bad("is not http")
	case u.User != nil || u.Fragment != "" || strings.Contains(u.RawQuery, " "):
		return 0, bad("has a user, a fragment or a blank")
	case u.Hostname() != "127.0.0.1" && !strings.EqualFold(u.Hostname(), "localhost"):
		return 0, bad("is not on 127.0.0.1")
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil || n < FirstPort || n > LastPort {
		return 0, bad(fmt.Sprintf("has no port from %d to %d", FirstPort, LastPort))
	}
	s.uri = fmt.Sprintf("http://127.0.0.1:%d%s", n, u.RequestURI())
	return uint16(n), nil
}

func (s *subscription) readTypes(names []string) error {
	const want = "want platform, function and extension, or some of them"
	for _, name := range names {
		bit := telemetry.Type(0)
		for i, known := range telemetry.TypeNames {
			if strings.EqualFold(strings.TrimSpace(name), known) {
				bit = 1 << i
			}
		}
		if bit == 0 {
			return refuse(fault.Invalid, TypeInvalidTypes, fmt.Sprintf("types has %.50q, %s", name, want))
		}
		s.types |= bit
	}
	if s.types == 0 {
		return refuse(fault.Invalid, TypeInvalidTypes, "types is empty or missing, "+want)
	}
	return nil
}

func (s *subscription) readBuffering(b *subscriptionBody) error {
	if b.Buffering == nil {
		return nil
	}
	read := func(name string, v *int, low, high int, to *int) error {
		if v == nil {
			return nil
		}
		if *v < low || *v > high {
			return refuse(
				fault.Invalid,
				TypeInvalidBuffering,
				fmt.Sprintf("buffering.%s is %d, want %d to %d", name, *v, low, high),
			)
		}
		*to = *v
		return nil
	}
	millis := int(s.timeout.Milliseconds())
	err := errors.Join( // only the first one is reported
		read("maxItems", b.Buffering.MaxItems, 1000, 10000, &s.maxItems),
		read("maxBytes", b.Buffering.MaxBytes, 256<<10, 1<<20, &s.maxBytes),
		read("timeoutMs", b.Buffering.TimeoutMs, 25, 30000, &millis),
	)
	s.timeout = time.Duration(millis) * time.Millisecond
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return nil
}

// withoutTrailingCommas takes out commas before a closing bracket, outside of strings.
func withoutTrailingCommas(b []byte) []byte {
	out := make([]byte, 0, len(b))
	quoted, escaped := false, false
	for i, c := range b {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			if rest := bytes.TrimLeft(b[i+1:], " \t\r\n"); len(rest) > 0 && (rest[0] == ']' || rest[0] == '}') {
				continue
			}
		}
		out = append(out, c)
	}
	return out
}

// deliveryLimit bounds one attempt to deliver a batch.
const deliveryLimit = 2 * time.Second

// postman posts batches to the subscriber, one at a time.
type postman struct {
	client   *fasthttp.HostClient
	url      string
	observer *Observer

	mu   sync.Mutex
	ctx  context.Context // of the request under way
	conn net.Conn
}

func newSubscriber(owner string, asked *subscription, o *Observer) *telemetry.Subscriber {
	p := &postman{url: asked.uri, observer: o}
	u, _ := url.Parse(asked.uri) // we wrote it
	p.client = &fasthttp.HostClient{
		Addr:                      u.Host,
		MaxConns:                  1,
		MaxResponseBodySize:       64 << 10,
		NoDefaultUserAgentHeader:  true,
		DisablePathNormalizing:    true,
		MaxIdemponentCallAttempts: 1,
		MaxIdleConnDuration:       idleLimit,
		Dial:                      p.dial,
	}
	return &telemetry.Subscriber{
		Name:     owner,
		Types:    asked.types,
		Envelope: asked.envelope,
		MaxItems: asked.maxItems,
		MaxBytes: asked.maxBytes,
		Timeout:  asked.timeout,
		Send:     p.send,
	}
}

// dial ends with the request's context: an address may neither take connections nor refuse them.
func (p *postman) dial(addr string) (net.Conn, error) {
	p.mu.Lock()
	ctx := p.ctx
	p.mu.Unlock()
	dialer := net.Dialer{Timeout: deliveryLimit}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil { // hangUp was here before the connection
		return nil, errors.Join(ctx.Err(), conn.Close())
	}
	p.conn = conn
	return conn, nil
}

// send is telemetry.Subscriber.Send.
func (p *postman) send(ctx context.Context, batch []byte) error {
	began := time.Now()
	err := p.post(ctx, batch)
	p.observer.batch(batch, began, err)
	return err
}

// post is one attempt. Any 2xx is fine, whatever comes with it; of 4xx another attempt gets the same.
func (p *postman) post(ctx context.Context, batch []byte) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(p.url)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentType("application/json")
	req.SetBodyRaw(batch)
	p.mu.Lock()
	p.ctx = ctx
	p.mu.Unlock()
	defer context.AfterFunc(ctx, p.hangUp)()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := p.client.DoTimeout(req, resp, deliveryLimit)
	status := resp.StatusCode()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: %w", telemetry.ErrGone, err)
	case err != nil && !errors.Is(err, fasthttp.ErrBodyTooLarge):
		return err
	case status/100 == 2:
		return nil
	case status/100 == 4 && status != fasthttp.StatusRequestTimeout && status != fasthttp.StatusTooManyRequests:
		return fmt.Errorf("%w: status %d", telemetry.ErrFinal, status)
	}
	return fmt.Errorf("status %d", status)
}

// hangUp ends the request under way.
func (p *postman) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.Close() // the request's error says it
	}
}

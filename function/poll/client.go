// Package poll is the client's side of the runtime API, which the platform serves to custom runtimes at
// RUNTIME_API_ADDR (page functiongraph_01_0406): ask for an event, post its result or its error. Standard library only:
// Go functions import it.
package poll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// New returns a Client for host:port, the value of RUNTIME_API_ADDR. It does not connect yet.
func New(addr string) *Client {
	return &Client{addr: addr, backoff: firstBackoff, held: heldFrom, stall: stallLimit, quick: quickRefusal}
}

// Next waits for an event, as long as it takes: through answers without one and through outages. When ctx ends it says
// so to the other side by closing its half of the connection and returns ctx's error; but an event that comes within
// HandoverGrace is returned without an error, as it would be lost otherwise. After a *TooLargeError Next can be called
// again.
func (c *Client) Next(ctx context.Context) (*Event, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.head = fmt.Appendf(c.head[:0], "GET %srequest HTTP/1.1\r\nHost: %s\r\nUser-Agent: gantry\r\n\r\n", path, c.addr)
		began := time.Now()
		resp, err := c.exchange(ctx, http.MethodGet, c.head, nil)
		pause := emptyPause
		if err == nil {
			id := resp.header.Get("X-Cff-Request-Id")
			c.asked(resp.status, time.Since(began))
			switch {
			case resp.status == http.StatusOK && id != "" && resp.cut:
				return nil, &TooLargeError{RequestID: id}
			case resp.status == http.StatusOK && id != "":
				return &Event{RequestID: id, Header: resp.header, Body: resp.body}, nil
			}
		} else {
			pause = c.failed(ctx, err)
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// Respond posts the result of a call and tries until it is accepted, refused with a *StatusError, or ctx ends: give it
// one with a deadline, and not the one that ends Next. Statuses 200 to 299 accept. 404, 409 and 410 do so too once an
// earlier try broke off, which may have got through.
func (c *Client) Respond(ctx context.Context, requestID string, body []byte) error {
	kind := "application/octet-stream"
	if looksLikeJSON(body) {
		kind = "application/json"
	}
	return c.post(ctx, "response", kind, requestID, body)
}

// Fail posts the error of a call, as Respond does a result. The body is a JSON document with errorType and
// errorMessage.
func (c *Client) Fail(ctx context.Context, requestID string, body []byte) error {
	return c.post(ctx, "error", "application/json", requestID, body)
}

func (c *Client) post(ctx context.Context, what, kind, requestID string, body []byte) error {
	if requestID == "" {
		return errors.New("an answer needs the request id of its event")
	}
	head := fmt.Appendf(
		nil,
		"POST %s%s/%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: gantry\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		path,
		what,
		url.PathEscape(requestID),
		c.addr,
		kind,
		len(body),
	)
	mayBeThere := false
	for refused := 0; ; {
		resp, err := c.exchange(ctx, http.MethodPost, head, body)
		if err != nil {
			mayBeThere = mayBeThere || !errors.Is(err, errNotSent)
			if err := sleep(ctx, c.failed(ctx, err)); err != nil {
				return fmt.Errorf("the %s of request %q was not accepted: %w", what, requestID, err)
			}
			continue
		}
		c.worked()
		switch s := resp.status; {
		case s >= 200 && s < 300:
			return nil
		case mayBeThere && (s == http.StatusNotFound || s == http.StatusConflict || s == http.StatusGone):
			return nil
		case (s == http.StatusTooManyRequests || s >= 500) && refused < overloadTries:
			refused++
			if sleep(ctx, emptyPause<<refused) == nil {
				continue
			}
		}
		return &StatusError{Status: resp.status, Body: string(resp.body[:min(len(resp.body), 500)])}
	}
}

// asked records the answer to a poll. A refusal may say that there is none, as a proxy's does
// after a while; many in a row, each at once, are an outage.
func (c *Client) asked(status int, took time.Duration) {
	c.refusals++
	if status < 300 || took > c.quick {
		c.refusals = 0
	}
	if c.refusals < strangeFrom {
		c.worked()
		return
	}
	c.broke(
		fmt.Errorf(
			"the runtime API at %s answers %d %s to every question for an event: is it one?",
			c.addr,
			status,
			http.StatusText(status),
		),
	)
}

// failed records a broken connection and returns how long to wait before the next try.
func (c *Client) failed(ctx context.Context, err error) time.Duration {
	if errors.Is(err, errStale) || ctx.Err() != nil {
		return 0
	}
	pause := c.backoff
	c.backoff = min(2*c.backoff, maxBackoff)
	c.broke(fmt.Errorf("the runtime API at %s cannot be used: %w", c.addr, err))
	return pause
}

// broke begins an outage, unless there is one.
func (c *Client) broke(err error) {
	if c.outage {
		return
	}
	c.outage = true
	if c.Remark != nil {
		c.Remark(err)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// looksLikeJSON recognises objects and arrays by their ends; parsing would cost more than the type is worth.
func looksLikeJSON(body []byte) bool {
	b := bytes.Trim(body, " \t\r\n")
	if len(b) < 2 {
		return false
	}
	return b[0] == '{' && b[len(b)-1] == '}' || b[0] == '[' && b[len(b)-1] == ']'
}

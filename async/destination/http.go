package destination

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// Timeout bounds one attempt to send an outcome message.
const Timeout = 30 * time.Second

// Post sends a request that is signed as the platform wants it, with further headers as names and values in turn. It
// returns the answer's body.
func (s *Sender) Post(
	ctx context.Context,
	endpoint *Endpoint,
	path string,
	body []byte,
	more ...string,
) ([]byte, error) {
	base, err := url.Parse(endpoint.URL)
	if err != nil {
		return nil, err
	}
	path = strings.TrimSuffix(base.EscapedPath(), "/") + path
	header := map[string]string{"Content-Type": "application/json"}
	for i := 0; i+1 < len(more); i += 2 {
		header[more[i]] = more[i+1]
	}
	if endpoint.Access != "" {
		date, authorization, err := s.Sign(fasthttp.MethodPost, path, body, endpoint.Access, endpoint.Secret)
		if err != nil {
			return nil, err
		}
		header["X-Sdk-Date"], header["Authorization"] = date, authorization
	}
	return exchange(ctx, fasthttp.MethodPost, base.Scheme+"://"+base.Host+path, header, body)
}

var client = &fasthttp.Client{
	// a short MaxIdleConnDuration, because servers close idle connections too
	Name: "gantry", NoDefaultUserAgentHeader: true, MaxResponseBodySize: 1 << 20, MaxIdleConnDuration: time.Second,
	DisablePathNormalizing: true, ReadTimeout: Timeout, WriteTimeout: Timeout,
	MaxIdemponentCallAttempts: 1, // the queue repeats, with pauses; the client would repeat a PUT at once
}

// exchange sends one request and returns the answer's body; anything but 2xx is an error.
func exchange(ctx context.Context, method, uri string, header map[string]string, body []byte) ([]byte, error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	req.URI().DisablePathNormalizing = true
	req.SetRequestURI(uri)
	req.Header.SetMethod(method)
	for name, value := range header {
		req.Header.Set(name, value)
	}
	req.SetBody(body)
	deadline, _ := ctx.Deadline()
	done := make(chan error, 1)
	go func() { done <- client.DoDeadline(req, resp, deadline) }()
	select {
	case err := <-done:
		defer fasthttp.ReleaseRequest(req)
		defer fasthttp.ReleaseResponse(resp)
		if err != nil && !errors.Is(err, fasthttp.ErrBodyTooLarge) { // the status has come then
			return nil, err
		}
	case <-ctx.Done(): // the client keeps req and resp; the result is not known
		return nil, context.Cause(ctx)
	}
	status := resp.StatusCode()
	if status >= 200 && status < 300 {
		return bytes.Clone(resp.Body()), nil
	}
	r := &Refused{Status: status, Text: fmt.Sprintf("status %d: %.300q", status, resp.Body())}
	switch status {
	case fasthttp.StatusBadRequest,
		fasthttp.StatusMethodNotAllowed,
		fasthttp.StatusRequestEntityTooLarge,
		fasthttp.StatusUnprocessableEntity:
		r.Final = !damaged(resp.Body()) // the same request again gets the same answer; rights, buckets and topics may come
	}
	if seconds, err := strconv.Atoi(string(resp.Header.Peek("Retry-After"))); err == nil && seconds > 0 {
		r.After = time.Duration(seconds) * time.Second
	}
	return nil, r
}

// damaged recognises S3's refusals, all of status 400, of a request that arrived altered or incomplete.
func damaged(answer []byte) bool {
	for _, code := range []string{"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch"} {
		if bytes.Contains(answer, []byte("<Code>"+code+"</Code>")) {
			return true
		}
	}
	return false
}

func (s *Sender) projectOf(endpoint *Endpoint) string {
	if endpoint.ProjectID != "" {
		return endpoint.ProjectID
	}
	return s.Function.Project
}

package async

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// sendTimeout bounds one attempt to send a notification.
const sendTimeout = 30 * time.Second

// send takes a notification to its destination.
func (e *engine) send(ctx context.Context, d *Destination, id string, hops int, text []byte) error {
	var p param
	if err := json.Unmarshal([]byte(d.Param), &p); err != nil {
		return &refusedError{text: "the stored param cannot be read: " + err.Error(), final: true}
	}
	endpoints := e.q.cfg.Endpoints
	switch d.Kind {
	case kindOBS:
		if endpoints.OBS.URL != "" {
			return e.putObject(ctx, &endpoints.OBS, &p, e.objectName(&p, id), text)
		}
		return e.writeFile(path.Join(kindOBS, p.Bucket, e.objectName(&p, id)), text)
	case kindSMN:
		if endpoints.SMN.URL != "" {
			return e.publishTopic(ctx, &endpoints.SMN, p.TopicURN, text)
		}
		return e.writeFile(path.Join(kindSMN, p.TopicURN, id+".json"), text)
	case kindDIS:
		if endpoints.DIS.URL != "" {
			return e.putRecord(ctx, &endpoints.DIS, p.StreamName, id, text)
		}
		return e.writeFile(path.Join(kindDIS, p.StreamName, id+".json"), text)
	case kindFunction:
		return e.deliverFunction(ctx, p.FunctionURN, id, hops, text)
	}
	return &refusedError{text: "unknown destination " + d.Kind, final: true}
}

// objectName is where an outcome lies in its bucket; the platform publishes no layout (docs/COMPATIBILITY.md).
func (e *engine) objectName(p *param, id string) string {
	at, _ := acceptedAt(id)
	return strings.TrimPrefix(path.Join("/"+p.Prefix, e.q.cfg.Function.Name, at.Format("2006/01/02"), id+".json"), "/")
}

// callFunction makes the notification an event: of a function on the same cluster, of a function whose platform API is
// known, or a file. It returns the request that the event became; nil for none.
func (e *engine) callFunction(ctx context.Context, urn, id string, hops int, text []byte) (*next, error) {
	if hops >= maxHops {
		return nil, &refusedError{text: fmt.Sprintf("the outcome of an outcome, %d times over: functions are each other's destinations", hops), final: true}
	}
	if len(text) > MaxEvent {
		return nil, &refusedError{text: fmt.Sprintf("the notification has %d bytes, more than an event may have", len(text)), final: true}
	}
	u, err := fncontext.ParseURN(urn)
	if err != nil {
		return nil, &refusedError{text: err.Error(), final: true}
	}
	if endpoint, ok := e.endpointOf(urn); ok {
		return e.callRemote(ctx, &endpoint, urn, hops+1, text)
	}
	u = e.complete(u)
	target := *e.q.cfg.Function
	target.Region, target.Project, target.Package, target.Name = u.Region, u.Project, u.Package, u.Name
	versions := []string{u.Version, e.q.cfg.Function.Version}
	for _, version := range versions {
		target.Version = version
		prefix := "gantry." + key(&target)
		if _, err := e.js.Stream(ctx, streamName(prefix)+"_events"); errors.Is(err, jetstream.ErrStreamNotFound) || version == "" {
			continue
		} else if err != nil {
			return nil, err
		}
		made := &next{Prefix: prefix, URN: urn, RequestID: newID()}
		msg := &nats.Msg{Subject: prefix + ".event." + made.RequestID, Data: text, Header: nats.Header{headerVersion: {u.Version}, HeaderHops: {strconv.Itoa(hops + 1)}}}
		if u.Alias != "" {
			msg.Header[headerAlias] = []string{u.Alias}
		}
		_, err := e.js.PublishMsg(ctx, msg)
		return made, err
	}
	return nil, e.writeFile(path.Join(kindFunction, strings.ReplaceAll(urn, "/", "_"), id+".json"), text)
}

// complete fills in what a short URN leaves out: this function's own.
func (e *engine) complete(u fncontext.URN) fncontext.URN {
	fn := e.q.cfg.Function
	u.Region, u.Project, u.Package = cmp.Or(u.Region, fn.Region), cmp.Or(u.Project, fn.Project), cmp.Or(u.Package, fn.Package)
	return u
}

// endpointOf finds a function's endpoint, whatever form the two URNs have. An endpoint for the version or alias goes
// before one for all.
func (e *engine) endpointOf(urn string) (found Endpoint, ok bool) {
	want, err := fncontext.ParseURN(urn)
	if err != nil {
		return Endpoint{}, false
	}
	want = e.complete(want)
	all := e.q.cfg.Endpoints.Functions
	for _, key := range slices.Sorted(maps.Keys(all)) { // of two that mean the same, always the same one
		u, err := fncontext.ParseURN(key)
		if err != nil {
			continue
		}
		u = e.complete(u)
		if colons := strings.Count(key, ":"); colons == 3 || colons == 7 { // the last field is there
			if u == want {
				return all[key], true
			}
			continue
		}
		if u.Version, u.Alias = want.Version, want.Alias; u == want && !ok {
			found, ok = all[key], true
		}
	}
	return found, ok
}

// callRemote makes the notification an event at another agent's platform API, which makes the request's id.
func (e *engine) callRemote(ctx context.Context, endpoint *Endpoint, urn string, hops int, text []byte) (*next, error) {
	answer, err := e.post(ctx, endpoint, e.functionPath(urn)+"/invocations-async", text, HeaderHops, strconv.Itoa(hops))
	if err != nil {
		return nil, err
	}
	made := &next{URN: urn}
	if json.Unmarshal(answer, made) != nil || made.RequestID == "" {
		e.q.cfg.Log.Debug("a function was called and did not say its request id", zap.String("urn", urn))
		return nil, nil //nolint:nilerr // it was called; only a recursive cancel would want the id
	}
	return made, nil
}

// functionPath is where the platform API has a function.
func (e *engine) functionPath(urn string) string {
	project := e.q.cfg.Function.Project
	if u, err := fncontext.ParseURN(urn); err == nil && u.Project != "" {
		project = u.Project
	}
	return "/v2/" + url.PathEscape(project) + "/fgs/functions/" + url.PathEscape(urn)
}

// publishTopic is SMN's message publication.
func (e *engine) publishTopic(ctx context.Context, endpoint *Endpoint, topic string, text []byte) error {
	body, err := json.Marshal(map[string]string{"subject": "FunctionGraph " + e.q.cfg.Function.Name, "message": string(text)})
	if err != nil {
		return err
	}
	_, err = e.post(ctx, endpoint, "/v2/"+url.PathEscape(e.projectOf(endpoint))+"/notifications/topics/"+url.PathEscape(topic)+"/publish", body)
	return err
}

// putRecord is DIS's upload of records.
func (e *engine) putRecord(ctx context.Context, endpoint *Endpoint, stream, id string, text []byte) error {
	body, err := json.Marshal(map[string]any{"stream_name": stream, "records": []map[string]string{{"data": base64.StdEncoding.EncodeToString(text), "partition_key": id}}})
	if err != nil {
		return err
	}
	answer, err := e.post(ctx, endpoint, "/v2/"+url.PathEscape(e.projectOf(endpoint))+"/records", body)
	if err != nil {
		return err
	}
	var taken struct {
		Failed int `json:"failed_record_count"`
	}
	if json.Unmarshal(answer, &taken) == nil && taken.Failed > 0 {
		return &refusedError{status: fasthttp.StatusOK, text: fmt.Sprintf("the stream did not take it: %.300q", answer)}
	}
	return nil
}

func (e *engine) projectOf(endpoint *Endpoint) string {
	if endpoint.ProjectID != "" {
		return endpoint.ProjectID
	}
	return e.q.cfg.Function.Project
}

// post sends a request that is signed as the platform wants it, with further headers as names and values in turn. It
// returns the answer's body.
func (e *engine) post(ctx context.Context, endpoint *Endpoint, path string, body []byte, more ...string) ([]byte, error) {
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
		date, authorization, err := e.q.cfg.Sign(fasthttp.MethodPost, path, body, endpoint.Access, endpoint.Secret)
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
	DisablePathNormalizing: true, ReadTimeout: sendTimeout, WriteTimeout: sendTimeout,
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
	r := &refusedError{status: status, text: fmt.Sprintf("status %d: %.300q", status, resp.Body())}
	switch status {
	case fasthttp.StatusBadRequest, fasthttp.StatusMethodNotAllowed, fasthttp.StatusRequestEntityTooLarge, fasthttp.StatusUnprocessableEntity:
		r.final = !damaged(resp.Body()) // the same request again gets the same answer; rights, buckets and topics may come
	}
	if seconds, err := strconv.Atoi(string(resp.Header.Peek("Retry-After"))); err == nil && seconds > 0 {
		r.after = time.Duration(seconds) * time.Second
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

// putObject is S3's PutObject, with a signature of version 4; OBS takes it as well.
func (e *engine) putObject(ctx context.Context, endpoint *Endpoint, p *param, name string, text []byte) error {
	base, err := url.Parse(endpoint.URL)
	if err != nil {
		return err
	}
	path := strings.TrimSuffix(base.EscapedPath(), "/") + "/" + escapePath(p.Bucket+"/"+name)
	now := e.q.cfg.Now().UTC()
	header := map[string]string{"Content-Type": "application/json", "X-Amz-Date": now.Format("20060102T150405Z"), "X-Amz-Content-Sha256": hash(text)}
	if p.Expires > 0 {
		header["X-Obs-Expires"] = strconv.Itoa(p.Expires)
	}
	if endpoint.Access != "" {
		// the client sends the host in small letters
		header["Authorization"] = signV4(endpoint, strings.ToLower(base.Host), path, header, now)
	}
	_, err = exchange(ctx, fasthttp.MethodPut, base.Scheme+"://"+base.Host+path, header, text)
	return err
}

// escapePath encodes as S3 signs: everything but the unreserved characters and slashes.
func escapePath(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c == '/' || c == '-' || c == '_' || c == '.' || c == '~' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// signV4 is the Authorization of a PUT by AWS's signature version 4.
func signV4(endpoint *Endpoint, host, path string, header map[string]string, now time.Time) string {
	region := endpoint.Region
	if region == "" {
		region = "us-east-1"
	}
	const signed = "host;x-amz-content-sha256;x-amz-date"
	canonical := strings.Join([]string{
		"PUT", path, "", "host:" + host, "x-amz-content-sha256:" + header["X-Amz-Content-Sha256"], "x-amz-date:" + header["X-Amz-Date"], "", signed, header["X-Amz-Content-Sha256"],
	}, "\n")
	scope := strings.Join([]string{now.Format("20060102"), region, "s3", "aws4_request"}, "/")
	k := []byte("AWS4" + endpoint.Secret)
	for _, part := range strings.Split(scope, "/") {
		k = keyed(k, part)
	}
	text := strings.Join([]string{"AWS4-HMAC-SHA256", header["X-Amz-Date"], scope, hash([]byte(canonical))}, "\n")
	return fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", endpoint.Access, scope, signed, hex.EncodeToString(keyed(k, text)))
}

func keyed(k []byte, text string) []byte {
	mac := hmac.New(sha256.New, k)
	_, _ = mac.Write([]byte(text)) // never fails
	return mac.Sum(nil)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

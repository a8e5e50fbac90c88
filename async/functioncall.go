package async

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/async/destination"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// callFunction makes the outcome message an event: of a function on the same cluster, of a function whose platform API
// is known, or a file. It returns the request that the event became; nil for none.
func (e *engine) callFunction(ctx context.Context, urn string, m *destination.Message) (*next, error) {
	if m.Hops >= maxHops {
		return nil, &destination.Refused{
			Text:  fmt.Sprintf("the outcome of an outcome, %d times over: functions are each other's destinations", m.Hops),
			Final: true,
		}
	}
	if len(m.Text) > MaxEvent {
		return nil, &destination.Refused{
			Text:  fmt.Sprintf("the outcome message has %d bytes, more than an event may have", len(m.Text)),
			Final: true,
		}
	}
	u, err := fncontext.ParseURN(urn)
	if err != nil {
		return nil, &destination.Refused{Text: err.Error(), Final: true}
	}
	if endpoint, ok := e.sender.EndpointOf(urn); ok {
		return e.callRemote(ctx, &endpoint, urn, m.Hops+1, m.Text)
	}
	u = e.sender.Complete(u)
	target := *e.q.cfg.Function
	target.Region, target.Project, target.Package, target.Name = u.Region, u.Project, u.Package, u.Name
	versions := []string{u.Version, e.q.cfg.Function.Version}
	for _, version := range versions {
		target.Version = version
		if version == "" {
			continue
		}
		key := key(&target)
		subject, err := e.subjectOf(ctx, key)
		if err != nil {
			return nil, err
		}
		if subject == "" {
			continue
		}
		made := &next{Prefix: prefixOf(key), URN: urn, RequestID: newID()}
		msg := &nats.Msg{
			Subject: subject + made.RequestID,
			Data:    m.Text,
			Header:  nats.Header{headerVersion: {u.Version}, HeaderHops: {strconv.Itoa(m.Hops + 1)}},
		}
		if u.Alias != "" {
			msg.Header[headerAlias] = []string{u.Alias}
		}
		_, err = e.publish(ctx, msg)
		return made, err
	}
	return nil, e.sender.WriteFile(
		path.Join(destination.Function, strings.ReplaceAll(urn, "/", "_"), m.RequestID+".json"),
		m.Text,
	)
}

// subjectOf is where the events of the function with that key go, up to the request id; empty if these servers do not
// know it.
func (e *engine) subjectOf(ctx context.Context, key string) (string, error) {
	f, err := e.readFunction(ctx, key)
	if err != nil {
		return "", err
	}
	if f.revision > 0 {
		return sharedLayout(key, e.shards).event, nil
	}
	if e.confined.Load() {
		return "", nil
	}
	old := separateLayout(key)
	_, err = e.js.Stream(ctx, old.events)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", nil
	}
	return old.event, err
}

// callRemote makes the outcome message an event at another agent's platform API, which makes the request's id.
func (e *engine) callRemote(
	ctx context.Context,
	endpoint *destination.Endpoint,
	urn string,
	hops int,
	text []byte,
) (*next, error) {
	answer, err := e.sender.Post(
		ctx,
		endpoint,
		e.functionPath(urn)+"/invocations-async",
		text,
		HeaderHops,
		strconv.Itoa(hops),
	)
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

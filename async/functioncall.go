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
		made := &next{Prefix: prefixOf(key), URN: urn, RequestID: newID()}
		msg := &nats.Msg{
			Data: m.Text, Header: nats.Header{headerVersion: {u.Version}, HeaderHops: {strconv.Itoa(m.Hops + 1)}},
		}
		if u.Alias != "" {
			msg.Header[headerAlias] = []string{u.Alias}
		}
		known, err := e.queueFor(ctx, key, made.RequestID, msg)
		if e.isDenied(err) {
			err = errDestinationDenied(err)
		}
		if known || err != nil {
			return made, err
		}
	}
	return nil, e.sender.WriteFile(
		path.Join(destination.Function, strings.ReplaceAll(urn, "/", "_"), m.RequestID+".json"),
		m.Text,
	)
}

// queueFor stores an event of the function with that key; false if these servers do not know the function. As long as
// it has open streams of an earlier release, the event goes there: agents of either release take it.
func (e *engine) queueFor(ctx context.Context, key, id string, msg *nats.Msg) (known bool, err error) {
	f, err := e.readFunction(ctx, key)
	if err != nil || f.revision == 0 && e.confined.Load() {
		return false, err
	}
	if !e.confined.Load() {
		old := separateLayout(key)
		msg.Subject = old.event + id
		_, err = e.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
		if err == nil || !errors.Is(err, jetstream.ErrNoStreamResponse) {
			return err == nil, err
		}
		if f.revision == 0 { // it is there, but has no leader, or it is not
			if _, why := e.js.Stream(ctx, old.events); errors.Is(why, jetstream.ErrStreamNotFound) {
				return false, nil
			}
			return false, err
		}
	}
	msg.Subject = sharedLayout(key, e.shards).event + id
	_, err = e.publish(ctx, msg)
	return err == nil, err
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

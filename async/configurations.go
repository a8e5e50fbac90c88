package async

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"gantry/fault"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// configurationKey is the last field of a URN as a key, in letters that keys may have.
func configurationKey(version, alias string) string {
	kind, name := "version.", version
	if alias != "" {
		kind, name = "alias.", alias
	}
	return kind + base64.RawURLEncoding.EncodeToString([]byte(name))
}

// Configuration returns what is set for a version or alias; a NotFound fault if nothing is.
func (q *Queue) Configuration(ctx context.Context, version, alias string) (*Configuration, error) {
	e, err := q.engine(ctx)
	if err != nil {
		return nil, err
	}
	if c := e.configuration(configurationKey(version, alias)); c != nil {
		return c, nil
	}
	return nil, noConfiguration()
}

func noConfiguration() *fault.Error {
	return &fault.Error{
		Kind:    fault.NotFound,
		Type:    fault.TypeNotFound,
		Code:    fault.CodeBadRequest,
		Message: "The specified resource was not found: no asynchronous configuration is set here",
	}
}

// SetConfiguration replaces what is set; an Invalid fault if an outcome message would have no name as a file. It is in
// force, here and at every agent of the same function, from then on.
func (q *Queue) SetConfiguration(
	ctx context.Context,
	version, alias, urn string,
	c *Configuration,
) (*Configuration, error) {
	if err := checkFiles(q.cfg.Endpoints, c); err != nil {
		return nil, err
	}
	e, err := q.engine(ctx)
	if err != nil {
		return nil, err
	}
	key, now := configurationKey(version, alias), q.cfg.Now().Format(time.RFC3339)
	stored := *c
	stored.FunctionURN, stored.Created, stored.Modified = urn, now, now
	if old := e.configuration(key); old != nil {
		stored.Created = old.Created
	}
	text, err := json.Marshal(&stored)
	if err != nil {
		return nil, err
	}
	revision, err := e.configs.Put(ctx, key, text)
	if err != nil {
		return nil, unavailable("the configuration cannot be stored", err)
	}
	e.follow(key, &stored, revision)
	return &stored, nil
}

// DeleteConfiguration removes what is set; a NotFound fault if nothing is.
func (q *Queue) DeleteConfiguration(ctx context.Context, version, alias string) error {
	e, err := q.engine(ctx)
	if err != nil {
		return err
	}
	key := configurationKey(version, alias)
	if e.configuration(key) == nil {
		return noConfiguration()
	}
	// Like configs.Delete, which does not return the revision: a newer change may have been taken over before the
	// answer.
	marker := &nats.Msg{
		Subject: e.kvPrefix() + "$KV." + e.configs.Bucket() + "." + key,
		Header:  nats.Header{"KV-Operation": {"DEL"}},
	}
	ack, err := e.js.PublishMsg(ctx, marker)
	if err != nil {
		return unavailable("the configuration cannot be removed", err)
	}
	e.follow(key, nil, ack.Sequence)
	return nil
}

// kvPrefix leads messages to the buckets of another domain; the servers of a domain keep their $KV to themselves.
func (e *engine) kvPrefix() string {
	if e.q.cfg.Domain == "" {
		return ""
	}
	return "$JS." + e.q.cfg.Domain + ".API."
}

// Configurations lists all, in the order of their URNs.
func (q *Queue) Configurations(ctx context.Context) ([]*Configuration, error) {
	e, err := q.engine(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*Configuration
	for _, f := range e.inForce {
		if f.configuration != nil {
			all = append(all, f.configuration)
		}
	}
	slices.SortFunc(all, func(a, b *Configuration) int { return strings.Compare(a.FunctionURN, b.FunctionURN) })
	return all, nil
}

func (e *engine) configuration(key string) *Configuration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inForce[key].configuration
}

// follow takes a change over, unless a newer one is known; nil removes.
func (e *engine) follow(key string, c *Configuration, revision uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if revision > e.inForce[key].revision {
		e.inForce[key] = inForce{c, revision}
	}
}

// watchConfigurations reads all configurations, until ctx ends, then follows the changes of all agents as long as the
// engine lives.
func (e *engine) watchConfigurations(ctx context.Context) error {
	watcher, err := e.configs.WatchAll(e.ctx)
	if err != nil {
		return err
	}
	for {
		select {
		case entry, open := <-watcher.Updates():
			switch {
			case !open:
				return errors.New("the configurations cannot be read to their end")
			case entry != nil:
				e.changed(entry)
				continue
			}
			e.tasks.Go(func() { e.followConfigurations(watcher) })
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// followConfigurations takes changes over. A watcher that a cluster has dropped is replaced; the new one begins with
// all configurations.
func (e *engine) followConfigurations(watcher jetstream.KeyWatcher) {
	for {
		for entry := range watcher.Updates() {
			if entry != nil {
				e.changed(entry)
			}
		}
		for again := false; !again; {
			pause(e.ctx, fetchPause)
			if e.ctx.Err() != nil {
				return
			}
			next, err := e.configs.WatchAll(e.ctx)
			if again = err == nil; again {
				watcher = next
			} else if e.ctx.Err() == nil {
				e.q.causes.Warn("changes of configurations by other agents are not seen; it is tried again", err)
			}
		}
	}
}

func (e *engine) changed(entry jetstream.KeyValueEntry) {
	if entry.Operation() != jetstream.KeyValuePut {
		e.follow(entry.Key(), nil, entry.Revision())
		return
	}
	c := &Configuration{}
	if err := json.Unmarshal(entry.Value(), c); err != nil {
		e.q.cfg.Log.Error("a stored configuration cannot be read", zap.Error(err))
		return
	}
	e.follow(entry.Key(), c, entry.Revision())
}

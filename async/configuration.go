package async

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Limits and defaults of a configuration (page functiongraph_06_0142, and docs/COMPATIBILITY.md where its editions
// differ).
const (
	MaxAge      = 86400 * time.Second
	defaultAge  = 3600 * time.Second
	MaxRetries  = 3
	someRetries = 1 // of a configuration that does not say
	noRetries   = 0 // without a configuration
)

// Destination says where the outcome of a request is sent.
type Destination struct {
	// Kind is OBS, SMN, DIS or FunctionGraph.
	Kind string `json:"destination"`
	// Param is the JSON text of what the kind needs, kept byte for byte.
	Param string `json:"param"`
}

// Configuration is what was set for a version or an alias. The JSON is that of the platform.
type Configuration struct {
	FunctionURN  string       `json:"func_urn"`
	AgeSeconds   int          `json:"max_async_event_age_in_seconds"`
	Retries      int          `json:"max_async_retry_attempts"`
	Destinations destinations `json:"destination_config"`
	Created      string       `json:"created_time"`
	Modified     string       `json:"last_modified"`
	StatusLog    bool         `json:"enable_async_status_log"`
	LogGroupID   string       `json:"log_group_id,omitempty"`
	LogStreamID  string       `json:"log_stream_id,omitempty"`
	LogGroup     string       `json:"log_group_name,omitempty"`
	LogStream    string       `json:"log_stream_name,omitempty"`
}

type destinations struct {
	OnSuccess *Destination `json:"on_success,omitempty"`
	OnFailure *Destination `json:"on_failure,omitempty"`
}

// age is the longest time from the acceptance to the start of an attempt.
func (c *Configuration) age() time.Duration {
	if c == nil {
		return defaultAge
	}
	return time.Duration(c.AgeSeconds) * time.Second
}

func (c *Configuration) retries() int {
	if c == nil {
		return noRetries
	}
	return c.Retries
}

// request is the body of a PUT: everything may be left out.
type request struct {
	AgeSeconds   *int          `json:"max_async_event_age_in_seconds"`
	Retries      *int          `json:"max_async_retry_attempts"`
	Destinations *destinations `json:"destination_config"`
	StatusLog    bool          `json:"enable_async_status_log"`
	LogGroupID   string        `json:"log_group_id"`
	LogStreamID  string        `json:"log_stream_id"`
	LogGroup     string        `json:"log_group_name"`
	LogStream    string        `json:"log_stream_name"`
}

// ParseConfiguration checks the body of a PUT and fills in the defaults. Errors name the member and what would be
// right.
func ParseConfiguration(body []byte) (*Configuration, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return nil, badConfiguration("the body is not a JSON object")
	}
	var r request
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(&r); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) && typ.Field != "" {
			return nil, badConfiguration(fmt.Sprintf("%s has the wrong type, want %s", typ.Field, destination.InJSON(typ.Type)))
		}
		return nil, badConfiguration("the body is not a JSON object")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, badConfiguration("something follows the JSON object")
	}
	c := &Configuration{
		AgeSeconds: int(defaultAge / time.Second), Retries: someRetries, StatusLog: r.StatusLog,
		LogGroupID: r.LogGroupID, LogStreamID: r.LogStreamID, LogGroup: r.LogGroup, LogStream: r.LogStream,
	}
	if r.AgeSeconds != nil {
		c.AgeSeconds = *r.AgeSeconds
	}
	if r.Retries != nil {
		c.Retries = *r.Retries
	}
	if r.Destinations != nil {
		c.Destinations = *r.Destinations
	}
	switch limit := int(MaxAge / time.Second); {
	case c.AgeSeconds < 1 || c.AgeSeconds > limit:
		return nil, badConfiguration(fmt.Sprintf("max_async_event_age_in_seconds is %d, want 1 to %d", c.AgeSeconds, limit))
	case c.Retries < 0 || c.Retries > MaxRetries:
		return nil, badConfiguration(fmt.Sprintf("max_async_retry_attempts is %d, want 0 to %d", c.Retries, MaxRetries))
	}
	if err := c.eachDestination(destination.Check); err != nil {
		return nil, err
	}
	return c, nil
}

// checkFiles reports destinations whose outcome messages would become files that cannot be written.
func checkFiles(endpoints *destination.Endpoints, c *Configuration) error {
	return c.eachDestination(endpoints.CheckFile)
}

// eachDestination makes one check of every destination that is set.
func (c *Configuration) eachDestination(check func(member, kind, param string) error) error {
	both := map[string]*Destination{"on_success": c.Destinations.OnSuccess, "on_failure": c.Destinations.OnFailure}
	for member, d := range both {
		if d == nil {
			continue
		}
		if err := check(member, d.Kind, d.Param); err != nil {
			return badConfiguration(err.Error())
		}
	}
	return nil
}

func badConfiguration(message string) *fault.Error {
	return &fault.Error{
		Kind:    fault.Invalid,
		Type:    fault.TypeBadRequest,
		Code:    fault.CodeBadRequest,
		Message: "Invalid parameter: " + message,
	}
}

// inForce is a configuration as it was last seen: nil once it was removed. Revisions keep an echo of an older change
// from replacing a newer one.
type inForce struct {
	configuration *Configuration
	revision      uint64
}

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

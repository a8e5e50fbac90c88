package async

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// separatePause comes between looks at streams of an earlier release.
const separatePause = time.Second

// separateConfigs is the bucket of configurations of an earlier release.
func (e *engine) separateConfigs() string { return separateName(e.key) + "_configurations" }

// mirrored is a configuration in the bucket of an earlier release that an agent of this one has put there, for agents
// of the earlier one. They do not know Mirrored.
type mirrored struct {
	*Configuration
	Mirrored bool `json:"gantry_mirrored,omitempty"`
}

// adoptAll takes over what agents of an earlier release have set, before any request runs.
func (e *engine) adoptAll(ctx context.Context) error {
	bucket, err := e.js.KeyValue(ctx, e.separateConfigs())
	if errors.Is(err, jetstream.ErrBucketNotFound) { // its removal was interrupted
		return nil
	}
	if err != nil {
		return err
	}
	keys, err := bucket.Keys(ctx)
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, key := range keys {
		entry, err := bucket.Get(ctx, key)
		if err == nil {
			err = e.adopt(ctx, entry)
		}
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			return err
		}
	}
	return nil
}

// followSeparate takes over what agents of an earlier release change, until their bucket is removed.
func (e *engine) followSeparate() {
	for e.ctx.Err() == nil && e.old.Load() != nil {
		bucket, err := e.js.KeyValue(e.ctx, e.separateConfigs())
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			return
		}
		if err == nil {
			err = e.followBucket(bucket)
		}
		if err != nil && e.ctx.Err() == nil {
			e.q.causes.Warn("configurations of an earlier release are not seen; it is tried again", err)
		}
		pause(e.ctx, separatePause)
	}
}

func (e *engine) followBucket(bucket jetstream.KeyValue) error {
	watcher, err := bucket.WatchAll(e.ctx, jetstream.UpdatesOnly())
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Stop() }() // it is over
	for e.old.Load() != nil {
		select {
		case entry, open := <-watcher.Updates():
			if !open {
				return nil
			}
			if entry == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(e.ctx, storeTimeout)
			err := e.adoptChange(ctx, bucket, entry)
			cancel()
			if err != nil {
				return err
			}
		case <-time.After(separatePause):
		case <-e.ctx.Done():
			return nil
		}
	}
	return nil
}

// adoptChange takes one change over. A removal that something followed is none.
func (e *engine) adoptChange(ctx context.Context, bucket jetstream.KeyValue, entry jetstream.KeyValueEntry) error {
	if entry.Operation() == jetstream.KeyValuePut {
		return e.adopt(ctx, entry)
	}
	if _, err := bucket.Get(ctx, entry.Key()); !errors.Is(err, jetstream.ErrKeyNotFound) {
		return err
	}
	return e.changeUnlessKnown(ctx, func(f *function) bool {
		_, known := f.Configurations[entry.Key()]
		delete(f.Configurations, entry.Key())
		return known
	})
}

// adopt takes a configuration over, unless it is older than what is known, or comes from there.
func (e *engine) adopt(ctx context.Context, entry jetstream.KeyValueEntry) error {
	c := &mirrored{Configuration: &Configuration{}}
	if err := json.Unmarshal(entry.Value(), c); err != nil {
		e.q.cfg.Log.Error("a stored configuration cannot be read", zap.Error(err))
		return nil
	}
	return e.changeUnlessKnown(ctx, func(f *function) bool {
		known := f.Configurations[entry.Key()]
		switch {
		case c.Mirrored:
			return false
		case known == nil:
		case reflect.DeepEqual(known, c.Configuration), modified(c.Configuration).Before(modified(known)):
			return false
		}
		f.Configurations[entry.Key()] = c.Configuration
		return true
	})
}

// modified is when a configuration was set; zero if it does not say.
func modified(c *Configuration) time.Time {
	at, err := time.Parse(time.RFC3339, c.Modified)
	if err != nil {
		return time.Time{}
	}
	return at
}

// changeUnlessKnown is change; edit returns whether it has changed anything.
func (e *engine) changeUnlessKnown(ctx context.Context, edit func(*function) bool) error {
	err := e.change(ctx, func(f *function) error {
		if !edit(f) {
			return errKnown
		}
		return nil
	})
	if errors.Is(err, errKnown) {
		return nil
	}
	return err
}

// errKnown ends a change that changes nothing.
var errKnown = errors.New("it is known already")

// mirror writes a change of a configuration where agents of an earlier release see it; nil removes.
func (e *engine) mirror(ctx context.Context, key string, c *Configuration) {
	if e.old.Load() == nil {
		return
	}
	bucket, err := e.js.KeyValue(ctx, e.separateConfigs())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return
	}
	if err == nil && c == nil {
		err = bucket.Delete(ctx, key)
	} else if err == nil {
		var text []byte
		if text, err = json.Marshal(mirrored{c, true}); err == nil {
			_, err = bucket.Put(ctx, key, text)
		}
	}
	if err != nil {
		e.q.cfg.Log.Warn("agents of an earlier release do not see a change of a configuration", zap.Error(err))
	}
}

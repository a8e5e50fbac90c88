package async

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Configurations are kept in two places as long as there are agents of an earlier release: in the shared stream, and in
// that release's bucket, where this one mirrors its own. The one that was set last counts, in whole seconds.

// separateConfigs is the bucket of configurations of an earlier release.
func (e *engine) separateConfigs() string { return separateName(e.key) + "_configurations" }

func (e *engine) configurationStream() string { return "KV_" + e.separateConfigs() }

// mirrored is a configuration in the bucket of an earlier release that an agent of this one has put there, for agents
// of the earlier one. They do not know Mirrored.
type mirrored struct {
	*Configuration
	Mirrored bool `json:"gantry_mirrored,omitempty"`
}

// agreeAll makes both places agree; it is called before any request runs.
func (e *engine) agreeAll(ctx context.Context) error {
	bucket, err := e.js.KeyValue(ctx, e.separateConfigs())
	if errors.Is(err, jetstream.ErrBucketNotFound) { // its removal was interrupted
		return nil
	}
	if err != nil {
		return err
	}
	prefix := "$KV." + bucket.Bucket() + "."
	info, err := e.leader.StreamInfo(e.configurationStream(), nats.Context(ctx),
		&nats.StreamInfoRequest{SubjectsFilter: prefix + ">"})
	if err != nil {
		return err
	}
	f, err := e.readFunction(ctx, e.key)
	if err != nil {
		return err
	}
	keys := map[string]bool{}
	for key := range f.Configurations {
		keys[key] = true
	}
	for subject := range info.State.Subjects {
		keys[subject[len(prefix):]] = true
	}
	for key := range keys {
		if err := e.agree(ctx, bucket, key); err != nil {
			return err
		}
	}
	return nil
}

// agree makes both places agree about one configuration. Where both were set in the same second, the one that is known
// here may be on its way to the bucket: what is in the bucket counts if it is still there after a while.
func (e *engine) agree(ctx context.Context, bucket jetstream.KeyValue, key string) error {
	var unclear uint64 // the number of the message in the bucket when it was not clear
	for {
		msg, err := e.last(ctx, e.configurationStream(), "$KV."+bucket.Bucket()+"."+key)
		if err != nil {
			return err
		}
		var number uint64
		var theirs *mirrored
		if msg != nil {
			number = msg.Sequence
		}
		if msg != nil && msg.Header.Get("KV-Operation") == "" {
			theirs = &mirrored{Configuration: &Configuration{}}
			if err := json.Unmarshal(msg.Data, theirs); err != nil {
				e.q.cfg.Log.Error("a stored configuration cannot be read", zap.Error(err))
				return nil
			}
		}
		what, known, err := e.adopt(ctx, key, theirs, msg, unclear > 0 && unclear == number)
		switch {
		case err != nil:
			return err
		case what == give:
			return e.writeBucket(ctx, bucket, key, known, number)
		case what != wait:
			return nil
		}
		unclear = number
		pause(ctx, 2*separatePause)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// adopt takes over what is in the bucket, if that counts; sure says that it does where it is not clear.
func (e *engine) adopt(
	ctx context.Context,
	key string,
	theirs *mirrored,
	msg *nats.RawStreamMsg,
	sure bool,
) (what agreement, known *Configuration, err error) {
	err = e.change(ctx, func(f *function) error {
		known = f.Configurations[key]
		if what = decide(known, theirs, msg); what == wait && sure {
			what = take
		}
		if what != take {
			return errKnown
		}
		delete(f.Configurations, key)
		if theirs != nil {
			f.Configurations[key] = theirs.Configuration
		}
		return nil
	})
	return what, known, ignoreKnown(err)
}

// writeBucket puts what is known, nil for nothing, in the place of the bucket's message with that number, 0 for none.
func (e *engine) writeBucket(
	ctx context.Context,
	bucket jetstream.KeyValue,
	key string,
	known *Configuration,
	number uint64,
) (err error) {
	if known == nil {
		err = bucket.Delete(ctx, key, jetstream.LastRevision(number))
	} else {
		var text []byte
		if text, err = json.Marshal(mirrored{known, true}); err == nil {
			_, err = bucket.Update(ctx, key, text, number)
		}
	}
	if isOvertaken(err) {
		return nil // another agent was faster, and its change is seen
	}
	return err
}

// errKnown ends a change that changes nothing.
var errKnown = errors.New("it is known already")

func ignoreKnown(err error) error {
	if errors.Is(err, errKnown) {
		return nil
	}
	return err
}

// agreement is what has to happen so that both places agree.
type agreement int

const (
	nothing agreement = iota
	take              // what is in the bucket
	give              // what is known
	wait              // both were set in the same second
)

// decide compares what is known with what the bucket of an earlier release has, whose last message is msg. theirs is
// nil if the bucket has none: it was removed, or never set if msg is nil.
func decide(known *Configuration, theirs *mirrored, msg *nats.RawStreamMsg) agreement {
	var at time.Time
	switch {
	case theirs == nil && known == nil:
		return nothing
	case theirs == nil && msg == nil:
		return give
	case theirs == nil:
		at = msg.Time.Truncate(time.Second)
	case theirs.Mirrored: // of what was known
		if known == nil || !reflect.DeepEqual(known, theirs.Configuration) {
			return give
		}
		return nothing
	case known == nil:
		return take
	case reflect.DeepEqual(known, theirs.Configuration):
		return nothing
	default:
		at = modified(theirs.Configuration)
	}
	switch at.Compare(modified(known)) {
	case 1:
		return take
	case -1:
		return give
	}
	return wait
}

// modified is when a configuration was set; zero if it does not say.
func modified(c *Configuration) time.Time {
	at, err := time.Parse(time.RFC3339, c.Modified)
	if err != nil {
		return time.Time{}
	}
	return at
}

// agreeAge is how long both places may disagree after something was lost between agents.
const agreeAge = time.Minute

// followSeparate takes over what agents of an earlier release change, until their bucket is removed.
func (e *engine) followSeparate(old *layout) {
	for e.ctx.Err() == nil && e.old.Load() == old {
		bucket, err := e.js.KeyValue(e.ctx, e.separateConfigs())
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			return
		}
		if err == nil {
			err = e.followBucket(bucket, old)
		}
		if err != nil && e.ctx.Err() == nil && !e.away.Load() {
			e.q.causes.Warn("configurations of an earlier release are not seen; it is tried again", err)
		}
		pause(e.ctx, separatePause)
	}
}

// followBucket makes both places agree, and again with each change, for agreeAge.
func (e *engine) followBucket(bucket jetstream.KeyValue, old *layout) error {
	watcher, err := bucket.WatchAll(e.ctx, jetstream.UpdatesOnly())
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Stop() }() // it is over
	within := func(do func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(e.ctx, storeTimeout)
		defer cancel()
		return do(ctx)
	}
	if err := within(e.agreeAll); err != nil {
		return err
	}
	for end := time.Now().Add(agreeAge); e.old.Load() == old && time.Now().Before(end); {
		select {
		case entry, open := <-watcher.Updates():
			if !open {
				return nil
			}
			if entry == nil {
				continue
			}
			err := within(func(ctx context.Context) error { return e.agree(ctx, bucket, entry.Key()) })
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

// mirror writes a configuration that was set here where agents of an earlier release see it. They see it later if that
// fails.
func (e *engine) mirror(ctx context.Context, key string, c *Configuration) {
	if e.old.Load() == nil {
		return
	}
	bucket, err := e.js.KeyValue(ctx, e.separateConfigs())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return
	}
	if err == nil {
		var text []byte
		if text, err = json.Marshal(mirrored{c, true}); err == nil {
			_, err = bucket.Put(ctx, key, text)
		}
	}
	if err != nil {
		e.q.cfg.Log.Warn("agents of an earlier release see a change of a configuration up to a minute later", zap.Error(err))
	}
}

// unmirror removes a configuration where agents of an earlier release see it, and reports whether it has. It comes
// before the removal here: what is in the bucket would be taken over again.
func (e *engine) unmirror(ctx context.Context, key string) (bool, error) {
	if e.old.Load() == nil {
		return false, nil
	}
	f, err := e.readFunction(ctx, e.key)
	if err != nil || f.Configurations[key] == nil {
		return false, err
	}
	bucket, err := e.js.KeyValue(ctx, e.separateConfigs())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return false, nil
	}
	if err == nil {
		err = bucket.Delete(ctx, key)
	}
	return err == nil, err
}

package async

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// prepare makes the streams and consumers, or finds them, and reads what is known of the function.
func (e *engine) prepare(ctx context.Context) error {
	a, made, err := e.arrange(ctx)
	if err != nil {
		return fmt.Errorf("stream of functions: %w", err)
	}
	if made || e.q.cfg.Alone {
		if err := e.makeStreams(ctx, a); err != nil {
			return err
		}
	}
	e.lay, e.shards, e.replicas = sharedLayout(e.key, a.Shards), a.Shards, a.Replicas
	e.volatile = a.Replicas > 1
	if err = e.makeConsumers(ctx, a); errors.Is(err, jetstream.ErrStreamNotFound) {
		if err = e.makeStreams(ctx, a); err == nil {
			err = e.makeConsumers(ctx, a)
		}
	}
	if err != nil {
		return err
	}
	err = together(
		func() error {
			if err := e.followFunction(ctx); err != nil {
				return fmt.Errorf("what is known of the function: %w", err)
			}
			return nil
		},
		func() error { return e.lookAtRecordLimit(ctx) },
		func() error { return e.findSeparate(ctx) },
	)
	if err == nil && e.old.Load() != nil {
		if err = e.agreeAll(ctx); err != nil {
			err = fmt.Errorf("configurations of an earlier release: %w", err)
		}
	}
	return err
}

// arrange returns how the streams are arranged. made says that this agent decided it, and the streams are missing.
func (e *engine) arrange(ctx context.Context) (a arrangement, made bool, err error) {
	if e.q.cfg.Alone {
		if err := e.makeFunctionStream(ctx); err != nil {
			return a, false, err
		}
	}
	for {
		msg, err := e.firstLook(ctx)
		switch {
		case errors.Is(err, nats.ErrStreamNotFound):
			if err := e.makeFunctionStream(ctx); err != nil {
				return a, false, err
			}
		case err != nil:
			return a, false, err
		case msg != nil:
			if err := json.Unmarshal(msg.Data, &a); err != nil || a.Shards < 1 || a.Shards > MaxShards {
				return a, false, fmt.Errorf("%s is %q, want the number of shards, 1 to %d", layoutSubject, msg.Data, MaxShards)
			}
			e.warnOfArrangement(a)
			return a, false, nil
		}
		a = arrangement{Shards: max(e.q.cfg.Shards, 1), Replicas: e.q.cfg.Replicas}
		if err := e.storeArrangement(ctx, a); !errors.Is(err, errOvertaken) || ctx.Err() != nil {
			return a, err == nil, err
		}
	}
}

// storeArrangement stores how the streams are arranged; errOvertaken if another agent has.
func (e *engine) storeArrangement(ctx context.Context, a arrangement) error {
	text, err := json.Marshal(a)
	if err == nil {
		_, err = e.replace(ctx, layoutSubject, text, 0)
	}
	return err
}

// firstLook reads the arrangement, and finds out whether the servers let this agent read from leaders.
func (e *engine) firstLook(ctx context.Context) (*nats.RawStreamMsg, error) {
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.denied, cancel)()
	msg, err := e.last(attempt, functionStream, layoutSubject)
	if err != nil && ctx.Err() == nil && e.denied.Err() != nil && e.ctx.Err() == nil {
		e.q.cfg.Log.Info("the queue's servers let this agent see its own function alone")
		return e.last(ctx, functionStream, layoutSubject)
	}
	return msg, err
}

// noteDenied learns from the servers' refusals what this agent may do.
func (e *engine) noteDenied(err error) {
	if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), ".STREAM.MSG.GET.") {
		e.confined.Store(true)
		e.deny()
	}
}

// warnOfArrangement logs settings that other agents have decided before.
func (e *engine) warnOfArrangement(a arrangement) {
	cfg := e.q.cfg
	if a.Replicas != cfg.Replicas || cfg.Shards > 0 && a.Shards != cfg.Shards {
		cfg.Log.Warn(
			"the queue's streams are there already, with other settings; GANTRY_ASYNC_REPLICAS and GANTRY_ASYNC_SHARDS have no effect",
			zap.Int("replicas", a.Replicas), zap.Int("shards", a.Shards),
		)
	}
}

// errMayNot ends the making of a stream by an agent that may see one function alone.
var errMayNot = errors.New(
	"a stream is missing, and this agent's user may see its own function alone: start an agent without that limit first",
)

// makeStream makes a stream unless it is there; that of the child is changed to the settings. On a cluster each has a
// limit: a server whose store is full leaves streams without a leader, also for removals (nats-server 2.15.2).
func (e *engine) makeStream(ctx context.Context, a arrangement, cfg *jetstream.StreamConfig) error {
	if e.confined.Load() {
		return errMayNot
	}
	cfg.Storage, cfg.Replicas, cfg.Discard = jetstream.FileStorage, a.Replicas, jetstream.DiscardNew
	cfg.MaxMsgsPerSubject, cfg.AllowMsgTTL, cfg.AllowDirect = 1, true, true
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = -1
	}
	ask := e.js.CreateStream
	if e.q.cfg.Alone {
		ask = e.js.CreateOrUpdateStream
	}
	made, err := insist(ctx, ask, *cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // with other settings, which may be an operator's
		made, err = insist(ctx, e.js.Stream, cfg.Name)
	}
	if err != nil {
		return err
	}
	if !made.CachedInfo().Config.AllowMsgTTL {
		return fmt.Errorf("stream %s has no allow_msg_ttl: the queue needs nats-server 2.11 or later", cfg.Name)
	}
	return nil
}

func (e *engine) makeFunctionStream(ctx context.Context) error {
	return e.makeStream(ctx, arrangement{Replicas: e.q.cfg.Replicas}, &jetstream.StreamConfig{
		Name: functionStream, Subjects: []string{functionSubject + ">"}, MaxBytes: functionBytes,
		Description: "the functions of Gantry, and what is set for their asynchronous calls",
	})
}

// makeStreams makes the streams of events, outcome messages and records.
func (e *engine) makeStreams(ctx context.Context, a arrangement) error {
	cfg := e.q.cfg
	limit := cmp.Or(cfg.ShardBytes, cfg.MaxBytes)
	for shard := range a.Shards {
		if err := e.makeStream(ctx, a, &jetstream.StreamConfig{
			Name: eventStream(shard), Subjects: []string{shardSubject(shard, "*", "event") + "*"},
			Description: "events of Gantry's functions", MaxBytes: limit, MaxMsgSize: maxMessage, Duplicates: sameWindow,
		}); err != nil {
			return fmt.Errorf("stream of events: %w", err)
		}
		if err := e.makeStream(ctx, a, &jetstream.StreamConfig{
			Name: outcomeStream(shard), Subjects: []string{shardSubject(shard, "*", "outcome") + "*"},
			Description: "outcome messages of Gantry's functions", MaxBytes: limit,
		}); err != nil {
			return fmt.Errorf("stream of outcome messages: %w", err)
		}
	}
	limit, err := e.roomForRecords(ctx)
	if err == nil {
		err = e.makeStream(ctx, a, &jetstream.StreamConfig{
			Name: recordStream, Subjects: []string{recordSubject + ">"}, MaxBytes: limit,
			Description: "records of asynchronous requests of Gantry's functions",
		})
	}
	if err != nil {
		return fmt.Errorf("stream of records: %w", err)
	}
	return nil
}

// lookAtRecordLimit finds out how many bytes of records there may be.
func (e *engine) lookAtRecordLimit(ctx context.Context) error {
	e.recordLimit = -1
	if e.confined.Load() {
		return nil
	}
	info, err := e.leader.StreamInfo(recordStream, nats.Context(ctx))
	if err != nil {
		return fmt.Errorf("stream of records: %w", err)
	}
	e.recordLimit = info.Config.MaxBytes
	e.space.looked, e.space.records = e.q.cfg.Now(), int64(info.State.Bytes)
	e.space.accepted = e.q.counts.accepted.Load()
	return nil
}

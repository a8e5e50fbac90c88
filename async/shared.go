package async

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

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
	// the agent that decided the arrangement may still be making the streams
	if err = e.find(ctx, a); errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrStreamNotFound) {
		if err = e.makeStreams(ctx, a); err == nil {
			err = e.find(ctx, a)
		}
	}
	if err == nil && e.old.Load() != nil {
		if err = e.agreeAll(ctx); err != nil {
			err = fmt.Errorf("configurations of an earlier release: %w", err)
		}
	}
	return err
}

// find makes the consumers in streams that are there, and reads what is known.
func (e *engine) find(ctx context.Context, a arrangement) error {
	if err := e.makeConsumers(ctx, a); err != nil {
		return err
	}
	return together(
		func() error {
			if err := e.followFunction(ctx); err != nil {
				return fmt.Errorf("what is known of the function: %w", err)
			}
			return nil
		},
		func() error { return e.lookAtRecordLimit(ctx) },
		func() error { return e.lookAtShardLimit(ctx) },
		func() error { return e.findSeparate(ctx) },
	)
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

// lookAtShardLimit looks for a setting that has no effect.
func (e *engine) lookAtShardLimit(ctx context.Context) error {
	if e.confined.Load() || e.q.cfg.ShardBytes == 0 {
		return nil
	}
	info, err := e.streamInfo(ctx, e.lay.events)
	if err != nil {
		return fmt.Errorf("stream of events: %w", err)
	}
	e.warnOfLimit(info, "GANTRY_ASYNC_SHARD_BYTES", e.q.cfg.ShardBytes)
	return nil
}

// warnOfLimit logs a limit in bytes, 0 for none set, that another agent has made the stream without, or an operator has
// changed.
func (e *engine) warnOfLimit(info *nats.StreamInfo, setting string, want int64) {
	if e.q.cfg.Alone || want == 0 || info.Config.MaxBytes == want {
		return
	}
	e.q.cfg.Log.Warn(
		"a stream of the queue is there already, with another limit than "+setting+", which has no effect; "+
			"nats stream edit --max-bytes changes the limit",
		zap.String("stream", info.Config.Name),
		zap.Int64("max_bytes", info.Config.MaxBytes),
		zap.Int64("setting", want),
	)
}

// maxConsumers is the limit of consumers of a stream. Without one a server takes a thousand.
const maxConsumers = 1 << 20

// inMaking is how long a stream is left alone that another agent is making. A cluster takes 10 to 100 ms.
const inMaking = 20 * time.Millisecond

// makeStream makes a stream unless it is there; that of the child is changed to the settings. On a cluster each has a
// limit: a server whose store is full leaves streams without a leader, also for removals (nats-server 2.15.2).
func (e *engine) makeStream(ctx context.Context, a arrangement, cfg *jetstream.StreamConfig) error {
	if e.confined.Load() {
		return errMayNot
	}
	cfg.Storage, cfg.Replicas, cfg.Discard = jetstream.FileStorage, a.Replicas, jetstream.DiscardNew
	cfg.MaxMsgsPerSubject, cfg.AllowMsgTTL, cfg.AllowDirect, cfg.MaxConsumers = 1, true, true, maxConsumers
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = -1
	}
	ask := e.js.CreateStream
	if e.q.cfg.Alone {
		ask = e.js.CreateOrUpdateStream
	}
	made, err := insist(ctx, ask, *cfg)
	for errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // with other settings, which may be an operator's
		made, err = insist(ctx, e.js.Stream, cfg.Name)
		// while another agent is making it, servers refuse the name and do not show the stream (nats-server 2.15.2)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			pause(ctx, inMaking)
			made, err = insist(ctx, ask, *cfg)
		}
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
	e.recordLimit.Store(-1)
	if e.confined.Load() {
		return nil
	}
	info, err := e.streamInfo(ctx, recordStream)
	if err != nil {
		return fmt.Errorf("stream of records: %w", err)
	}
	e.recordLimit.Store(info.Config.MaxBytes)
	e.space.looked, e.space.records = e.q.cfg.Now(), int64(info.State.Bytes)
	e.space.accepted = e.q.counts.accepted.Load()
	e.warnOfLimit(info, "GANTRY_ASYNC_MAX_RECORD_BYTES", e.q.cfg.MaxRecordBytes)
	return nil
}

package async

import (
	"context"
	"errors"
	"gantry/fault"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

const (
	// recordRoom is what is kept free for the record of a request that has none yet, in bytes. Most need a third of it.
	recordRoom = 2 << 10
	// configurationBytes is the limit of the bucket of configurations where the servers require one: a configuration
	// has at most 64 KiB, and there is one for each alias and two versions.
	configurationBytes = 16 << 20
	// maxBytesRequired is JetStream's code for a stream without a limit in an account that requires one.
	maxBytesRequired jetstream.ErrorCode = 10113
)

// bucket makes a bucket, or finds it. Where the servers require a limit and cfg has none, it gets fallback bytes. It
// returns the limit, -1 for none.
func (e *engine) bucket(
	ctx context.Context,
	cfg jetstream.KeyValueConfig,
	fallback int64,
) (made jetstream.KeyValue, limit int64, err error) {
	cfg.Storage, cfg.Replicas = jetstream.FileStorage, e.q.cfg.Replicas
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = -1
	} else if cfg.MaxBytes, err = e.roomy(ctx, cfg.Bucket, cfg.MaxBytes); err != nil {
		return nil, 0, err
	}
	made, err = insist(ctx, e.js.CreateOrUpdateKeyValue, cfg)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == maxBytesRequired {
		if cfg.MaxBytes, err = e.roomy(ctx, cfg.Bucket, fallback); err == nil {
			made, err = insist(ctx, e.js.CreateOrUpdateKeyValue, cfg)
		}
	}
	return made, cfg.MaxBytes, err
}

// roomy returns limit, or a higher one if the bucket already holds more: otherwise no record of a request in flight
// could grow, and its outcome would be lost.
func (e *engine) roomy(ctx context.Context, bucket string, limit int64) (int64, error) {
	kv, err := insist(ctx, e.js.KeyValue, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return limit, nil
	}
	if err != nil {
		return 0, err
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return 0, err
	}
	needed := int64(status.Bytes()) * 5 / 4
	if needed <= limit {
		return limit, nil
	}
	e.q.cfg.Log.Warn(
		"a bucket has more bytes than it may have (GANTRY_ASYNC_MAX_RECORD_BYTES); its limit is higher until a start finds less",
		zap.String(
			"bucket",
			bucket,
		),
		zap.Uint64("bytes", status.Bytes()),
		zap.Int64("want", limit),
		zap.Int64("limit", needed),
	)
	return needed, nil
}

// hasRecordRoom reports whether the record of one more request will fit. A request whose outcome cannot be recorded
// would run again, so requests are refused before the bucket is full: an eighth of it is kept for records that grow.
func (e *engine) hasRecordRoom(ctx context.Context) bool {
	if e.recordLimit <= 0 {
		return true
	}
	s, now, accepted := &e.space, e.q.cfg.Now(), e.q.counts.accepted.Load()
	s.Lock()
	defer s.Unlock()
	if now.Sub(s.looked) >= depthAge {
		s.looked = now // also if it fails: the write of the event reports it then
		if err := s.look(ctx, e); err != nil {
			e.q.causes.Warn("it is not known whether the records have room; requests are accepted", err)
		} else {
			s.accepted = accepted
		}
	}
	return s.records+(s.waiting+accepted-s.accepted+1)*recordRoom <= e.recordLimit-e.recordLimit/8
}

// look asks the servers; called with the lock held.
func (s *recordSpace) look(ctx context.Context, e *engine) error {
	ctx, cancel := context.WithTimeout(ctx, depthAge)
	defer cancel()
	status, err := e.records.Status(ctx)
	if err != nil {
		return err
	}
	events, err := e.events.Info(ctx)
	if err != nil {
		return err
	}
	s.records, s.waiting = int64(status.Bytes()), int64(events.State.Msgs)
	return nil
}

// noRecordRoom refuses a request whose record would have no room.
func noRecordRoom() *fault.Error {
	return &fault.Error{
		Kind: fault.Throttled, Type: fault.TypeThrottled, Code: fault.CodeMaxInstances,
		Message: "too many requests: the records have no room (GANTRY_ASYNC_MAX_RECORD_BYTES, GANTRY_ASYNC_RETENTION)",
	}
}

package async

import (
	"cmp"
	"context"
	"errors"
	"gantry/fault"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

const (
	// recordRoom is what is kept free for the record of a request that has none yet, in bytes. Most need a third of it.
	recordRoom = 2 << 10
	// recordShare is how many times MaxBytes the records of a cluster may have if nothing is set: a queue that is full of
	// small events, a million of them, needs twice as much.
	recordShare = 3
	// functionBytes is the limit of the stream of functions: what is known of one has 200 bytes and more.
	functionBytes = 64 << 20
)

// unrecordedAge is how long a confined agent, which does not see how full the records are, refuses requests after a
// record of its own had no room.
const unrecordedAge = 5 * time.Second

// roomForRecords returns the limit of the stream of records in bytes, 0 for none. It is higher than the setting if
// there are more bytes already: otherwise no record of a request in flight could grow, and its outcome would be lost.
func (e *engine) roomForRecords(ctx context.Context) (int64, error) {
	limit := e.q.cfg.MaxRecordBytes
	if !e.q.cfg.Alone {
		return cmp.Or(limit, recordShare*e.q.cfg.MaxBytes), nil
	}
	if limit == 0 {
		return 0, nil
	}
	info, err := e.streamInfo(ctx, recordStream)
	if errors.Is(err, nats.ErrStreamNotFound) {
		return limit, nil
	}
	if err != nil {
		return 0, err
	}
	needed := int64(info.State.Bytes) * 5 / 4
	if needed <= limit {
		return limit, nil
	}
	e.q.cfg.Log.Warn(
		"the records have more bytes than they may have (GANTRY_ASYNC_MAX_RECORD_BYTES); the limit is higher until a start finds less",
		zap.Uint64("bytes", info.State.Bytes),
		zap.Int64("want", limit),
		zap.Int64("limit", needed),
	)
	return needed, nil
}

// hasRecordRoom reports whether the record of one more request will fit. A request whose outcome cannot be recorded
// would run again, so requests are refused before the stream is full: an eighth of it is kept for records that grow.
func (e *engine) hasRecordRoom(ctx context.Context) bool {
	if at := e.unrecorded.Load(); e.confined.Load() && at != 0 && e.q.cfg.Now().UnixNano()-at < int64(unrecordedAge) {
		return false
	}
	if e.recordLimit.Load() <= 0 {
		return true
	}
	s, now, accepted := &e.space, e.q.cfg.Now(), e.q.counts.accepted.Load()
	s.Lock()
	defer s.Unlock()
	lasts, limit := depthAge, e.recordLimit.Load()
	if limit >= manyBytes && 2*s.needs(accepted) <= limit {
		lasts = calmDepthAge
	}
	if now.Sub(s.looked) >= lasts {
		s.looked = now
		if err := s.look(ctx, e); err != nil {
			e.q.causes.Warn("it is not known whether the records have room; requests are accepted", err)
			s.looked = e.q.cfg.Now().Add(lookPause)
		} else {
			s.accepted = accepted
		}
	}
	limit = e.recordLimit.Load()
	return limit <= 0 || s.needs(accepted) <= limit-limit/8
}

// needs is how many bytes of records there will be, with that of one request more.
func (s *recordSpace) needs(accepted int64) int64 {
	return s.records + (s.waiting+accepted-s.accepted+1)*recordRoom
}

// look asks the servers; called with the lock held.
func (s *recordSpace) look(ctx context.Context, e *engine) error {
	ctx, cancel := context.WithTimeout(ctx, depthAge)
	defer cancel()
	info, err := e.streamInfo(ctx, recordStream)
	if err != nil {
		return err
	}
	events, err := e.waitingEvents(ctx)
	if err != nil {
		return err
	}
	s.records, s.waiting = int64(info.State.Bytes), events
	e.recordLimit.Store(info.Config.MaxBytes) // an operator may have changed it
	return nil
}

// noRecordRoom refuses a request whose record would have no room.
func noRecordRoom() *fault.Error {
	return throttled(
		"too many requests: the records have no room (GANTRY_ASYNC_MAX_RECORD_BYTES, GANTRY_ASYNC_RETENTION)", nil,
	)
}

package telemetry

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// retryPauses come before each further attempt to deliver a batch.
var retryPauses = []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 1600 * time.Millisecond}

// ErrFinal marks an error of Send after which another attempt would not help.
var ErrFinal = errors.New("the batch is not wanted")

// ErrGone marks an error of Send when the subscriber's address refuses connections. After goneLimit such batches in a
// row the subscription ends.
var ErrGone = errors.New("no process listens")

const (
	goneLimit = 3
	// complainEvery limits how often lost batches are logged.
	complainEvery = time.Minute
)

// run delivers batches until the subscription ends.
func (s *Stream) run(sub *Subscriber) {
	d := &delivery{stream: s, sub: sub, encoder: encoder{function: s.function, version: s.version, envelope: sub.Envelope}}
	var body []byte
	var batch []Event
	for {
		var wait time.Duration
		if batch, wait = s.take(sub, batch[:0]); len(batch) > 0 {
			body = d.build(body[:0], batch)
			d.deliver(body, batch)
			clear(batch) // lets go of the texts
			if cap(body) > 4*DefaultMaxBytes {
				body = nil
			}
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-sub.wake:
		case <-timer.C:
		case <-sub.ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// asleep is how long the loop sleeps when nothing waits; it is woken.
const asleep = time.Hour

// take appends the next batch, in order, or returns how long to wait for one. The batch ends with the report of drops.
func (s *Stream) take(sub *Subscriber, batch []Event) ([]Event, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sub != sub || s.waiting() == 0 {
		return batch, asleep
	}
	if s.waiting() < sub.MaxItems && s.bytes < sub.MaxBytes && s.first() >= s.flush {
		limit := sub.Timeout
		if s.waiting() == s.ownWaiting() {
			limit = max(limit, ownTimeout)
		}
		if left := time.Until(s.since.Add(limit)); left > 0 {
			return batch, left
		}
	}
	for size := 0; s.waiting() > 0 && len(batch) < sub.MaxItems && size < sub.MaxBytes; {
		e := s.pop()
		size += e.size()
		batch = append(batch, e)
	}
	sub.sending, s.own, s.since = len(batch), 0, time.Now()
	return s.reportDrops(batch), 0
}

// reportDrops adds what was lost since the last batch. Called with mu held: nothing is published here, so that losing
// events can never make more of them.
func (s *Stream) reportDrops(batch []Event) []Event {
	if s.sub.Types&TypePlatform == 0 {
		return batch
	}
	for r := range s.dropped {
		if d := s.dropped[r]; d.records > 0 {
			batch = append(batch, Event{Kind: logsDropped, Begin: time.Now(), drops: &d})
			s.dropped[r].records, s.dropped[r].bytes = 0, 0
		}
	}
	return batch
}

// delivery is one subscriber's.
type delivery struct {
	stream     *Stream
	sub        *Subscriber
	encoder    encoder
	gone       int // batches in a row
	lost       int64
	complained time.Time
}

func (d *delivery) build(body []byte, batch []Event) []byte {
	body = append(body, '[')
	for i := range batch {
		if i > 0 {
			body = append(body, ',')
		}
		body = d.encoder.append(body, &batch[i])
	}
	return append(body, ']')
}

// deliver sends one batch, again after errors, and counts what became of it.
func (d *delivery) deliver(body []byte, batch []Event) {
	err := d.attempt(body)
	s := d.stream
	s.mu.Lock()
	n := d.sub.sending
	d.sub.sending = 0
	if err == nil {
		s.counts.delivered.Add(int64(n))
	} else {
		bytes := 0
		for i := range batch {
			bytes += len(batch[i].Text)
			if lost := batch[i].drops; lost != nil { // reported with the next batch
				s.dropped[lost.reason].records += lost.records
				s.dropped[lost.reason].bytes += lost.bytes
			}
		}
		why := undelivered
		if d.sub.ctx.Err() != nil {
			why = abandoned
		}
		s.drop(why, n, bytes)
	}
	s.release()
	s.mu.Unlock()
	if err != nil && d.sub.ctx.Err() == nil {
		d.failed(err, n)
	} else {
		d.gone = 0
	}
}

func (d *delivery) attempt(body []byte) error {
	for try := 0; ; {
		stops, began := d.stream.awake(d.sub.ctx), time.Now()
		err := d.sub.Send(d.sub.ctx, body)
		if err == nil || errors.Is(err, ErrFinal) || d.sub.ctx.Err() != nil {
			return err
		}
		if d.stream.excused(began, stops) {
			continue
		}
		if try == len(retryPauses) || !sleep(d.sub.ctx, retryPauses[try]) {
			return err
		}
		try++
	}
}

// sleep waits; false if ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// failed logs the first loss at once, and then one line a minute; it ends the subscription of one that is gone.
func (d *delivery) failed(err error, events int) {
	log := d.stream.log
	if d.lost += int64(events); time.Since(d.complained) >= complainEvery {
		log.Warn(
			"telemetry is lost: its subscriber does not take it",
			zap.String("extension", d.sub.Name),
			zap.Int64("events", d.lost),
			zap.Error(err),
		)
		d.lost, d.complained = 0, time.Now()
	}
	if !errors.Is(err, ErrGone) {
		d.gone = 0
		return
	}
	if d.gone++; d.gone == goneLimit && d.stream.Unsubscribe(d.sub) {
		log.Warn(
			"the telemetry subscription ends: no process listens at its address any more",
			zap.String("extension", d.sub.Name),
		)
	}
}

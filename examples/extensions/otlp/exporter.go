package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// A batch is sent when it has this much, or its first record is batchDelay old.
	batchRecords, batchBytes = 512, 1 << 20
	batchDelay               = time.Second
	// This much waits; the oldest make room.
	maxRecords, maxBytes = 8192, 8 << 20
	// Pauses before further attempts grow from firstPause to longestPause, each shortened at random by up to half. In a
	// hurry they are hurriedPause, and after hurriedTries everything is given up: the stop waits for it.
	firstPause, longestPause   = 500 * time.Millisecond, 30 * time.Second
	hurriedPause, hurriedTries = 200 * time.Millisecond, 3
	// complainEvery limits what is printed: it is telemetry too.
	complainEvery = time.Minute
)

// exporter sends records of one kind, a batch at a time.
type exporter[T interface{ weight() int }] struct {
	kind   string
	target *target // nil if these records are not sent

	ctx      context.Context // ends when there is no time left
	cancel   context.CancelFunc
	hurried  chan struct{} // closed when the end is near
	closed   chan struct{} // closed when nothing is added any more
	finished chan struct{} // closed when everything has left, or there is no time left
	wake     chan struct{}

	mu       sync.Mutex
	buffer   []T
	bytes    int
	since    time.Time // the oldest in the buffer waits since then
	added    int64     // records ever
	gone     int64     // records that left, or were lost
	urgent   int64     // records before this one are sent at once
	refused  bool      // by the server's last response
	progress chan struct{}
	end      time.Time
	lost     int64 // since the last complaint
	why      error
	said     time.Time
}

func newExporter[T interface{ weight() int }](kind string, s *target) *exporter[T] {
	e := &exporter[T]{
		kind: kind, target: s, hurried: make(chan struct{}), closed: make(chan struct{}),
		finished: make(chan struct{}), wake: make(chan struct{}, 1), progress: make(chan struct{}),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// add buffers a record. It never waits.
func (e *exporter[T]) add(r T) {
	if e.target == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.buffer) == 0 {
		e.since = time.Now()
	}
	e.buffer = append(e.buffer, r)
	e.bytes += r.weight()
	e.added++
	for len(e.buffer) > maxRecords || e.bytes > maxBytes {
		e.pop()
		e.gone++
		e.lose(1, fmt.Errorf("more than %d wait", maxRecords))
	}
	if n := len(e.buffer); n == 1 || n >= batchRecords {
		e.nudge()
	}
}

// pop takes the oldest; called with mu held.
func (e *exporter[T]) pop() T {
	var none T
	r := e.buffer[0]
	e.buffer[0] = none // lets go of it
	e.buffer = e.buffer[1:]
	e.bytes -= r.weight()
	return r
}

func (e *exporter[T]) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run sends batches until the end. encode makes the message, nil if there is nothing to send.
func (e *exporter[T]) run(encode func([]T) request) {
	defer close(e.finished)
	for {
		batch := e.take()
		if batch == nil {
			return
		}
		err := e.deliver(encode(batch))
		e.mu.Lock()
		e.gone += int64(len(batch))
		if err != nil {
			e.lose(len(batch), err)
		}
		e.advance()
		e.mu.Unlock()
	}
}

// take waits for the next batch; nil at the end.
func (e *exporter[T]) take() []T {
	for {
		wait, batch := e.next()
		if batch != nil {
			return batch
		}
		timer := time.NewTimer(wait)
		select {
		case <-e.wake:
		case <-timer.C:
		case <-e.closed:
			if e.empty() {
				timer.Stop()
				return nil
			}
		}
		timer.Stop()
	}
}

func (e *exporter[T]) empty() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.buffer) == 0
}

// next is the next batch, or how long to wait for one.
func (e *exporter[T]) next() (time.Duration, []T) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.buffer)
	if n == 0 {
		return time.Hour, nil
	}
	if wait := time.Until(
		e.since.Add(batchDelay),
	); wait > 0 && n < batchRecords && e.bytes < batchBytes && e.urgent <= e.gone &&
		!is(e.hurried) {
		return wait, nil
	}
	var batch []T
	for weight := 0; len(e.buffer) > 0 && len(batch) < batchRecords && weight < batchBytes; {
		r := e.pop()
		weight += r.weight()
		batch = append(batch, r)
	}
	e.since = time.Now()
	return 0, batch
}

// is reports whether c is closed.
func is(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// deliver sends a message until it was taken, or never will be.
func (e *exporter[T]) deliver(message request) error {
	if message == nil {
		return nil
	}
	body, err := e.target.encode(message)
	if err != nil {
		return err
	}
	tries := 0
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		again, after, err := e.post(body)
		e.mu.Lock()
		e.refused = err != nil
		e.advance()
		e.mu.Unlock()
		if err == nil || !again {
			return err
		}
		if is(e.hurried) && after == 0 {
			if tries++; tries == hurriedTries {
				e.cancel()
			}
		}
		if !e.sleep(pause, after) {
			return err
		}
	}
}

// sleep waits before the next attempt: after, if the server said so, else about pause. False if there is no time for
// it.
func (e *exporter[T]) sleep(pause, after time.Duration) bool {
	if after == 0 {
		after = pause - rand.N(pause/2)
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			return e.ctx.Err() == nil
		case <-e.hurried:
			after = min(after, hurriedPause)
		}
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	hurried := e.hurried
	for {
		select {
		case <-timer.C:
			return e.ctx.Err() == nil
		case <-hurried: // a wait that goes beyond the end is given up now
			e.mu.Lock()
			left := time.Until(e.end)
			e.mu.Unlock()
			if left < after {
				return false
			}
			hurried = nil
		case <-e.ctx.Done():
			return false
		}
	}
}

// request is a message for the server.
type request interface{ write(m *message) }

// encode makes the body of a request.
func (s *target) encode(r request) (body []byte, err error) {
	if s.protobuf {
		var m message
		r.write(&m)
		body = m
	} else if body, err = json.Marshal(r); err != nil {
		return nil, err
	}
	if !s.gzip {
		return body, nil
	}
	var small bytes.Buffer
	w := gzip.NewWriter(&small)
	_, err = w.Write(body)
	err = errors.Join(err, w.Close()) // which writes the end
	return small.Bytes(), err
}

// post makes one attempt. After an error it says whether and when another one makes sense.
func (e *exporter[T]) post(body []byte) (again bool, after time.Duration, err error) {
	s := e.target
	req, err := http.NewRequestWithContext(e.ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	req.Header = s.headers.Clone()
	req.Header.Set("Content-Type", "application/json")
	if s.protobuf {
		req.Header.Set("Content-Type", "application/x-protobuf")
	}
	if s.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return e.ctx.Err() == nil, 0, err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // the status is what counts
	switch {
	case slices.Contains(transient, resp.StatusCode):
		return true, retryAfter(resp.Header.Get("Retry-After"), time.Now()), fmt.Errorf("%s answers %s", s.shown, resp.Status)
	case resp.StatusCode/100 == 3:
		return false, 0, fmt.Errorf(
			"%s answers %s and points to %q: set the endpoint to that address",
			s.shown,
			resp.Status,
			location(resp),
		)
	case resp.StatusCode == http.StatusNotFound:
		return false, 0, fmt.Errorf(
			"%s answers %s: set OTEL_LOGS_EXPORTER or OTEL_TRACES_EXPORTER to none for what the server does not take: %.300s",
			s.shown,
			resp.Status,
			answer,
		)
	case resp.StatusCode/100 != 2:
		return false, 0, fmt.Errorf("%s answers %s: %.300s", s.shown, resp.Status, answer)
	}
	e.partial(answer)
	return false, 0, nil
}

// transient are the answers after which the same request may be taken.
var transient = []int{
	http.StatusTooManyRequests,
	http.StatusBadGateway,
	http.StatusServiceUnavailable,
	http.StatusGatewayTimeout,
}

// partial looks whether the server took only a part. The rest must not be sent again.
func (e *exporter[T]) partial(answer []byte) {
	read := readPartialJSON
	if e.target.protobuf {
		read = readPartial
	}
	rejected, why := read(answer)
	if rejected > 0 {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.lose(int(rejected), fmt.Errorf("%s rejected them: %s", e.target.shown, why))
	}
}

// lose counts what is lost, and says so once a minute; called with mu held.
func (e *exporter[T]) lose(n int, why error) {
	e.lost += int64(n)
	if e.why == nil || e.ctx.Err() == nil { // that there was no time left says less than what came before
		e.why = why
	}
	if time.Since(e.said) >= complainEvery {
		e.complain()
	}
}

// complain is called with mu held.
func (e *exporter[T]) complain() {
	if e.lost > 0 {
		fmt.Fprintf(os.Stderr, "%d %s were lost: %v\n", e.lost, e.kind, e.why)
		e.lost, e.why, e.said = 0, nil, time.Now()
	}
}

// advance wakes the callers of flush; called with mu held.
func (e *exporter[T]) advance() {
	close(e.progress)
	e.progress = make(chan struct{})
}

// flush sends everything that was added so far without waiting for more, and waits until it has left, or ctx ends.
// Unless it is patient it does not wait for a server that has just refused something.
func (e *exporter[T]) flush(ctx context.Context, patient bool) {
	e.mu.Lock()
	all := e.added
	e.urgent = all
	e.mu.Unlock()
	e.nudge()
	for {
		e.mu.Lock()
		left, progress := e.gone >= all || e.refused && !patient, e.progress
		e.mu.Unlock()
		if left {
			return
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return
		case <-e.ctx.Done():
			return
		}
	}
}

// hurry says when everything ends. What is added from now on is sent at once. Only the first one counts.
func (e *exporter[T]) hurry(end time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if is(e.hurried) {
		return
	}
	e.end = end
	time.AfterFunc(time.Until(end), e.cancel)
	close(e.hurried)
	e.nudge()
}

// close ends the exporter once everything has left, or there is no time left; then what was lost is said.
func (e *exporter[T]) close() {
	close(e.closed)
	select {
	case <-e.finished:
	case <-e.ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := e.added - e.gone; n > 0 {
		e.lost += n
		if e.why == nil {
			e.why = fmt.Errorf("there was no time to send them")
		}
	}
	e.complain()
}

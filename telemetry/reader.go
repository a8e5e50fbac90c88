package telemetry

import (
	"context"
	"gantry/logger"
	"io"
	"sync"
)

// reader is what one tap has of its own. Publishers hold the stream's lock when they take this one, never the other way
// round. It is held for the work on the buffer alone, so that publishers do not wait for the goroutine that reads.
type reader struct {
	types               Type
	maxEvents, maxBytes int
	wake                chan struct{} // has one while there may be an event
	done                chan struct{} // closed when nothing more comes

	mu sync.Mutex
	buffer
	lost  drops
	ended bool
}

func newReader(types Type, maxEvents, maxBytes int) *reader {
	return &reader{
		types: types, maxEvents: maxEvents, maxBytes: maxBytes,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

func (r *reader) putEvent(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.push(e)
	r.settle()
}

func (r *reader) putLine(l *logger.Line, extension string, text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pushLine(l, extension, text)
	r.settle()
}

// settle makes room for what came last, and wakes a goroutine that waits for it; called with mu held.
func (r *reader) settle() {
	for r.overfull(r.maxEvents, r.maxBytes) {
		r.lost.records++
		r.lost.bytes += int64(r.shed())
	}
	if r.waiting() == 1 {
		r.rouse()
	}
}

func (r *reader) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// next takes the oldest event out, and waits for one. An end of ctx goes before an event only at the beginning: after a
// wake-up, of which there is one for all goroutines that wait, it would be lost for the others.
func (r *reader) next(ctx context.Context) (Event, error) {
	if err := ctx.Err(); err != nil {
		return Event{}, err
	}
	for {
		e, found, ended := r.take()
		switch {
		case found:
			return e, nil
		case ended:
			return Event{}, io.EOF
		}
		select {
		case <-r.wake:
		case <-r.done:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// take takes the oldest event out if there is one; ended means that none follows.
func (r *reader) take() (e Event, found, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting() == 0 {
		return e, false, r.ended
	}
	e = r.pop()
	if r.waiting() > 0 { // another one may wait, too
		r.rouse()
	}
	return e, true, false
}

// dropped is what did not fit so far.
func (r *reader) dropped() drops {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// end says that nothing more comes.
func (r *reader) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.ended = true
		close(r.done)
	}
}

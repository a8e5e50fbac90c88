package api

import "sync"

func newBuffer(n int) *[]byte {
	b := make([]byte, 0, n)
	return &b
}

func poolOf(size int) *sync.Pool {
	switch size {
	case promptBody:
		return &promptBuffers
	case mediumBody:
		return &mediumBuffers
	case smallBody:
		return &smallBuffers
	case commonBody:
		return &commonBuffers
	}
	return nil
}

func takeBuffer(size int) []byte {
	if pool := poolOf(size); pool != nil {
		return (*pool.Get().(*[]byte))[:0]
	}
	return make([]byte, 0, size)
}

func returnBuffer(b []byte) {
	if pool := poolOf(cap(b)); pool != nil {
		pool.Put(&b)
	}
}

// spare keeps the last large buffers, so that a steady stream of large bodies does not make the collector run for each
// one.
type spare struct {
	mu      sync.Mutex
	buffers [spareBuffers][]byte
}

// take returns a buffer of at least n bytes, or nil.
func (s *spare) take(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range s.buffers {
		if cap(b) >= n && cap(b)/2 <= n {
			s.buffers[i] = nil
			return b[:0]
		}
	}
	return nil
}

// put keeps a buffer, instead of the smallest one if there are enough.
func (s *spare) put(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := 0
	for i := range s.buffers {
		if cap(s.buffers[i]) < cap(s.buffers[least]) {
			least = i
		}
	}
	if cap(b) > cap(s.buffers[least]) {
		s.buffers[least] = b
	}
}

// drop lets go of all.
func (s *spare) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buffers = [spareBuffers][]byte{}
}

const (
	// promptBody is the largest body that is read before its request is looked at, in bytes.
	promptBody = 4 << 10
	// mediumBody is a size between both.
	mediumBody = 16 << 10
	// smallBody is the largest body that never waits for memory, in bytes.
	smallBody = 64 << 10
	// commonBody is the largest body whose buffer is pooled, in bytes. The collector empties a pool that is not used.
	commonBody = 128 << 10
	// narrowRead bounds one read while a header or a first piece of a body arrives, so that connections that send
	// little hold little: fasthttp's buffer has headerLimit bytes, and takes memory only where something was written.
	narrowRead = 16 << 10
	// freeHead is how much of a request may arrive before it takes a share of the memory for bodies.
	freeHead = 16 << 10
)

// Small buffers are pooled. Of large ones only a few are kept, and none after a burst: see spare.
var (
	promptBuffers = sync.Pool{New: func() any { return newBuffer(promptBody) }}
	mediumBuffers = sync.Pool{New: func() any { return newBuffer(mediumBody) }}
	smallBuffers  = sync.Pool{New: func() any { return newBuffer(smallBody) }}
	commonBuffers = sync.Pool{New: func() any { return newBuffer(commonBody) }}
)

// spareBuffers is how many large buffers are kept.
const spareBuffers = 2

package telemetry

// deque is a buffer that grows as needed and lets its memory go when it is empty.
type deque[T any] struct {
	buf  []T // its length is a power of two, or 0
	head int
	n    int
}

const (
	smallDeque = 64
	keptDeque  = 2048 // a larger one is given up when it is empty
)

func (d *deque[T]) push(e *T) {
	if d.n == len(d.buf) {
		grown := make([]T, max(2*d.n, smallDeque))
		for i := range d.n {
			grown[i] = d.buf[(d.head+i)&(len(d.buf)-1)]
		}
		d.buf, d.head = grown, 0
	}
	d.buf[(d.head+d.n)&(len(d.buf)-1)] = *e
	d.n++
}

// front returns the oldest event; there must be one.
func (d *deque[T]) front() *T { return &d.buf[d.head] }

// pop takes the oldest event out; there must be one.
func (d *deque[T]) pop() T {
	e := d.buf[d.head]
	var none T
	d.buf[d.head] = none // lets go of what it points to
	d.head = (d.head + 1) & (len(d.buf) - 1)
	if d.n--; d.n == 0 && len(d.buf) > keptDeque {
		d.buf, d.head = nil, 0
	}
	return e
}

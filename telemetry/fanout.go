package telemetry

import (
	"gantry/logger"
	"slices"
)

// fanout hands events to the readers beside the subscriber. The stream's mu guards it.
type fanout struct {
	readers []*reader
	types   Type // of all readers together
}

func (f *fanout) add(r *reader) {
	f.readers = append(f.readers, r)
	f.types |= r.types
}

// remove takes a reader out and ends it, if it is there.
func (f *fanout) remove(r *reader) {
	i := slices.Index(f.readers, r)
	if i < 0 {
		return
	}
	f.readers, f.types = slices.Delete(f.readers, i, i+1), 0
	for _, other := range f.readers {
		f.types |= other.types
	}
	r.end()
}

// end ends all readers.
func (f *fanout) end() {
	for _, r := range f.readers {
		r.end()
	}
	*f = fanout{}
}

// event hands out a platform event; each reader has its copy.
func (f *fanout) event(e *Event) {
	for _, r := range f.readers {
		if r.types&TypePlatform != 0 {
			r.putEvent(e)
		}
	}
}

// line hands out a line of that type; the readers share text, which is a copy.
func (f *fanout) line(typ Type, l *logger.Line, extension string, text []byte) {
	for _, r := range f.readers {
		if r.types&typ != 0 {
			r.putLine(l, extension, text)
		}
	}
}

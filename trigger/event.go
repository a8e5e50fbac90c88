package trigger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Event is one event of a trigger, before it is written.
type Event struct {
	trigger *Trigger
	now     time.Time
	root    *node
}

// New makes an event with fresh ids; its times are now.
func (t *Trigger) New(now time.Time) (*Event, error) {
	root, err := t.template(now)
	if err != nil {
		return nil, err
	}
	return &Event{t, now, root}, nil
}

// JSON is the event in one line, as the function gets it.
func (e *Event) JSON() ([]byte, error) {
	if path := e.root.badText(nil, ""); path != "" {
		return nil, fmt.Errorf("%s: the value is no UTF-8, which JSON needs; only data in Base64 may be any bytes", path)
	}
	b := e.root.write(nil, nil)
	return b, e.trigger.fits(b)
}

// The sizes of the largest events, in bytes: of one that is delivered asynchronously, and of any other.
const mostAsync, mostSync = 256 << 10, 6 << 20

// fits reports whether the platform takes an event of that size.
func (t *Trigger) fits(b []byte) error {
	most := mostSync
	if t.Async {
		most = mostAsync
	}
	if len(b) > most {
		return fmt.Errorf("the event has %d bytes, and an event of %s has %d at most", len(b), t.Name, most)
	}
	return nil
}

// Indented is the event for people, with a line for each member.
func (e *Event) Indented() ([]byte, error) {
	line, err := e.JSON()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, line, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// fresh is the node at a path in a new event, with the first element in place of any other; null where the event
// has none.
func (e *Event) fresh(path string) (*node, error) {
	n, err := e.trigger.template(e.now)
	if err != nil {
		return nil, err
	}
	for _, key := range split(path) {
		switch {
		case n.kind == list && len(n.vals) > 0:
			n = n.vals[0]
		case n.kind == object && n.member(key) != nil:
			n = n.member(key)
		default:
			return &node{}, nil
		}
	}
	return n, nil
}

// Path is a place in an event that can be set.
type Path struct {
	// Path has the keys and indexes with dots between them; Short is a short name for it, or nothing.
	Path, Short string
	// Type is what a value has to be, with the encoding that it gets.
	Type string
}

// Paths lists every place in an event of the trigger that can be set, in its order.
func (t *Trigger) Paths() ([]Path, error) {
	root, err := t.template(time.Unix(0, 0))
	if err != nil {
		return nil, err
	}
	var paths []Path
	t.paths(root, "", &paths)
	return paths, nil
}

func (t *Trigger) paths(n *node, at string, paths *[]Path) {
	short := t.short(at)
	switch {
	case n.is(texts):
		if short != "" {
			short += ".NAME"
		}
		*paths = append(*paths, Path{Path: at + ".NAME", Short: short, Type: text.String()})
		return
	case n.kind < list || n.is(free) || short != "":
		*paths = append(*paths, Path{at, short, n.describe()})
	}
	if n.is(free) {
		return
	}
	for i, v := range n.vals {
		t.paths(v, join(at, n.key(i)), paths)
	}
}

// short is the short name of a path, or nothing.
func (t *Trigger) short(path string) string {
	for _, n := range t.Names {
		if n.Path == path {
			return n.Name
		}
	}
	return ""
}

// describe says what a value has to be.
func (n *node) describe() string {
	kinds := []string{n.kind.String()}
	if n.is(free) {
		kinds[0] = "JSON"
	}
	for k := range object + 1 {
		if n.allows(k) && k != n.kind {
			kinds = append(kinds, k.String())
		}
	}
	s := strings.Join(kinds, " or ")
	switch {
	case n.is(inBase64) && n.is(inJSON):
		s += ", written as Base64 of its JSON"
	case n.is(inBase64):
		s += ", written as Base64"
	case n.is(inURL):
		s += ", written URL-encoded"
	case n.is(inJSON):
		s += ", written as JSON in a text"
	}
	return s
}

package trigger

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// place is where a path leads.
type place struct {
	path string
	n    *node
	// free says that it is in a part of the event that is the user's own.
	free bool
}

// below is the place of a member or element.
func (p *place) below(key string, n *node) *place {
	return &place{join(p.path, key), n, p.free || p.n.is(free)}
}

// Set sets the value at a path, or at the short name of one. The value is in plain: the event has it encoded. A value
// of a wrong type, and a path that does not exist, are errors that say what would be right.
func (e *Event) Set(path, value string) error {
	p, err := e.find(path)
	if err != nil {
		return err
	}
	given, err := p.read(value)
	if err != nil {
		return err
	}
	return e.take(p, given)
}

// long is the path without a short name at its beginning.
func (e *Event) long(path string) string {
	first, rest, more := strings.Cut(path, ".")
	for _, n := range e.trigger.Names {
		if n.Name == first && more {
			return n.Path + "." + rest
		}
		if n.Name == first {
			return n.Path
		}
	}
	return path
}

// find walks to a path. What may be added on the way is added.
func (e *Event) find(path string) (*place, error) {
	p := &place{n: e.root}
	for rest := split(e.long(path)); len(rest) > 0; rest = rest[1:] {
		if p.n.is(texts) { // the name of a header may have dots
			rest = []string{strings.Join(rest, ".")}
		}
		if rest[0] == "" && !p.n.is(texts) {
			return nil, errors.New(short(path) + " is no path: want keys and indexes with a dot between two of them")
		}
		next, err := e.step(p, rest[0])
		if err != nil {
			return nil, err
		}
		p = next
	}
	return p, nil
}

// step goes to a member or an element.
func (e *Event) step(p *place, key string) (*place, error) {
	n := p.n
	if n.kind == null && (p.free || n.is(free) || n.allows(object)) {
		n.kind, n.flags = object, n.flags|free
	}
	if n.kind == list {
		return e.element(p, key)
	}
	if n.is(lower) {
		key = strings.ToLower(key)
	}
	switch m := n.member(key); {
	case n.kind != object:
		return nil, errors.New(p.path + " is " + n.kind.String() + " and has no member " + short(key))
	case m != nil:
		return p.below(key, m), nil
	case n.is(texts):
		n.add(key, &node{kind: text})
	case p.free || n.is(free):
		n.add(key, &node{})
	default:
		return nil, e.unknown(p, key)
	}
	return p.below(key, n.member(key)), nil
}

// element goes to an element of a list, or to a new one behind the last.
func (e *Event) element(p *place, key string) (*place, error) {
	size := len(p.n.vals)
	i, err := strconv.Atoi(key)
	if err != nil || i < 0 || i > size {
		last := strconv.Itoa(size)
		return nil, errors.New(p.path + " is a list: want an index behind it, from 0 to " + last + ", where " + last +
			" adds an element, and not " + short(key))
	}
	if i == size {
		added := &node{}
		if !p.free && !p.n.is(free) {
			if added, err = e.fresh(join(p.path, key)); err != nil {
				return nil, err
			}
		}
		p.n.vals = append(p.n.vals, added)
	}
	return p.below(key, p.n.vals[i]), nil
}

// unknown is the error for a key that an object does not have.
func (e *Event) unknown(p *place, key string) error {
	known, where := p.n.keys, p.path
	if where == "" {
		where = "the event of " + e.trigger.Name
		known = nil
		for _, n := range e.trigger.Names {
			known = append(known, n.Name)
		}
		for _, k := range p.n.keys {
			if !slices.Contains(known, k) {
				known = append(known, k)
			}
		}
	}
	near := nearest(key, known)
	if near == "" && p.path == "" { // it may be a key from further down
		paths, err := e.trigger.Paths()
		if err != nil {
			return err
		}
		for _, at := range paths {
			if near == "" && strings.HasSuffix(at.Path, "."+key) {
				near = at.Path
			}
		}
	}
	return errors.New(where + " has no " + short(key) + meant(near) + "; it has " + strings.Join(known, ", "))
}

// read makes a value of what was typed: text where the event has text, else JSON.
func (p *place) read(value string) (*node, error) {
	n, asText := p.n, &node{kind: text, text: value}
	if n.kind == text && !p.free {
		return asText, nil
	}
	given, wrong := parse([]byte(value))
	right := wrong == nil && (p.free || given.kind == n.kind || n.allows(given.kind) || n.is(inJSON) && given.kind == text)
	switch {
	case right:
		if key, found := given.repeated(); found {
			return nil, errors.New("the JSON has the key " + short(key) + " twice")
		}
		return given, nil
	case p.free || n.allows(text):
		return asText, nil
	}
	wants := n.describe()
	if n.kind >= list {
		wants = n.kind.String() + " as JSON"
	}
	return nil, p.mismatch(wants, short(value))
}

// take puts a value in a place. Members that an object of the event has, and the value has not, stay as they are.
func (e *Event) take(p *place, given *node) error {
	n := p.n
	if n.is(inJSON) && n.kind != text && given.kind == text { // it is encoded already
		if plain, err := parse([]byte(given.text)); err == nil {
			given = plain
		}
	}
	if given.kind != n.kind && !n.allows(given.kind) && !p.free {
		return p.mismatch(n.describe(), given.shown())
	}
	n.absent, n.follows = false, false
	switch {
	case p.free || n.is(free) || given.kind != n.kind:
		n.kind, n.text = given.kind, given.text
		n.keep(given.keys, given.vals, nil)
		n.flags |= free
	case n.kind == list:
		n.vals = nil
		for i, v := range given.vals {
			below, err := e.element(p, strconv.Itoa(i))
			if err != nil {
				return err
			}
			if err := e.take(below, v); err != nil {
				return err
			}
		}
	case n.kind == object:
		if n.is(texts) {
			n.keep(nil, nil, nil)
		}
		for i, v := range given.vals {
			below, err := e.step(p, given.keys[i])
			if err != nil {
				return err
			}
			if err := e.take(below, v); err != nil {
				return err
			}
		}
	case n.is(urn) && !strings.Contains(given.text, ":"):
		n.text = n.text[:strings.LastIndexByte(n.text, ':')+1] + given.text
	default:
		n.text = given.text
	}
	return nil
}

func (p *place) mismatch(wants, value string) error {
	return errors.New(p.path + " wants " + wants + ", and got " + value)
}

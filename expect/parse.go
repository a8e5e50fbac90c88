package expect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Parse reads a file. An error says at which line or path it is, and what would be right.
func Parse(file []byte) (*Expectation, error) {
	var whole json.RawMessage
	if err := json.Unmarshal(file, &whole); err != nil { // the depth is limited here
		at := len(file)
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at = int(syntax.Offset)
		}
		return nil, fmt.Errorf("line %d: %w; want JSON", 1+bytes.Count(file[:min(at, len(file))], []byte("\n")), err)
	}
	dec := json.NewDecoder(bytes.NewReader(file))
	dec.UseNumber()
	p := &parser{dec: dec}
	want, err := p.value("$")
	if err != nil {
		return nil, err
	}
	return &Expectation{want: want, failed: p.failed}, nil
}

// parser reads JSON that is known to be correct, in its order.
type parser struct {
	dec    *json.Decoder
	failed bool // the whole is {"$error": …}
}

func (p *parser) value(path string) (node, error) {
	token, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return p.array(path)
		}
		return p.object(path)
	case string:
		n, err := stringNode(token)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return n, nil
	}
	return literal{token}, nil
}

func stringNode(s string) (node, error) {
	switch {
	case strings.HasPrefix(s, "$$"):
		return literal{s[1:]}, nil
	case strings.HasPrefix(s, "$"):
		return newMatcher(s)
	}
	return literal{s}, nil
}

func (p *parser) array(path string) (node, error) {
	a := array{}
	for p.dec.More() {
		n, err := p.value(fmt.Sprintf("%s[%d]", path, len(a)))
		if err != nil {
			return nil, err
		}
		a = append(a, n)
	}
	_, err := p.dec.Token()
	return a, err
}

// object reads the rest of an object, which may be one that stands for something else.
func (p *parser) object(path string) (node, error) {
	var o object
	var alone node
	seen := map[string]bool{}
	for p.dec.More() {
		token, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		name := token.(string) // the decoder has checked it
		if seen[name] {
			return nil, fmt.Errorf("%s: member %.100q is there twice", path, name)
		}
		seen[name] = true
		n, err := p.member(path, name, &o)
		if err != nil {
			return nil, err
		}
		if n != nil {
			alone = n
		}
	}
	if _, err := p.dec.Token(); err != nil {
		return nil, err
	}
	if alone == nil {
		return o, nil
	}
	if len(seen) > 1 {
		return nil, fmt.Errorf("%s: %s and %s have no other members beside them", path, memberJSON, memberError)
	}
	return alone, nil
}

// member reads one member into o, or returns the node that the whole object stands for.
func (p *parser) member(path, name string, o *object) (node, error) {
	escaped := strings.HasPrefix(name, "$$")
	switch {
	case name == memberMore:
		token, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		if token != true {
			return nil, fmt.Errorf("%s: %s has the value true, or is left out", path, memberMore)
		}
		o.more = true
		return nil, nil
	case name == memberJSON:
		n, err := p.value(path + "." + memberJSON)
		return inner{n}, err
	case name == memberError && path == "$" && !p.failed:
		p.failed = true
		return p.value("$")
	case name == memberError:
		return nil, fmt.Errorf("%s: %s is for the whole result: it stands at the top", path, memberError)
	case strings.HasPrefix(name, "$") && !escaped:
		return nil, fmt.Errorf("%s: %.100q is none of %s, %s and %s; a name that begins with $ is written with $$",
			path, name, memberMore, memberJSON, memberError)
	case escaped:
		name = name[1:]
	}
	n, err := p.value(step(path, name))
	if err != nil {
		return nil, err
	}
	o.members = append(o.members, member{name, n})
	return nil, nil
}

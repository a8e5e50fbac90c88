package trigger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// node is a JSON value. Its members keep their order: people read the event.
type node struct {
	kind kind
	text string   // of a text its characters, of a number or boolean its literal
	keys []string // of an object
	vals []*node  // of an object or a list
	rule
	// follows says that the text is still the template's, which may name other members.
	follows bool
	// absent says that the member is in some events only, and not in this one.
	absent bool
	// twice are keys that the object has more than once.
	twice []string
	// places are the indexes of the keys, alike the same by what normal makes of them; nil while the object is short, or
	// until they are asked for. keep renews them.
	places, alike map[string]int
}

// longObject is from where on keys are found by a map: an event of some megabytes may have a million of them.
const longObject = 32

// member returns the value of a key, nil if there is none.
func (n *node) member(key string) *node {
	if len(n.keys) <= longObject {
		if i := slices.Index(n.keys, key); i >= 0 {
			return n.vals[i]
		}
		return nil
	}
	if n.places == nil {
		n.places = placesOf(n.keys, func(key string) string { return key })
	}
	if i, ok := n.places[key]; ok {
		return n.vals[i]
	}
	return nil
}

// placesOf are the first places of what form makes of the keys.
func placesOf(keys []string, form func(key string) string) map[string]int {
	places := make(map[string]int, len(keys))
	for i, key := range keys {
		formed := form(key)
		if _, known := places[formed]; !known {
			places[formed] = i
		}
	}
	return places
}

func (n *node) add(key string, value *node) {
	if n.places != nil {
		n.places[key] = len(n.keys)
	}
	n.keep(append(n.keys, key), append(n.vals, value), n.places)
}

// keep replaces the members. places may be nil.
func (n *node) keep(keys []string, vals []*node, places map[string]int) {
	n.keys, n.vals, n.places, n.alike = keys, vals, places, nil
}

// clone copies a value with all that is below it.
func (n *node) clone() *node {
	c := *n
	c.keep(slices.Clone(n.keys), make([]*node, len(n.vals)), nil)
	for i, v := range n.vals {
		c.vals[i] = v.clone()
	}
	return &c
}

// parse reads JSON. An error names line and column.
func parse(b []byte) (*node, error) {
	var raw json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil { // it also bounds the depth
		var wrong *json.SyntaxError
		if len(bytes.TrimSpace(b)) == 0 {
			return nil, errors.New("nothing is there, want the JSON of an event")
		}
		if !errors.As(err, &wrong) {
			return nil, err
		}
		before := b[:min(max(int(wrong.Offset)-1, 0), len(b))]
		line := bytes.Count(before, []byte("\n")) + 1
		column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
		return nil, fmt.Errorf("no JSON: line %d, column %d: %w", line, column, wrong)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return read(d)
}

func read(d *json.Decoder) (*node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case bool:
		return &node{kind: boolean, text: strconv.FormatBool(t)}, nil
	case json.Number:
		return &node{kind: number, text: t.String()}, nil
	case string:
		return &node{kind: text, text: t}, nil
	case json.Delim:
		return readBelow(d, t)
	}
	return &node{}, nil
}

// readBelow reads the elements or members of a list or object up to its end.
func readBelow(d *json.Decoder, begin json.Delim) (*node, error) {
	n := &node{kind: list}
	if begin == '{' {
		n.kind = object
	}
	for d.More() {
		key := ""
		if n.kind == object {
			token, err := d.Token()
			if err != nil {
				return nil, err
			}
			key, _ = token.(string)
		}
		value, err := read(d)
		switch {
		case err != nil:
			return nil, err
		case n.kind == list:
			n.vals = append(n.vals, value)
		case n.member(key) != nil:
			n.twice = append(n.twice, key)
		default:
			n.add(key, value)
		}
	}
	_, err := d.Token()
	return n, err
}

// plain writes the value as it is, without encodings of its own; those of its members are done.
func (n *node) plain(b []byte) []byte {
	switch n.kind {
	case null:
		return append(b, "null"...)
	case text:
		return quote(b, n.text)
	case list:
		b = append(b, '[')
		for i, v := range n.vals {
			if i > 0 {
				b = append(b, ',')
			}
			b = v.write(b, n)
		}
		return append(b, ']')
	case object:
		b = append(b, '{')
		first := true
		for i, v := range n.vals {
			if v.absent {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(quote(b, n.keys[i]), ':')
			b = v.write(b, n)
		}
		return append(b, '}')
	}
	return append(b, n.text...)
}

// write writes the value with its encodings. parent is the object or list that has it.
func (n *node) write(b []byte, parent *node) []byte {
	if n.follows {
		n = &node{kind: text, text: n.followed(parent), rule: n.rule}
	}
	if !n.encoded(parent) {
		return n.plain(b)
	}
	return quote(b, n.encode(n.content()))
}

// content is what is encoded: the characters of a text, the JSON of anything else.
func (n *node) content() []byte {
	if n.is(inJSON) || n.kind != text {
		return n.plain(nil)
	}
	return []byte(n.text)
}

// quote writes a text as JSON. Characters of HTML stay as they are: people read the event.
func quote(b []byte, s string) []byte {
	var buffer bytes.Buffer
	e := json.NewEncoder(&buffer)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a text has no other outcome
	return append(b, bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))...)
}

// encoded reports whether the value is encoded into a text. A body in Base64 is plain where its event says so.
func (n *node) encoded(parent *node) bool {
	if n.is(inBase64) && parent != nil {
		if flag := parent.member("isBase64Encoded"); flag != nil && flag.text == "false" {
			return false
		}
	}
	return n.is(inBase64) || n.is(inURL) || n.is(inJSON)
}

// followed is the text with that of the member that it names by <=a.b>, as seen from the object that has it.
func (n *node) followed(parent *node) string {
	done, rest, _ := strings.Cut(n.text, "<=")
	path, after, found := strings.Cut(rest, ">")
	if !found {
		return n.text
	}
	at := parent
	for key := range strings.SplitSeq(path, ".") {
		if at != nil {
			at = at.member(key)
		}
	}
	if at != nil {
		done += at.text
	}
	return done + after
}

// badText finds a text that is no UTF-8 and has no encoding that could carry it; path is where n is.
func (n *node) badText(parent *node, path string) string {
	anyBytes := n.is(inBase64) && n.encoded(parent)
	if n.kind == text && !anyBytes && !utf8.ValidString(n.text) {
		return path
	}
	for i, v := range n.vals {
		if bad := v.badText(n, join(path, n.key(i))); bad != "" {
			return bad
		}
	}
	return ""
}

// repeated finds a key that an object has more than once.
func (n *node) repeated() (key string, found bool) {
	if len(n.twice) > 0 {
		return n.twice[0], true
	}
	for _, v := range n.vals {
		if key, found = v.repeated(); found {
			break
		}
	}
	return key, found
}

// key is the last part of the path of a member or element.
func (n *node) key(i int) string {
	if n.kind == list {
		return strconv.Itoa(i)
	}
	return n.keys[i]
}

var escapes = strings.NewReplacer(`\`, `\\`, `.`, `\.`)

// join adds a key to a path. A dot in the key is no border.
func join(path, key string) string {
	key = escapes.Replace(key)
	if path == "" {
		return key
	}
	return path + "." + key
}

// split is the keys of a path.
func split(path string) (keys []string) {
	var key strings.Builder
	escaped := false
	for _, r := range path {
		switch {
		case !escaped && r == '\\':
			escaped = true
			continue
		case !escaped && r == '.':
			keys = append(keys, key.String())
			key.Reset()
		default:
			key.WriteRune(r)
		}
		escaped = false
	}
	return append(keys, key.String())
}

// shown is a value for messages: the type, and what stands there.
func (n *node) shown() string {
	switch n.kind {
	case text:
		return "the text " + short(n.text)
	case number:
		return "the number " + n.text[:min(len(n.text), 40)]
	}
	return n.kind.String()
}

// short is the beginning of a value, for messages.
func short(s string) string {
	const most = 60
	if !utf8.ValidString(s) {
		return "binary data"
	}
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return strconv.Quote(s)
}

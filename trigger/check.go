package trigger

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Finding is what is wrong, or unusual, at one place of an event.
type Finding struct {
	// Path leads to the place, as Set takes it; it is empty for the event as a whole.
	Path string
	// Text says what is there, and what would be right.
	Text string
	// Warning says that the event can come like this, and that something about it is worth a look.
	Warning bool
}

// Report is what a check has found.
type Report struct {
	// Trigger is the one whose event it is, or is meant to be; nil if it is like none.
	Trigger  *Trigger
	Findings []Finding

	templates *node
}

// Failures is how many findings are wrong.
func (r *Report) Failures() (n int) {
	for _, f := range r.Findings {
		if !f.Warning {
			n++
		}
	}
	return n
}

func (r *Report) fail(path string, words ...string) { r.add(path, false, words) }

func (r *Report) warn(path string, words ...string) { r.add(path, true, words) }

// add is called in many places, and its copies would be as large as everything else.
//
//go:noinline
func (r *Report) add(path string, warning bool, words []string) {
	r.Findings = append(r.Findings, Finding{path, strings.Join(words, ""), warning})
}

// Check says which trigger sends an event like this, and what is wrong with it.
func Check(b []byte) (*Report, error) {
	r := &Report{}
	n, err := parse(b)
	if err != nil {
		r.fail("", err.Error())
		return r, nil
	}
	if n.kind != object {
		r.fail("", "it is ", n.kind.String(), ", and every trigger sends an object")
		return r, nil
	}
	if r.templates, err = allTemplates(); err != nil {
		return nil, err
	}
	t, template := recognise(n, r.templates)
	if t == nil {
		keys := slices.Clone(n.keys[:min(len(n.keys), 10)])
		r.fail("", "no trigger sends an event with these keys: ", strings.Join(keys, ", "))
		return r, nil
	}
	r.Trigger = t
	r.compare(&place{n: n}, template, nil)
	if err := t.fits(b); err != nil {
		r.fail("", err.Error())
	}
	return r, nil
}

// compare compares a value with that of the template; parent is the object or list that has the value.
func (r *Report) compare(p *place, template, parent *node) {
	path := p.path
	if p.n.kind == text && (template.encoded(parent) || template.is(inBase64)) {
		r.encoded(p, template, parent)
		return
	}
	if template.encoded(parent) {
		if !template.allows(p.n.kind) {
			r.fail(path, "is ", p.n.kind.String(), ", want ", template.describe())
			return
		}
		r.warn(path, "is ", p.n.kind.String(), "; the platform's examples have it as JSON in a text")
	}
	r.value(p, template)
}

// value compares a value without encodings.
func (r *Report) value(p *place, template *node) {
	n, path := p.n, p.path
	for _, key := range n.twice {
		r.fail(join(path, key), "is there twice")
	}
	switch {
	case n.kind != template.kind && !template.allows(n.kind):
		r.fail(path, "is ", n.shown(), ", want ", template.describe())
	case n.kind != template.kind || template.is(free):
	case template.is(texts):
		r.texts(p, template)
	case n.kind == object:
		r.members(p, template)
	case n.kind == list && len(template.vals) > 0:
		if len(n.vals) == 0 {
			r.warn(path, "is empty; an event has one element at least")
		}
		for i, v := range n.vals {
			r.compare(p.below(strconv.Itoa(i), v), template.vals[0], n)
		}
	case template.is(constant) && n.text != template.text:
		r.fail(path, "is ", n.shown(), ", want ", short(template.text))
	case template.layout != "":
		r.time(path, n, template)
	}
}

// encoded decodes a text and compares what is in it.
func (r *Report) encoded(p *place, template, parent *node) {
	path := p.path
	if !template.encoded(parent) { // its event says so
		r.warn(path, "is plain text; API Gateway sends true as isBase64Encoded, and Base64")
		return
	}
	decoded, err := template.decode(p.n.text)
	switch {
	case err != nil && path == "body":
		r.warn(path, "is no Base64 although isBase64Encoded is true; only test events of the console have it so")
		return
	case err != nil && template.is(inBase64):
		r.fail(path, "is no Base64 (", short(p.n.text), "), want ", template.describe())
		return
	case err != nil:
		r.fail(path, "is not URL-encoded: ", err.Error())
		return
	case template.is(inURL) && strings.ContainsAny(p.n.text, " \"<>"):
		r.fail(path, "is not URL-encoded: ", short(p.n.text), ", want ", short(template.encode([]byte(p.n.text))))
	}
	if !template.is(inJSON) {
		return
	}
	inner, err := parse(decoded)
	if err != nil {
		r.fail(path, "holds ", err.Error(), "; want ", template.describe())
		return
	}
	if inner.kind == template.kind && template.kind == text { // with its quotation marks
		return
	}
	r.value(&place{path: path, n: inner}, template)
}

// texts checks an object whose keys are names, and whose values texts: headers, for example.
func (r *Report) texts(p *place, template *node) {
	for i, key := range p.n.keys {
		path, v := join(p.path, key), p.n.vals[i]
		if template.is(lower) && key != strings.ToLower(key) {
			r.fail(path, "has capitals; API Gateway sends names of headers in lower case: ", strings.ToLower(key))
		}
		if v.kind != text && v.kind != list {
			r.fail(path, "is ", v.shown(), ", want text")
		}
	}
}

// members compares the keys of an object with those of the template, and then the values.
func (r *Report) members(p *place, template *node) {
	spelled := map[string]bool{} // keys of the template that are there in another spelling
	for i, key := range p.n.keys {
		below := p.below(key, p.n.vals[i])
		t := template.member(key)
		if t == nil {
			right := r.misspelled(p, key, template)
			if right == "" {
				r.warn(below.path, "is in no event of ", r.Trigger.Name, " that is known")
				continue
			}
			t, spelled[right] = template.member(right), true
		}
		r.compare(below, t, p.n)
	}
	for i, key := range template.keys {
		if p.n.member(key) == nil && !spelled[key] && !template.vals[i].is(optional|accepted) {
			r.fail(join(p.path, key), "is missing, want ", template.vals[i].describe())
		}
	}
}

// misspelled returns the key of the template that was meant by one that it does not have, and reports it.
func (r *Report) misspelled(p *place, key string, template *node) (right string) {
	var missing []string
	for _, k := range template.keys {
		if p.n.member(k) == nil {
			missing = append(missing, k)
		}
	}
	right = nearest(key, missing)
	if right == "" {
		return ""
	}
	path := join(p.path, key)
	if p.path == "" {
		if other := r.sender(key); other != "" {
			r.fail(path, short(key), " is what ", other, " sends; ", r.Trigger.Name, " has ", short(right), grammar(key, right))
			return right
		}
	}
	r.fail(path, "is misspelled, want ", short(right), grammar(key, right))
	return right
}

// grammar says what a key should be, if it differs by the plural only.
func grammar(key, right string) string {
	switch {
	case strings.EqualFold(key, right+"s"):
		return ", singular"
	case strings.EqualFold(key+"s", right):
		return ", plural"
	}
	return ""
}

// sender is the first trigger whose events have that key.
func (r *Report) sender(key string) string {
	for i, name := range r.templates.keys {
		if r.templates.vals[i].member(key) != nil {
			return name
		}
	}
	return ""
}

// borderMS lies between seconds and milliseconds since 1970, for the next three thousand years.
const borderMS = 1e11

// time checks that a time has its form.
func (r *Report) time(path string, n, template *node) {
	value, err := strconv.ParseFloat(n.text, 64)
	switch seconds := math.Abs(value) < borderMS; {
	case n.kind == text:
		if _, err := time.Parse(template.layout, n.text); err == nil {
			return
		}
		if _, err := time.Parse(time.RFC3339, n.text); err != nil || !strings.HasPrefix(template.layout, "2006") {
			r.fail(path, "is no time like ", template.text, ": ", short(n.text))
		}
	case err != nil:
		r.fail(path, "is out of range: ", short(n.text))
	case template.layout == "unix" && !seconds:
		r.fail(path, "is in milliseconds, want seconds since 1970: ", template.text)
	case template.layout == "ms" && seconds && r.Trigger.Name == "cts":
		r.warn(path, "is in seconds, as in the console's template; live events have milliseconds: ", template.text)
	case template.layout == "ms" && seconds:
		r.fail(path, "is in seconds, want milliseconds since 1970: ", template.text)
	}
}

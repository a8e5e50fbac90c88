package expect

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Members of objects that are no members of the result.
const (
	memberMore  = "$more"
	memberJSON  = "$json"
	memberError = "$error"
)

// node is an expectation of one value.
type node interface {
	compare(path string, got any, d *Differences)
	// String is the node as the file has it, in one line.
	String() string
}

// literal is a string, number, truth value or null that has to be the same.
type literal struct{ value any }

func (l literal) compare(path string, got any, d *Differences) {
	if !same(l.value, got) {
		d.add(path, l.String(), short(text(got)))
	}
}

func (l literal) String() string { return short(text(l.value)) }

// same compares what is neither an object nor an array. Numbers are the same if their values are: 1, 1.0 and 1e0.
func same(want, got any) bool {
	w, isNumber := want.(json.Number)
	g, ok := got.(json.Number)
	if !isNumber || !ok {
		switch got.(type) {
		case map[string]any, []any:
			return false
		}
		return want == got
	}
	if w == g {
		return true
	}
	if integer(w) && integer(g) { // those that a float64 cannot tell apart are different
		return strings.TrimPrefix(string(w), "-") == "0" && strings.TrimPrefix(string(g), "-") == "0"
	}
	a, errA := w.Float64()
	b, errB := g.Float64()
	return errA == nil && errB == nil && a == b
}

func integer(n json.Number) bool { return !strings.ContainsAny(string(n), ".eE") }

// matcher is a string of the file that stands for many values.
type matcher struct {
	name    string
	matches func(got any) bool
}

func (m matcher) compare(path string, got any, d *Differences) {
	if !m.matches(got) {
		d.add(path, m.String(), short(text(got)))
	}
}

func (m matcher) String() string { return short(text(m.name)) }

// matchers are all but $match:REGEXP, in the order of the table in docs/CI.md.
var matchers = []matcher{
	{"$any", func(any) bool { return true }},
	{"$string", is[string]},
	{"$number", is[json.Number]},
	{"$boolean", is[bool]},
	{"$array", is[[]any]},
	{"$object", is[map[string]any]},
	{"$uuid", func(got any) bool {
		s, ok := got.(string)
		return ok && len(s) == 36 && uuid.Validate(s) == nil
	}},
	{"$time", isTime},
}

func is[T any](got any) bool {
	_, ok := got.(T)
	return ok
}

// times are RFC 3339, and what languages write by default that lacks the offset, or has a blank for the T.
var times = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
}

// Numbers are times from September 2001 on, in seconds to the year 5138 or in milliseconds: smaller ones are counts.
const (
	firstSecond, endSecond = 1e9, 1e11
	firstMilli, endMilli   = 1e12, 1e14
)

func isTime(got any) bool {
	switch got := got.(type) {
	case string:
		return slices.ContainsFunc(times, func(layout string) bool {
			_, err := time.Parse(layout, got)
			return err == nil
		})
	case json.Number:
		n, err := got.Float64()
		return err == nil && (n >= firstSecond && n < endSecond || n >= firstMilli && n < endMilli)
	}
	return false
}

const matchPrefix = "$match:"

// newMatcher reads a string that begins with one $.
func newMatcher(name string) (node, error) {
	if pattern, ok := strings.CutPrefix(name, matchPrefix); ok {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, err
		}
		return matcher{name, func(got any) bool {
			s, ok := got.(string)
			return ok && re.MatchString(s)
		}}, nil
	}
	var names []string
	for _, m := range matchers {
		if m.name == name {
			return m, nil
		}
		names = append(names, m.name)
	}
	return nil, fmt.Errorf("%.100q is no matcher, want %s or %sREGEXP; a string that begins with $ is written with $$",
		name, strings.Join(names, ", "), matchPrefix)
}

// array has to have these elements.
type array []node

func (a array) compare(path string, got any, d *Differences) {
	list, ok := got.([]any)
	if !ok {
		d.add(path, a.String(), short(text(got)))
		return
	}
	for i, want := range a {
		at := path + "[" + strconv.Itoa(i) + "]"
		if i < len(list) {
			want.compare(at, list[i], d)
		} else {
			d.add(at, want.String(), "nothing")
		}
	}
	for i := len(a); i < len(list); i++ {
		d.add(path+"["+strconv.Itoa(i)+"]", "nothing", short(text(list[i])))
	}
}

func (a array) String() string {
	var parts []string
	for _, n := range a {
		parts = append(parts, n.String())
	}
	return short("[" + strings.Join(parts, ",") + "]")
}

// member is one of an object. name is the one in the result, without the escape.
type member struct {
	name string
	want node
}

// object has to have these members, and no others unless more is set.
type object struct {
	members []member
	more    bool
}

func (o object) compare(path string, got any, d *Differences) {
	has, ok := got.(map[string]any)
	if !ok {
		d.add(path, o.String(), short(text(got)))
		return
	}
	known := map[string]bool{}
	for _, m := range o.members {
		known[m.name] = true
		if v, there := has[m.name]; there {
			m.want.compare(step(path, m.name), v, d)
		} else {
			d.add(step(path, m.name), m.want.String(), "nothing")
		}
	}
	if o.more {
		return
	}
	var extra []string
	for name := range has {
		if !known[name] {
			extra = append(extra, name)
		}
	}
	slices.Sort(extra)
	for _, name := range extra {
		d.add(step(path, name), "nothing", short(text(has[name])))
	}
}

func (o object) String() string {
	var parts []string
	for _, m := range o.members {
		parts = append(parts, text(m.name)+":"+m.want.String())
	}
	if o.more {
		parts = append(parts, `"`+memberMore+`":true`)
	}
	return short("{" + strings.Join(parts, ",") + "}")
}

var plain = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
})

// step is the path of a member.
func step(path, name string) string {
	if plain().MatchString(name) {
		return path + "." + name
	}
	return path + "[" + short(text(name)) + "]"
}

// inner is a string whose text is JSON.
type inner struct{ want node }

func (n inner) compare(path string, got any, d *Differences) {
	s, ok := got.(string)
	if !ok {
		d.add(path, "a string with JSON", short(text(got)))
		return
	}
	v, err := decodeStrict([]byte(s))
	if err != nil {
		d.add(path, "a string with JSON", short(text(s)))
		return
	}
	n.want.compare(path+"."+memberJSON, v, d)
}

func (n inner) String() string { return short(`{"` + memberJSON + `":` + n.want.String() + "}") }

package trigger

import (
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// templates has the template of every trigger: the event as JSON, with the encoded parts in plain. Behind a | a key has
// the words of its rule. A text may have marks: <uuid>, <hex:N>, <time:LAYOUT> and <utc:LAYOUT> are made
// anew for each event; <unix> and <ms> are numbers; <=a.b> is the text of another member of the same object.
//
//go:embed events.json
var templates []byte

// marked are the templates of all triggers with their rules and marks, read once: a list that is set takes a template
// for each of its elements.
var marked = sync.OnceValues(func() (*node, error) { return parse(templates) })

// template is a copy of the template of the trigger: a fresh event.
func (t *Trigger) template(now time.Time) (*node, error) {
	all, err := marked()
	if err != nil {
		return nil, err
	}
	n := all.member(t.Name).clone()
	return n, annotate(n, now)
}

// allTemplates are the templates of all triggers without rules and marks: they are compared with, and not changed.
var allTemplates = sync.OnceValues(func() (*node, error) {
	all, err := marked()
	if err != nil {
		return nil, err
	}
	all = all.clone()
	return all, annotate(all, time.Now())
})

// annotate takes rules and marks out of a template.
func annotate(n *node, now time.Time) error {
	for i, v := range n.vals {
		if n.kind == object {
			key, words, ruled := strings.Cut(n.keys[i], "|")
			if ruled {
				r, err := parseRule(words)
				if err != nil {
					return err
				}
				n.keys[i], v.rule, v.absent = key, r, r.is(accepted)
			}
		}
		if err := annotate(v, now); err != nil {
			return err
		}
	}
	if n.kind != text {
		return nil
	}
	if n.text == "<unix>" || n.text == "<ms>" {
		n.kind, n.layout = number, strings.Trim(n.text, "<>")
		n.text = strconv.FormatInt(now.Unix(), 10)
		if n.layout == "ms" {
			n.text = strconv.FormatInt(now.UnixMilli(), 10)
		}
		return nil
	}
	return n.fill(now)
}

// fill makes the marks of a text; those that name another member stay until the event is written.
func (n *node) fill(now time.Time) error {
	var b strings.Builder
	rest := n.text
	for {
		before, mark, found := strings.Cut(rest, "<")
		b.WriteString(before)
		if !found {
			break
		}
		mark, rest, _ = strings.Cut(mark, ">")
		name, argument, _ := strings.Cut(mark, ":")
		if strings.HasPrefix(mark, "=") {
			b.WriteString("<" + mark + ">")
			n.follows = true
			continue
		}
		value, err := made(name, argument, now)
		if err != nil {
			return err
		}
		if name == "time" || name == "utc" {
			n.layout = argument
		}
		b.WriteString(value)
	}
	n.text = b.String()
	return nil
}

// made is a fresh value.
func made(name, argument string, now time.Time) (string, error) {
	switch name {
	case "uuid":
		return uuid.NewString(), nil
	case "time":
		return now.Format(argument), nil
	case "utc":
		return now.UTC().Format(argument), nil
	case "hex":
		size, err := strconv.Atoi(argument)
		if err != nil {
			return "", fmt.Errorf("<hex:%s> wants a number of digits", argument)
		}
		random := make([]byte, size)
		if _, err := rand.Read(random); err != nil {
			return "", err
		}
		return hex.EncodeToString(random)[:size], nil
	}
	return "", fmt.Errorf("<%s> is no mark", name)
}

package trigger

import (
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// kind is a type of JSON.
type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	list
	object
)

// String is the kind as messages have it, with its article.
func (k kind) String() string {
	return [...]string{"null", "true or false", "a number", "text", "a list", "an object"}[k]
}

// flags are what a template says of a value besides its type. Those of a kind, other kinds that it may have, are the
// first ones.
type flags uint32

const (
	inBase64 flags = 1 << (iota + object + 1) // the value is written as Base64
	inURL                                     // it is written URL-encoded
	inJSON                                    // it is written as JSON in a text, inside the other encodings
	optional                                  // some events lack the member
	accepted                                  // most events lack the member, and a new one does
	constant                                  // the value is the same in every event
	texts                                     // the object has any keys, and texts as values
	lower                                     // its keys are in lower case
	free                                      // the object is the user's own: any keys and values
	urn                                       // a plain name stands for the last part of the URN
)

// words are those of flags in templates, in the order of their bits.
var words = []string{
	"or-null", "or-boolean", "or-number", "or-text", "or-list", "or-object",
	"base64", "url", "json", "optional", "accepted", "constant", "texts", "lower", "free", "urn",
}

// rule is what a template says of a value.
type rule struct {
	flags
	// layout is that of a time, or unix or ms for a number.
	layout string
}

// parseRule reads the words behind the | of a key.
func parseRule(text string) (r rule, err error) {
	for word := range strings.SplitSeq(text, ",") {
		i := slices.Index(words, word)
		if i < 0 {
			return r, errors.New(word + " is no word of a rule")
		}
		r.flags |= 1 << i
	}
	return r, nil
}

// is reports whether one of the flags is set.
func (f flags) is(one flags) bool { return f&one != 0 }

// allows reports whether the value may be of that kind, although the template's is of another.
func (f flags) allows(k kind) bool { return f.is(1 << k) }

// encode makes a text of the content, from the inside to the outside.
func (f flags) encode(content []byte) string {
	switch {
	case f.is(inBase64):
		return base64.StdEncoding.EncodeToString(content)
	case f.is(inURL):
		return strings.ReplaceAll(url.QueryEscape(string(content)), "+", "%20") // every decoder understands %20
	}
	return string(content)
}

// decode undoes the outer encoding.
func (f flags) decode(s string) ([]byte, error) {
	switch {
	case f.is(inBase64):
		return base64.StdEncoding.DecodeString(s)
	case f.is(inURL):
		plain, err := url.QueryUnescape(s)
		return []byte(plain), err
	}
	return []byte(s), nil
}

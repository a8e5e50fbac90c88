package expect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Difference is one place where a result is not as expected.
type Difference struct {
	// Path is the place, from $ for the whole result: $.items[2].id; $json stands for the JSON in a string.
	Path string
	// Expected and Got are what should be there and what is, as JSON, cut off after 200 bytes, or "nothing".
	Expected, Got string
}

// String is the difference in one line.
func (d Difference) String() string { return d.Path + ": expected " + d.Expected + ", got " + d.Got }

// MaxDifferences is how many differences are kept of one result.
const MaxDifferences = 20

// Differences are those of one result, in the order of the file: MaxDifferences at most, and how many there are beyond.
type Differences struct {
	Kept []Difference
	More int
}

// None reports whether the result is as expected.
func (d *Differences) None() bool { return len(d.Kept) == 0 }

func (d *Differences) add(path, expected, got string) {
	if len(d.Kept) == MaxDifferences {
		d.More++
		return
	}
	d.Kept = append(d.Kept, Difference{path, expected, got})
}

// String has a line for each difference, indented by two blanks, without a newline at the end.
func (d *Differences) String() string {
	var b strings.Builder
	for i, one := range d.Kept {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("  " + one.String())
	}
	if d.More > 0 {
		fmt.Fprintf(&b, "\n  and %d more", d.More)
	}
	return b.String()
}

// decode reads JSON, with numbers as they are written. What is none is a string.
func decode(body []byte) any {
	v, err := decodeStrict(body)
	if err != nil {
		return string(body)
	}
	return v
}

func decodeStrict(body []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err = dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err = dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("there is something behind it")
	}
	return v, nil
}

// text is a value, or the bytes of one, in one line.
func text(v any) string {
	if raw, ok := v.([]byte); ok {
		v = decode(raw)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // it was JSON, so this cannot be
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

const maxShown = 200

// short cuts off a text that is too long for a line, at a rune.
func short(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

// Package expect compares results of calls with what a file expects of them: JSON, with matchers for what differs from
// run to run. docs/CI.md has the table of its forms.
package expect

// Expectation is what one file expects. Use Parse. It can be compared with any number of results.
type Expectation struct {
	want node
	// failed says that the call has to fail, and that want is of the body of the error.
	failed bool
}

// Compare compares the body of a result; failed says that it is that of an error. A body that is no JSON is compared as
// a string.
func (e *Expectation) Compare(body []byte, failed bool) *Differences {
	d := &Differences{}
	switch {
	case failed && !e.failed:
		d.add("$", "a result", "the error "+short(text(body)))
	case !failed && e.failed:
		d.add("$", "an error", "the result "+short(text(body)))
	default:
		e.want.compare("$", decode(body), d)
	}
	return d
}

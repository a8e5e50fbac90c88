package function

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// function is what the user gave to Start, and what is known about it.
type function struct {
	facts
	// handle is the handler without its types; configured is false if there is none.
	handle      func(ctx context.Context, event event, e *encoder) outcome
	configured  bool
	initializer func(context.Context) error
	pollers     int
	level       slog.Leveler
}

func newFunction[T, R any](handler func(context.Context, T) (R, error), options []Option) *function {
	f := &function{handle: adapt(handler), configured: handler != nil, level: slog.LevelInfo}
	for _, o := range options {
		o(f)
	}
	return f
}

// event is the bytes of an event.
type event struct {
	bytes []byte
	// owned says that the receiver of bytes may keep them.
	owned bool
}

// outcome is how a handler ended.
type outcome struct {
	body []byte
	// text says that the result is a bare string, number or truth value.
	text    bool
	failure *failure
}

// settler takes the outcome of a call: to a frame, or to the runtime API.
type settler interface{ settle(c *call, o outcome) }

// perform runs the handler, or for an Init the initializer, and settles the call once, even if the goroutine ends under
// it.
func (f *function) perform(c *call, ev event, e *encoder, s settler) {
	var o outcome
	returned := false
	defer func() {
		if !returned {
			o.failure = f.died(c, recover())
		}
		s.settle(c, f.limit(c, o))
	}()
	if c.initializes {
		o = f.initialize(c)
	} else {
		o = f.handle(c, ev, e)
	}
	returned = true
}

func (f *function) initialize(c *call) outcome {
	if f.initializer == nil {
		const why = "RUNTIME_INITIALIZER_HANDLER is set, but the program has no initializer: give function.Start the option function.Initializer, or unset it"
		return outcome{failure: &failure{code: codeInitializer, kind: kindConfig, message: initialization + why}}
	}
	if err := f.initializer(c); err != nil {
		return outcome{failure: &failure{code: codeInitializer, kind: kindReturned, message: initialization + err.Error()}}
	}
	return outcome{}
}

// limit refuses what is longer than an answer may be. Errors count too.
func (f *function) limit(c *call, o outcome) outcome {
	size := len(o.body)
	if o.failure != nil {
		o.failure.message = f.shorten(o.failure.message)
		size = len(o.failure.body())
	}
	if size <= f.maxResponse {
		return o
	}
	x := &failure{
		code: codeTooLarge, kind: "FunctionResponseTooLarge",
		message: fmt.Sprintf("Response body size '%d' larger than max value '%d'.", size, f.maxResponse), cause: o.failure,
	}
	if c.initializes { // the agent goes by that
		x.code = codeInitializer
	}
	return outcome{failure: x}
}

// died is the failure of a handler that did not return: v is what it panicked with, nil after runtime.Goexit. Called
// while the stack is still there.
func (f *function) died(c *call, v any) *failure {
	x := &failure{code: codeRaised, kind: "panic", stack: f.stack()}
	if v == nil {
		x.kind, v = "Goexit", "the goroutine of the call was ended with runtime.Goexit"
	}
	x.message = fmt.Sprintf("%+v", v)
	if c.initializes {
		x.code, x.message = codeInitializer, initialization+x.message
	}
	return x
}

const (
	maxStack = 32
	ownName  = "gantry/function."
)

// stack is the stack of a panic as the platform shows it: a line with the function and one with the place.
func (f *function) stack() []string {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
	var lines []string
	for {
		fr, more := frames.Next()
		if fr.Function != "" && !hidden(fr.Function) {
			lines = append(lines, fr.Function+"()", fmt.Sprintf("    %s:%d", f.shorten(fr.File), fr.Line))
		}
		if !more || len(lines) == 2*maxStack {
			return lines
		}
	}
}

// hidden reports whether a frame is not the user's.
func hidden(name string) bool {
	for _, prefix := range []string{"runtime.", "reflect.", "internal/runtime/", ownName} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// shorten puts "." in the place of the code folder's path, as the other languages do, but not in longer names that only
// begin or end like it.
func (f *function) shorten(text string) string {
	for _, root := range f.codeRoots {
		text = shorten(text, root)
	}
	return text
}

func shorten(text, root string) string {
	var b strings.Builder
	rest := text
	for {
		i := strings.Index(rest, root)
		if i < 0 {
			return b.String() + rest
		}
		end := i + len(root)
		b.WriteString(rest[:i])
		before := text[:len(text)-len(rest)+i]
		if endsInName(before) || beginsAsName(rest[end:]) {
			b.WriteString(root)
		} else {
			b.WriteByte('.')
		}
		rest = rest[end:]
	}
}

// inName reports whether file names in most texts may contain the character.
func inName(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_~+@%-", r)
}

func endsInName(text string) bool {
	r, _ := utf8.DecodeLastRuneInString(text)
	return r == '.' || inName(r)
}

// beginsAsName takes a dot for the end of a sentence unless a name goes on behind it.
func beginsAsName(text string) bool {
	r, _ := utf8.DecodeRuneInString(strings.TrimPrefix(text, "."))
	return inName(r)
}

package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
	"unsafe"
)

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

// adapt takes the types off a handler.
func adapt[T, R any](handler func(context.Context, T) (R, error)) func(context.Context, event, *encoder) outcome {
	switch h := any(handler).(type) {
	case func(context.Context, []byte) (R, error):
		return func(ctx context.Context, ev event, e *encoder) outcome {
			r, err := h(ctx, ev.kept())
			return e.finish(r, err)
		}
	case func(context.Context, json.RawMessage) (R, error):
		return func(ctx context.Context, ev event, e *encoder) outcome {
			r, err := h(ctx, ev.kept())
			return e.finish(r, err)
		}
	}
	return func(ctx context.Context, ev event, e *encoder) outcome {
		var v T
		err := validText(ev.bytes)
		text := bytes.TrimPrefix(ev.orEmpty(), byteOrderMark)
		if err == nil {
			err = json.Unmarshal(text, &v)
		}
		if err != nil {
			return outcome{failure: eventFailure(text, err)}
		}
		r, err := handler(ctx, v)
		return e.finish(r, err)
	}
}

var emptyEvent = []byte("{}")

// byteOrderMark is what editors and shells of some systems put before a text; it is no part of the JSON.
var byteOrderMark = []byte("\xef\xbb\xbf")

// notUTF8Error is the error for an event in another encoding: json.Unmarshal would silently replace what it cannot
// read.
type notUTF8Error struct {
	at    int
	value byte
}

func (e *notUTF8Error) Error() string {
	return fmt.Sprintf("the event is not UTF-8: byte 0x%02x at offset %d; JSON has to be UTF-8", e.value, e.at)
}

// validText returns a *notUTF8Error for text that is none.
func validText(text []byte) error {
	if utf8.Valid(text) {
		return nil
	}
	for at := 0; ; {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size <= 1 {
			return &notUTF8Error{at, text[at]}
		}
		at += size
	}
}

// eventFailure explains why an event cannot be unmarshalled.
func eventFailure(event []byte, err error) *failure {
	x := &failure{code: codeRaised, kind: kindOf(err), message: err.Error()}
	var syntax *json.SyntaxError
	var encoding *notUTF8Error
	switch {
	case errors.As(err, &encoding):
		x.kind, x.event = "UnicodeDecodeError", true // as Python calls it
	case errors.As(err, &syntax):
		x.event = !json.Valid(event) // a type of the user's can return such an error too
	}
	return x
}

func (ev event) orEmpty() []byte {
	if len(ev.bytes) == 0 {
		return emptyEvent
	}
	return ev.bytes
}

// kept is an event that the handler may keep, and change.
func (ev event) kept() []byte {
	if ev.owned && len(ev.bytes) > 0 {
		return ev.bytes
	}
	return bytes.Clone(ev.orEmpty())
}

// keptBuffer is how much memory an encoder keeps for the next result.
const keptBuffer = 64 << 10

// encoder writes results as JSON, one at a time.
type encoder struct {
	buf  bytes.Buffer
	json *json.Encoder
}

// finish turns what a handler returned into an outcome, whose body is good until the next one.
func (e *encoder) finish(result any, err error) outcome {
	if err != nil {
		return outcome{failure: &failure{code: codeLoad, kind: kindReturned, message: err.Error()}}
	}
	switch v := result.(type) {
	case []byte:
		return outcome{body: v}
	case json.RawMessage:
		return outcome{body: v}
	case string:
		return outcome{body: unsafe.Slice(unsafe.StringData(v), len(v)), text: true} // it is only read: no copy
	}
	body, err := e.encode(result)
	if err != nil {
		return outcome{failure: &failure{code: codeResult, kind: kindOf(err), message: unusable + err.Error()}}
	}
	return outcome{body: body, text: bare(body)}
}

// encode is json.Marshal into memory that is used again.
func (e *encoder) encode(v any) ([]byte, error) {
	if e.json == nil || e.buf.Cap() > keptBuffer {
		e.buf = bytes.Buffer{}
		e.json = json.NewEncoder(&e.buf)
	}
	e.buf.Reset()
	if err := e.json.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")), nil
}

// bare reports whether a document is a number or truth value.
func bare(document []byte) bool {
	switch c := document[0]; c {
	case 't', 'f', '-':
		return true
	default:
		return c >= '0' && c <= '9'
	}
}

package settings

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"unicode/utf16"
)

// Byte order marks, which editors on Windows put before a text.
var (
	markUTF8     = []byte("\xef\xbb\xbf")
	markUTF16LE  = []byte("\xff\xfe")
	markUTF16BE  = []byte("\xfe\xff")
	errInUTF16   = errors.New("the text is in UTF-16, as its byte order mark says: save it as UTF-8")
	utf16Endians = map[binary.ByteOrder][]byte{binary.LittleEndian: markUTF16LE, binary.BigEndian: markUTF16BE}
)

// withoutMark removes the byte order mark of a text in UTF-8, and refuses UTF-16.
func withoutMark(text []byte) ([]byte, error) {
	if bytes.HasPrefix(text, markUTF16LE) || bytes.HasPrefix(text, markUTF16BE) {
		return nil, errInUTF16
	}
	return bytes.TrimPrefix(text, markUTF8), nil
}

// PlainJSON turns JSON behind a byte order mark into UTF-8 without one, which every worker reads. Anything else stays
// as it is: an event need not be JSON.
func PlainJSON(event []byte) []byte {
	if rest, ok := bytes.CutPrefix(event, markUTF8); ok && json.Valid(rest) {
		return rest
	}
	for order, mark := range utf16Endians {
		rest, ok := bytes.CutPrefix(event, mark)
		if !ok || len(rest)%2 != 0 {
			continue
		}
		units := make([]uint16, len(rest)/2)
		for i := range units {
			units[i] = order.Uint16(rest[2*i:])
		}
		if text := []byte(string(utf16.Decode(units))); json.Valid(text) {
			return text
		}
	}
	return event
}

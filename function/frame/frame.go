// Package frame is the wire codec between the agent and a worker:
//
//	length u32 | type u8 | id u32 | meta length u32 | meta (JSON) | payload
//
// Numbers are big endian and length counts everything after itself. docs/PROTOCOL.md describes the conversation;
// testdata/vectors.txt holds the bytes. Standard library only: Go functions import it.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Version is the protocol version a worker announces in Hello. It changes when an old worker would misunderstand.
const Version = 1

// Type says what a frame means.
type Type uint8

// The types. Id 0 belongs to the load, which starts by itself; every other id is chosen by the agent.
const (
	Hello   Type = 1 // worker: protocol and language version, before user code is touched
	Init    Type = 2 // agent: run the initializer
	Invoke  Type = 3 // agent: run the handler; payload is the event
	Result  Type = 4 // worker: load (id 0), initializer or handler ended well; payload is the result
	Failure Type = 5 // worker: the same, badly; payload is the error body
	Log     Type = 6 // worker: one piece of output; payload is its text
	Cancel  Type = 7 // agent: the deadline of this id passed, its answer is not awaited
	Bye     Type = 8 // agent: no more calls will come; worker, as the answer: TERM is needed
	PreStop Type = 9 // agent: run the pre-stop hook; only to workers whose Hello says that they can

	UserData Type = 10 // agent: the encrypted user variables, before every call; only if Hello says userdata
	Stacks   Type = 11 // agent: asks for the stacks of all goroutines, only if Hello says stacks; worker: the answer
	Load     Type = 12 // agent: begin the load; only to workers that were started to wait for it

	CodeCache Type = 13 // agent: write the code cache to its descriptor; worker, as the answer: what was written, in meta
)

// HeaderSize is the number of bytes before meta.
const HeaderSize = 13

// MaxMeta bounds the meta part on both sides, in bytes.
const MaxMeta = 64 << 10

// Errors that end a worker: its stream cannot be trusted any more.
var (
	ErrTooLarge = errors.New("frame: longer than the limit")
	ErrMeta     = errors.New("frame: meta longer than the frame or its limit")
	ErrType     = errors.New("frame: unknown type")
)

// Frame is one decoded frame. Meta is valid until the next call of Reader.Next; Payload too, unless Owned.
type Frame struct {
	Type    Type
	ID      uint32
	Meta    []byte
	Payload []byte
	// Owned is set when Payload is a buffer of its own, which the receiver may keep.
	Owned bool
}

// AppendHeader appends a header for a frame whose meta and payload have these lengths. The caller appends both.
func AppendHeader(dst []byte, t Type, id uint32, metaLen, payloadLen int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(HeaderSize-4+metaLen+payloadLen))
	dst = append(dst, byte(t))
	dst = binary.BigEndian.AppendUint32(dst, id)
	return binary.BigEndian.AppendUint32(dst, uint32(metaLen))
}

// Append appends a whole frame.
func Append(dst []byte, t Type, id uint32, meta, payload []byte) []byte {
	dst = AppendHeader(dst, t, id, len(meta), len(payload))
	return append(append(dst, meta...), payload...)
}

const (
	readerSize = 64 << 10
	// Payloads above this get their own buffer and are read into it directly: one copy less, and the receiver keeps it.
	ownedFrom = 8 << 10
)

// Reader decodes frames from a byte stream. Not safe for concurrent use.
type Reader struct {
	src        io.Reader
	buf        []byte
	start, end int
	limit      int
}

// NewReader returns a Reader that refuses frames whose payload is over limit bytes.
func NewReader(src io.Reader, limit int) *Reader {
	return &Reader{src: src, buf: make([]byte, readerSize), limit: limit}
}

// Next returns the next frame. io.EOF means the stream ended between two frames, io.ErrUnexpectedEOF inside one.
func (r *Reader) Next() (Frame, error) {
	if err := r.fill(HeaderSize); err != nil {
		return Frame{}, err
	}
	head := r.buf[r.start:]
	length := int64(binary.BigEndian.Uint32(head))
	kind := Type(head[4])
	id := binary.BigEndian.Uint32(head[5:])
	metaLen := int64(binary.BigEndian.Uint32(head[9:]))
	switch {
	case kind < Hello || kind > CodeCache:
		return Frame{}, fmt.Errorf("%w %d", ErrType, kind)
	case metaLen > MaxMeta || HeaderSize-4+metaLen > length:
		return Frame{}, fmt.Errorf("%w: meta %d, frame %d", ErrMeta, metaLen, length)
	case length-metaLen-(HeaderSize-4) > int64(r.limit):
		return Frame{}, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, length-metaLen-(HeaderSize-4), r.limit)
	}
	payloadLen := int(length-metaLen) - (HeaderSize - 4)
	if payloadLen >= ownedFrom {
		return r.owned(kind, id, int(metaLen), payloadLen)
	}
	if err := r.fill(HeaderSize + int(metaLen) + payloadLen); err != nil {
		return Frame{}, unexpected(err)
	}
	body := r.buf[r.start+HeaderSize : r.start+HeaderSize+int(metaLen)+payloadLen]
	r.start += HeaderSize + len(body)
	return Frame{Type: kind, ID: id, Meta: body[:metaLen:metaLen], Payload: body[metaLen:]}, nil
}

func (r *Reader) owned(kind Type, id uint32, metaLen, payloadLen int) (Frame, error) {
	if err := r.fill(HeaderSize + metaLen); err != nil {
		return Frame{}, unexpected(err)
	}
	meta := r.buf[r.start+HeaderSize : r.start+HeaderSize+metaLen]
	r.start += HeaderSize + metaLen
	payload := make([]byte, payloadLen)
	n := copy(payload, r.buf[r.start:r.end])
	r.start += n
	if _, err := io.ReadFull(r.src, payload[n:]); err != nil {
		return Frame{}, unexpected(err)
	}
	return Frame{Type: kind, ID: id, Meta: meta, Payload: payload, Owned: true}, nil
}

// fill makes at least n bytes available at start, reading as much as fits.
func (r *Reader) fill(n int) error {
	if r.end-r.start >= n {
		return nil
	}
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
		r.end -= r.start
		r.start = 0
	}
	if n > len(r.buf) { // meta and a small payload together can exceed the first buffer
		r.buf = append(r.buf, make([]byte, n-len(r.buf))...)
	}
	had := r.end
	for r.end < n {
		m, err := r.src.Read(r.buf[r.end:])
		r.end += m
		if err != nil && r.end < n {
			if had > 0 || r.end > 0 {
				return unexpected(err)
			}
			return err
		}
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

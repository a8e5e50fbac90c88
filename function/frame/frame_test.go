package frame

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFramesComeBackHoweverTheyAreRead(t *testing.T) {
	type pair struct{ meta, payload string }
	cases := []pair{
		{"", ""},
		{`{"a":1}`, ""},
		{"", "x"},
		{`{"requestId":"r"}`, strings.Repeat("y", ownedFrom)},
		{strings.Repeat("m", MaxMeta), strings.Repeat("z", ownedFrom-1)},
		{"m", strings.Repeat("q", 300_000)},
	}
	var wire []byte
	for i, c := range cases {
		wire = Append(wire, Type(1+i%8), uint32(i), []byte(c.meta), []byte(c.payload))
	}
	readers := map[string]io.Reader{
		"whole": bytes.NewReader(wire), "one byte": iotest.OneByteReader(bytes.NewReader(wire)),
		"half": iotest.HalfReader(bytes.NewReader(wire)), "data and EOF": iotest.DataErrReader(bytes.NewReader(wire)),
	}
	for name, src := range readers {
		r := NewReader(src, 1<<20)
		for i, c := range cases {
			f, err := r.Next()
			if err != nil {
				t.Fatalf("%s: frame %d: %v", name, i, err)
			}
			if f.Type != Type(1+i%8) || f.ID != uint32(i) || string(f.Meta) != c.meta || string(f.Payload) != c.payload {
				t.Fatalf("%s: frame %d came back different", name, i)
			}
			if want := len(c.payload) >= ownedFrom; f.Owned != want {
				t.Errorf("%s: frame %d: Owned = %v", name, i, f.Owned)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the last frame: %v", name, err)
		}
	}
}

func TestBadFramesAreRefusedWithTheirError(t *testing.T) {
	cases := map[string]struct {
		wire []byte
		want error
	}{
		"nothing":         {nil, io.EOF},
		"half a header":   {[]byte{0, 0, 0}, io.ErrUnexpectedEOF},
		"half a payload":  {Append(nil, Log, 1, nil, []byte("abc"))[:HeaderSize+1], io.ErrUnexpectedEOF},
		"half, owned":     {Append(nil, Log, 1, nil, make([]byte, ownedFrom))[:HeaderSize+9], io.ErrUnexpectedEOF},
		"type 0":          {[]byte{0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ErrType},
		"type 14":         {[]byte{0, 0, 0, 9, 14, 0, 0, 0, 0, 0, 0, 0, 0}, ErrType},
		"length below 9":  {[]byte{0, 0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 0}, ErrMeta},
		"meta over frame": {[]byte{0, 0, 0, 9, 3, 0, 0, 0, 0, 0, 0, 0, 1}, ErrMeta},
		"meta over limit": {AppendHeader(nil, Log, 1, MaxMeta+1, 0), ErrMeta},
		"over the limit":  {AppendHeader(nil, Log, 1, 0, 16<<10+1), ErrTooLarge},
		"length 4 GiB":    {[]byte{255, 255, 255, 255, 3, 0, 0, 0, 0, 0, 0, 0, 0}, ErrTooLarge},
	}
	for name, c := range cases {
		if _, err := NewReader(bytes.NewReader(c.wire), 16<<10).Next(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestCodecWritesTheBytesOfThePublishedVectors holds the codec against the bytes that docs/PROTOCOL.md shows to
// authors of workers.
func TestCodecWritesTheBytesOfThePublishedVectors(t *testing.T) {
	file, err := os.Open("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Split(line, " | ")
		if len(fields) != 5 {
			t.Fatalf("line %q has %d fields", line, len(fields))
		}
		names := map[string]Type{"Hello": Hello, "Init": Init, "Invoke": Invoke, "Result": Result, "Failure": Failure, "Log": Log, "Cancel": Cancel, "Bye": Bye, "PreStop": PreStop, "UserData": UserData, "Stacks": Stacks, "Load": Load, "CodeCache": CodeCache}
		id := uint32(0)
		for _, c := range fields[1] {
			id = id*10 + uint32(c-'0')
		}
		want, err := hex.DecodeString(strings.ReplaceAll(fields[4], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		meta, payload := strings.Trim(fields[2], "-"), strings.Trim(fields[3], "-")
		if got := Append(nil, names[fields[0]], id, []byte(meta), []byte(payload)); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", line, got, want)
		}
		n++
	}
	if n < 8 {
		t.Errorf("only %d vectors", n)
	}
}

func TestCodecDoesNotAllocate(t *testing.T) {
	meta, payload := []byte(`{"requestId":"9a7c4d0e-4f7e-4b0c-8a55-1f2d3c4b5a69"}`), make([]byte, 1000)
	dst := make([]byte, 0, 4096)
	wire := Append(nil, Result, 7, meta, payload)
	src := &endless{wire: wire}
	r := NewReader(src, 1<<20)
	if n := testing.AllocsPerRun(1000, func() {
		dst = Append(dst[:0], Invoke, 7, meta, payload)
		if f, err := r.Next(); err != nil || len(f.Payload) != len(payload) {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per frame written and read", n)
	}
}

type endless struct {
	wire []byte
	off  int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.wire[e.off:])
	e.off = (e.off + n) % len(e.wire)
	return n, nil
}

func FuzzReader(f *testing.F) {
	f.Add(Append(nil, Hello, 0, []byte(`{"version":1}`), nil))
	f.Add(Append(Append(nil, Log, 1, nil, []byte("x")), Result, 1, nil, make([]byte, ownedFrom)))
	f.Add([]byte{0, 0, 0, 9, 10, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := NewReader(bytes.NewReader(wire), 1<<16)
		var back []byte
		for {
			fr, err := r.Next()
			if err != nil {
				break
			}
			back = Append(back, fr.Type, fr.ID, fr.Meta, fr.Payload)
		}
		if !bytes.HasPrefix(wire, back) {
			t.Fatalf("what was read does not encode to what was sent")
		}
	})
}

func BenchmarkReader(b *testing.B) {
	src := &endless{wire: Append(nil, Result, 7, nil, make([]byte, 40))}
	r := NewReader(src, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

package runtime

import (
	"bytes"
	"encoding/gob"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// stream is a connection that something is read from.
type stream struct {
	net.Conn
	io.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// TestBoundedConnFailsAtALengthOverTheLimit: messages up to the limit pass unchanged, whatever is read at once; one
// above it fails at its length.
func TestBoundedConnFailsAtALengthOverTheLimit(t *testing.T) {
	sizes := []int{0, 1, 100, 126, 127, 128, 255, 256, 70_000, 65_536}
	for _, slow := range []bool{false, true} {
		var sent bytes.Buffer
		encoder := gob.NewEncoder(&sent)
		for _, n := range sizes {
			require.NoError(t, encoder.Encode(&rpcResponse{StatusCode: n, Payload: bytes.Repeat([]byte{0xfe}, n)}))
		}
		sent.Write([]byte{0xfc, 0x5d, 0xc0, 0x00, 0x00}) // a message of 1,500 MiB
		sent.WriteString(strings.Repeat("x", 100_000))
		var source io.Reader = &sent
		if slow {
			source = iotest.OneByteReader(source)
		}
		c := &boundedConn{Conn: stream{nil, source}, limit: 80_000}
		decoder := gob.NewDecoder(c)
		for _, n := range sizes {
			var got rpcResponse
			require.NoError(t, decoder.Decode(&got), n)
			require.Equal(t, n, got.StatusCode)
			require.Len(t, got.Payload, n)
		}
		require.False(t, c.over.Load())
		err := decoder.Decode(&rpcResponse{})
		var long *tooLong
		require.ErrorAs(t, err, &long)
		require.EqualValues(t, 1500<<20, long.size)
		require.True(t, c.over.Load())
		_, err = c.Read(make([]byte, 10))
		require.Error(t, err, "nothing more is read")
	}
	c := &boundedConn{Conn: stream{nil, strings.NewReader("\x80garbage")}, limit: 80_000}
	_, err := c.Read(make([]byte, 10))
	require.ErrorContains(t, err, "no message")
}

func FuzzBoundedConn(f *testing.F) {
	f.Add([]byte("\x03abc\xff\x80"), 1)
	f.Add([]byte("\xf8\xff\xff\xff\xff\xff\xff\xff\xff"), 2)
	f.Add([]byte("\x80"), 38)
	f.Fuzz(func(t *testing.T, sent []byte, step int) {
		c := &boundedConn{Conn: stream{nil, bytes.NewReader(sent)}, limit: 1000}
		p, n := make([]byte, max(1, step&63)), 0
		for {
			k, err := c.Read(p)
			n += k
			if c.left > c.limit || c.digits > 8 {
				t.Fatalf("%d bytes, %d digits", c.left, c.digits)
			}
			if err != nil {
				break
			}
		}
		if n > len(sent) {
			t.Fatal("more came out than went in")
		}
	})
}

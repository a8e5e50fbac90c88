package api

import (
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWriteDeadlineOfHeldAnswers: what was held for a while is written within the deadline of the answer, too.
func TestWriteDeadlineOfHeldAnswers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	accepted, err := ln.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	c := &connection{Conn: accepted, bytes: accepted, muted: true, held: append([]byte("answer"), continueLine...)}
	require.NoError(t, c.SetWriteDeadline(past))
	require.ErrorIs(t, c.unmute(), os.ErrDeadlineExceeded)
}

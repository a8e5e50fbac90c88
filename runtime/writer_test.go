package runtime

import (
	"context"
	"gantry/function/frame"
	"gantry/function/socket"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// TestCancelToAFullSocketIsLeftOut: a Cancel to a worker that does not read is left out at once, and what follows is
// written.
func TestCancelToAFullSocketIsLeftOut(t *testing.T) {
	t.Parallel()
	conn, theirs, err := socketPair()
	require.NoError(t, err)
	defer theirs.Close()
	defer conn.Close()
	w := &writer{conn: conn, bytes: socket.New(conn), lock: make(chan struct{}, 1), unsent: func(ids []uint32, _ uint32) { t.Errorf("calls %v were not sent", ids) }}
	event := make([]byte, 1)
	filled := 0
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Write(func(fd uintptr) bool {
		for {
			n, err := unix.Write(int(fd), make([]byte, 1))
			if err != nil {
				require.Equal(t, unix.EAGAIN, err)
				return true
			}
			filled += n
		}
	}))
	require.ErrorIs(t, w.cancel(1), unix.EAGAIN)
	_, err = io.ReadFull(theirs, make([]byte, filled))
	require.NoError(t, err)
	w.send(context.Background(), 2, frame.Invoke, &fncontext.Call{Invocation: &fncontext.Invocation{RequestID: "r"}, Deadline: time.Now().Add(time.Minute)}, event, false)
	require.NoError(t, w.cancel(2))
	require.NoError(t, w.bye())
	r := frame.NewReader(theirs, 1<<20)
	for _, want := range []frame.Type{frame.Invoke, frame.Cancel, frame.Bye} {
		fr, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, want, fr.Type)
	}
	require.Error(t, w.cancel(3), "nothing is written after Bye")
}

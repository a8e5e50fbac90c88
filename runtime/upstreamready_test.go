package runtime

import (
	"gantry/process"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestListenerThatComesAndGoesIsNotTheServer: another agent that looks for a free port listens at it for a moment.
func TestListenerThatComesAndGoesIsNotTheServer(t *testing.T) {
	t.Parallel()
	drained := func(_ string, r *os.File) { _ = r.Close() }
	proc, err := supervisor.Start(&process.Command{
		Name: "sleep", Path: "/bin/sleep", Args: []string{"sleep", "1000"}, UID: -1, GID: -1, Output: drained,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, proc.Kill())
		<-proc.Done()
	})
	addr, err := freeAddr()
	require.NoError(t, err)
	u := &upstream{calls: calls{worker: &Worker{proc: proc}}, links: links{addr: addr}}
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		times := 0
		for {
			select {
			case <-stop:
				stopped <- times
				return
			default:
			}
			if ln, err := net.Listen("tcp", addr); err == nil {
				times++
				_ = ln.Close() // it has no connections
			}
		}
	}()
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
		if own, _ := u.listens(); own {
			t.Error("a listener that has gone is taken for the function's")
			break
		}
	}
	close(stop)
	require.Positive(t, <-stopped)
}

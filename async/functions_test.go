package async

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTwoAgentsAcceptOneIDAtOnce: a cluster refuses an id that it is just storing. That is a duplicate, and no error: a
// tick of a timer would count as lost.
func TestTwoAgentsAcceptOneIDAtOnce(t *testing.T) {
	servers := startCluster(t)
	var all []*Queue
	for i := range 3 {
		all = append(all, open(t, servers[i], &testFunction{}, func(c *Config) { c.Replicas = 3 }))
		require.NoError(t, all[i].Start(t.Context()))
	}
	for range 100 {
		id, first := newID(), make([]bool, len(all))
		var together sync.WaitGroup
		for i, q := range all {
			together.Go(func() {
				var err error
				first[i], err = q.AcceptOnce(t.Context(), id, &Event{Body: []byte("{}"), Version: "latest"})
				assert.NoError(t, err)
			})
		}
		together.Wait()
		n := 0
		for _, is := range first {
			if is {
				n++
			}
		}
		require.Equal(t, 1, n, "one of them stores it")
	}
}

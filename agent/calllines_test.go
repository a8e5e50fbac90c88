package agent

import (
	"errors"
	"gantry/extension"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCostsTellWaitsFromWorkBesideTheHandler: extensions are notified at the same time, so the slowest one counts.
func TestCostsTellWaitsFromWorkBesideTheHandler(t *testing.T) {
	const ms = time.Millisecond
	async, slow := extension.Cost{Took: 800 * time.Microsecond}, extension.Cost{Took: 3 * ms, Err: errors.New("status 500")}
	sync := extension.Cost{Took: 1200 * time.Microsecond, Sync: true}
	for _, c := range []struct {
		want  string
		known []extension.Cost
		all   bool
	}{
		{"", nil, true},
		{", extensions +1.2ms", []extension.Cost{sync}, true},
		{", extensions 3ms beside the handler", []extension.Cost{async, slow}, true},
		{", extensions +1.2ms, 800µs beside the handler", []extension.Cost{async, sync}, true},
		{", extensions no answer yet", nil, false},
		{", extensions +1.2ms, no answer yet", []extension.Cost{sync}, false},
	} {
		require.Equal(t, c.want, costs(c.known, c.all))
	}
}

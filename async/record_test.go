package async

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRecordChangesOnlyAsTheTableSays: every pair of statuses, and none of an outcome into anything.
func TestRecordChangesOnlyAsTheTableSays(t *testing.T) {
	for _, from := range append(Statuses(), "") {
		for _, to := range Statuses() {
			r := &Record{RequestID: "id", Status: from}
			err := r.change(to)
			switch legal := changes[from]; {
			case from == "":
				require.Equal(t, slices.Contains(changes[Wait], to), err == nil, "a record that is not stored yet waits")
			case slices.Contains(legal, to):
				require.NoError(t, err)
				require.Equal(t, to, r.Status)
			default:
				require.EqualError(t, err, "request id: no change from "+string(from)+" to "+string(to))
				require.Equal(t, from, r.Status)
			}
			require.False(t, from.final() && err == nil)
		}
	}
}

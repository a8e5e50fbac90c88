package extension

import (
	"gantry/fault"
	"gantry/test/harness"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRegistrationOptionsAreParsedOrRefused(t *testing.T) {
	for _, c := range []struct {
		events, mode string
		want         options
	}{
		{"", "", options{invoke: true}},
		{"  ", " ", options{invoke: true}},
		{"INVOKE", "async", options{invoke: true}},
		{"invoke", "ASYNC", options{invoke: true}},
		{"INVOKE,SHUTDOWN", "sync", options{invoke: true, shutdown: true, sync: true}},
		{" shutdown , Invoke,INVOKE", " Sync ", options{invoke: true, shutdown: true, sync: true}},
		{"SHUTDOWN", "", options{shutdown: true}},
	} {
		o, err := (&Registration{Events: c.events, Mode: c.mode}).options()
		require.NoError(t, err, "%+v", c)
		require.Equal(t, c.want, *o, "%+v", c)
	}
	for _, c := range []Registration{
		{Events: ","},
		{Events: "INVOKE,"},
		{Events: "INVOKE SHUTDOWN"},
		{Events: "INVOKE;SHUTDOWN"},
		{Events: "TELEMETRY"},
		{Events: "*"},
		{Events: strings.Repeat("x", 5000)},
		{Mode: "synchronous"},
		{Mode: "sync,async"},
		{Mode: "true"},
		{Mode: strings.Repeat("x", 5000)},
	} {
		_, err := c.options()
		requireRefused(t, err, fault.Invalid, TypeInvalidHeader, c)
	}
}

// TestRegistrationWithWrongOptionsIsRefused: nothing is taken.
func TestRegistrationWithWrongOptionsIsRefused(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	requireRefused(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8081", Mode: "x"}), fault.Invalid, TypeInvalidHeader)
	requireRefused(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8081", Events: "x"}), fault.Invalid, TypeInvalidHeader)
	require.Zero(t, h.Registered())
	require.NoError(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8081", Events: "invoke", Mode: "sync"}))
	require.NoError(t, h.Register(Registration{Name: "a", Address: "127.0.0.1:8081"}), "the same place again")
	require.EqualValues(t, 1, h.inSync.Load())
}

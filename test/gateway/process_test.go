// Package gateway tests the agent's destination OBS against a real S3 gateway, versitygw. Both run as programs of their
// own.
package gateway

import (
	"gantry/test/harness"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// patience bounds every wait.
	patience = harness.Patience
	often    = 10 * time.Millisecond
)

func eventually(t *testing.T, condition func(c *assert.CollectT)) {
	t.Helper()
	require.EventuallyWithT(t, condition, patience, often)
}

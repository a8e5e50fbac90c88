package extension

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestLogNamesExtensionThatRegisteredUnderAnotherName: an extension that registers under a name that is not its
// file's is late for ever; the log has the name it used.
func TestLogNamesExtensionThatRegisteredUnderAnotherName(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	h := newHost(t, []Script{{Name: "extensionX", Path: "/bin/sleep", Executable: true}}, func(c *Config) {
		c.Wait, c.Log = 50*time.Millisecond, zap.New(core)
	})
	require.NoError(t, h.Register(Registration{Name: "my-extension", Address: "127.0.0.1:8081"}))
	require.NoError(t, h.WaitReady(context.Background()))
	late := logs.FilterMessage("extension has not registered in time; the function starts without it").All()
	require.Len(t, late, 1)
	require.Equal(t, []any{"my-extension"}, late[0].ContextMap()["registered_instead"])
	require.Equal(t, "the file's name in FunctionGraph-Extension-Name", late[0].ContextMap()["want"])
}

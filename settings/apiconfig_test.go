package settings

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPlatformAPIListensOnlyWithSafeSettings: outside of loopback it needs users, and TLS or a proxy.
func TestPlatformAPIListensOnlyWithSafeSettings(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users.json")
	require.NoError(t, os.WriteFile(users, []byte("{}"), 0o600))
	good := map[string][]string{
		"":             {},
		DefaultAPIAddr: {"GANTRY_API_AUTH=none"},
		"127.0.0.1:1":  {"GANTRY_API_ADDR=127.0.0.1:1", "GANTRY_API_AUTH=none"},
		"localhost:1":  {"GANTRY_API_ADDR=localhost:1", "GANTRY_API_AUTH=none"},
		"[::1]:1":      {"GANTRY_API_ADDR=[::1]:1", "GANTRY_API_AUTH=none"},
		":1":           {"GANTRY_API_ADDR=:1", "GANTRY_API_USERS_FILE=" + users, "GANTRY_API_BEHIND_PROXY=true"},
		"0.0.0.0:1":    {"GANTRY_API_ADDR=0.0.0.0:1", "GANTRY_API_USERS_FILE=" + users, "GANTRY_API_TLS_CERT=c", "GANTRY_API_TLS_KEY=k"},
	}
	for want, env := range good {
		c, err := loadWith(t, env, nil)
		require.NoError(t, err, env)
		require.Equal(t, want, c.API.Addr)
	}
	c, err := loadWith(t, []string{"GANTRY_API_ADDR=on", "GANTRY_API_USERS_FILE=" + users}, nil)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8079", c.API.Addr)
	c, err = loadWith(t, []string{"GANTRY_API_ADDR=off", "GANTRY_API_USERS_FILE=" + users}, nil)
	require.NoError(t, err)
	require.Empty(t, c.API.Addr)
	for says, env := range map[string][]string{
		"needs GANTRY_API_USERS_FILE":               {"GANTRY_API_ADDR=on"},
		"is not on loopback, where GANTRY_API_AUTH": {"GANTRY_API_ADDR=:1", "GANTRY_API_AUTH=none"},
		"in the clear":                              {"GANTRY_API_ADDR=:1", "GANTRY_API_USERS_FILE=" + users},
		"10.0.0.1:1 is not on loopback":             {"GANTRY_API_ADDR=10.0.0.1:1", "GANTRY_API_USERS_FILE=" + users},
		"belong together":                           {"GANTRY_API_ADDR=on", "GANTRY_API_USERS_FILE=" + users, "GANTRY_API_TLS_CERT=c"},
		"contradict":                                {"GANTRY_API_AUTH=none", "GANTRY_API_USERS_FILE=" + users},
		"cannot stand behind a proxy":               {"GANTRY_API_AUTH=none", "GANTRY_API_BEHIND_PROXY=true"},
		"or on, or off":                             {"GANTRY_API_ADDR=8079"},
		"want one of required, none":                {"GANTRY_API_AUTH=maybe"},
	} {
		_, err := loadWith(t, env, nil)
		require.ErrorContains(t, err, says, env)
	}
}

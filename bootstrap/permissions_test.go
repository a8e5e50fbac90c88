package main

import (
	"gantry/async"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// configured has nats-server read a configuration.
func configured(t *testing.T, text string) *server.Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats-server.conf")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	o, err := server.ProcessConfigFile(file)
	require.NoError(t, err, text)
	return o
}

// TestPermissionsAreAConfigurationOfNATSServer: a user gets what the queue says it needs, and nothing else.
func TestPermissionsAreAConfigurationOfNATSServer(t *testing.T) {
	code, stdout, stderr := output(t, "bootstrap", "permissions", "--name", "orders", "--function-version", "v2",
		"--region", "r", "--project", "p", "--package", "shop", "--async-shards", "4")
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	require.Contains(t, stdout, "urn:fss:r:p:function:shop:orders:v2, with GANTRY_ASYNC_SHARDS=4")
	o := configured(t, "authorization {users: [{user: u, password: p\n"+stdout+"}]}")
	f := &fncontext.Function{Region: "r", Project: "p", Package: "shop", Name: "orders", Version: "v2"}
	publish, subscribe := async.Permissions(f, 4)
	got := o.Users[0].Permissions
	require.Equal(t, publish, got.Publish.Allow)
	require.Equal(t, subscribe, got.Subscribe.Allow)
	require.Empty(t, append(got.Publish.Deny, got.Subscribe.Deny...))
	require.Nil(t, got.Response, "an agent could answer to any subject")
}

// TestPermissionsForAnAccountAreAConfigurationOfNATSServer: the account with the streams exports to that of the
// function alone.
func TestPermissionsForAnAccountAreAConfigurationOfNATSServer(t *testing.T) {
	code, stdout, stderr := output(t, "bootstrap", "permissions", "--name", "orders", "--streams", "Q", "--account", "O")
	require.Zero(t, code, stderr)
	exports, imports, found := strings.Cut(stdout, "# in account \"O\"")
	require.True(t, found)
	users := "users: [{user: %, password: p}]\n"
	o := configured(t, "accounts {Q: {"+strings.Replace(users, "%", "q", 1)+exports+"}\nO: {"+
		strings.Replace(users, "%", "o", 1)+"# "+imports+"}}")
	require.Len(t, o.Accounts, 2)
	require.Equal(t, strings.Count(exports, "accounts: [\"O\"]"), strings.Count(imports, "account: \"Q\""))
	require.Greater(t, strings.Count(exports, "service:"), 20)
}

// TestPermissionsRefusesHalfOfTheAccounts, and settings that would make others of what is printed.
func TestPermissionsRefusesHalfOfTheAccounts(t *testing.T) {
	for says, args := range map[string][]string{
		"--streams and --account belong together": {"--streams", "Q"},
		"want the names of two accounts":          {"--streams", "Q", "--account", "Q"},
		"GANTRY_NATS_DOMAIN is set":               {"--nats-domain", "hub"},
		"GANTRY_ASYNC_SHARDS":                     {"--async-shards", "65"},
	} {
		code, stdout, stderr := output(t, append([]string{"bootstrap", "permissions", "--name", "x"}, args...)...)
		require.Equal(t, exitUsage, code, says)
		require.Empty(t, stdout)
		require.Contains(t, stderr, says)
	}
}

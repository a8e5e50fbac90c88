package async

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

// firstCluster is the configuration of servers in docs/ASYNC.md.
func firstCluster(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/ASYNC.md")
	require.NoError(t, err)
	_, text, found := strings.Cut(string(page), "```conf cluster\n")
	require.True(t, found)
	text, _, found = strings.Cut(text, "```\n")
	require.True(t, found)
	return text
}

// TestFirstClusterOfTheDocumentWorks: servers take the configuration as it is printed, and on a cluster with its users
// an agent of the operator makes the streams, and one of the function runs requests.
func TestFirstClusterOfTheDocumentWorks(t *testing.T) {
	text, dir := firstCluster(t), t.TempDir()
	publish, subscribe := Permissions(named("orders"), tenantShards)
	limit := "permissions {publish: {allow: [" + quoted(publish) + "]}, subscribe: {allow: [" + quoted(subscribe) + "]}}"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "server.conf"), []byte(text), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "orders.conf"), []byte(limit), 0o600))
	o, err := server.ProcessConfigFile(filepath.Join(dir, "server.conf"))
	require.NoError(t, err)
	require.True(t, o.JetStream)
	require.True(t, o.SyncAlways)
	require.Len(t, o.Routes, 3)
	require.Len(t, o.Users, 2)
	for _, user := range o.Users {
		require.Equal(t, user.Username == "orders", user.Permissions != nil, user.Username)
	}
	_, accounts, _ := strings.Cut(text, "accounts {")
	_, urls := threeServers(t, "accounts {"+
		strings.NewReplacer(`"change me"`, "p", `include "orders.conf"`, limit).Replace(accounts))
	startSoon(t, open(t, nil, &testFunction{}, at(t, urls, "operator")))
	q := open(t, nil, &testFunction{}, at(t, urls, "orders"))
	startSoon(t, q)
	require.True(t, q.open.confined.Load())
	waitStatus(t, q, accept(t, q, "{}"), Success)
}

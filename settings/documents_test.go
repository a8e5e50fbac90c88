package settings

import (
	"gantry/async"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAPIPageHasEverySettingOfThePlatformAPI: the page has every setting of the platform API.
func TestAPIPageHasEverySettingOfThePlatformAPI(t *testing.T) {
	page, err := os.ReadFile("../docs/API.md")
	require.NoError(t, err)
	for _, s := range Table() {
		if strings.HasPrefix(s.Env, "GANTRY_API_") {
			require.Regexp(t, "(?m)^\\| .*`"+s.Env+"`.*`--"+s.flag+"`", string(page))
		}
	}
}

// TestAsyncSettingsAndCountersAreDocumented: the page has every setting of the queue, and docs/CONFIGURATION.md every
// one of its counters.
func TestAsyncSettingsAndCountersAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/ASYNC.md")
	require.NoError(t, err)
	for _, s := range Table() {
		if s.Env == "GANTRY_DATA_DIR" || strings.HasPrefix(s.Env, "GANTRY_NATS_") || strings.HasPrefix(s.Env, "GANTRY_ASYNC_") {
			require.True(t, strings.Contains(string(page), "`"+s.Env+"`"), "docs/ASYNC.md lacks %s", s.Env)
		}
	}
	configuration, err := os.ReadFile("../docs/CONFIGURATION.md")
	require.NoError(t, err)
	for _, name := range async.CountNames() {
		metric := "gantry_async_" + name + "_total"
		require.True(t, strings.Contains(string(configuration), "`"+metric+"`"), "docs/CONFIGURATION.md lacks %s", metric)
	}
}

// TestExtensionPageHasEverySettingOfExtensions: the page has every setting of extensions.
func TestExtensionPageHasEverySettingOfExtensions(t *testing.T) {
	page, err := os.ReadFile("../docs/EXTENSIONS.md")
	require.NoError(t, err)
	for _, s := range Table() {
		if strings.HasPrefix(s.Env, "GANTRY_EXTENSION_") || s.Env == "GANTRY_FREEZE" {
			require.Contains(t, string(page), s.Env)
		}
	}
}

package settings

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFrontListensWhereTheSettingSays: it is off unless an address, or on, is set; --ports 0 leaves an address of its own.
func TestFrontListensWhereTheSettingSays(t *testing.T) {
	for value, want := range map[string]string{"": "", "off": "", "on": "127.0.0.1:8093", ":1": ":1", "127.0.0.1:9": "127.0.0.1:9"} {
		c, err := loadWith(t, []string{"GANTRY_APIG_ADDR=" + value}, nil)
		require.NoError(t, err)
		require.Equal(t, want, c.APIG.Addr)
		has := false
		for _, l := range c.Listeners() {
			has = has || l.Name == "apig" && l.Addr == want && l.Setting == "GANTRY_APIG_ADDR" && l.Flag == "apig-addr"
		}
		require.Equal(t, want != "", has, value)
		c.FreePorts()
		if value == "on" {
			want = "127.0.0.1:0"
		}
		require.Equal(t, want, c.APIG.Addr)
	}
	c, err := loadWith(t, []string{"GANTRY_APIG_ADDR=on"}, map[string]string{"apig-addr": "off"})
	require.NoError(t, err)
	require.Empty(t, c.APIG.Addr, "a flag beats the variable")
}

// TestOriginsAreThoseThatBrowsersSend: in lower case, each once; anything else is refused with what would be right.
func TestOriginsAreThoseThatBrowsersSend(t *testing.T) {
	c, err := loadWith(t, []string{"GANTRY_APIG_ADDR=on", "GANTRY_APIG_CORS= http://LOCALHOST:3000 ,https://a.example,,http://localhost:3000,http://[::1]:8"}, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"http://localhost:3000", "https://a.example", "http://[::1]:8"}, c.APIG.Origins)
	for _, wrong := range []string{
		"*", "localhost", "localhost:3000", "http://", "http://a/", "http://a/b", "http://a?b", "http://a#b", "http://u@a", "null",
		"https://*.a.example", "http://a b", "http://a,x",
	} {
		_, err := loadWith(t, []string{"GANTRY_APIG_CORS=" + wrong}, nil)
		require.ErrorContains(t, err, "is no origin: want scheme://host", wrong)
	}
	_, err = loadWith(t, []string{"GANTRY_APIG_CORS=,"}, nil)
	require.ErrorContains(t, err, "want at least one origin")
}

// TestSettingsOfTheFrontWithoutItAreNamed: they would have no effect, silently.
func TestSettingsOfTheFrontWithoutItAreNamed(t *testing.T) {
	c, err := loadWith(t, []string{"GANTRY_APIG_ROUTES=routes.json", "GANTRY_APIG_CORS=http://a"}, nil)
	require.NoError(t, err)
	require.Contains(t, c.Remarks, "GANTRY_APIG_ROUTES has no effect without GANTRY_APIG_ADDR: set that to on")
	require.Contains(t, c.Remarks, "GANTRY_APIG_CORS has no effect without GANTRY_APIG_ADDR: set that to on")
}

// TestTriggersPageHasEverySettingOfTheFront: the page has every setting of the front.
func TestTriggersPageHasEverySettingOfTheFront(t *testing.T) {
	page, err := os.ReadFile("../docs/TRIGGERS.md")
	require.NoError(t, err)
	for _, s := range Table() {
		if strings.HasPrefix(s.Env, "GANTRY_APIG_") {
			require.Contains(t, string(page), "| `"+s.Env+"`, `--"+s.flag+"` |")
		}
	}
}

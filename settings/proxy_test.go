package settings

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoopbackIsExemptFromAProxyThatIsSet(t *testing.T) {
	const both = ",127.0.0.1,localhost"
	for _, c := range []struct{ says, env, lower, upper string }{
		{"without a proxy", "NO_PROXY=a", "", "a"},
		{"nothing set", "http_proxy=http://p", both[1:], both[1:]},
		{"a proxy for all", "ALL_PROXY=socks5://p", both[1:], both[1:]},
		{"an empty proxy", "http_proxy=", "", ""},
		{"only one form", "HTTP_PROXY=p NO_PROXY=.example.com,10.0.0.0/8", ".example.com,10.0.0.0/8" + both, ".example.com,10.0.0.0/8" + both},
		{"both forms", "https_proxy=p no_proxy=a NO_PROXY=b", "a" + both, "b" + both},
		{"there already", "http_proxy=p no_proxy=localhost,127.0.0.1", "localhost,127.0.0.1", "localhost,127.0.0.1"},
		{"half", "http_proxy=p no_proxy=localhost", "localhost,127.0.0.1", "localhost,127.0.0.1"},
		{"everything", "http_proxy=p no_proxy=*", "*", "*"},
	} {
		env := loopbackDirect(strings.Fields(c.env))
		values := Variables(env)
		require.Equal(t, c.lower, values["no_proxy"], c.says)
		require.Equal(t, c.upper, values["NO_PROXY"], c.says)
		require.Len(t, env, len(values), "no name twice: %s", c.says)
	}
}

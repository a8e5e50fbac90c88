package settings

import (
	"slices"
	"strings"
)

var (
	proxyNames = []string{"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}
	loopback   = []string{"127.0.0.1", "localhost"}
)

// loopbackDirect keeps a child that asks the agent on loopback from asking a proxy instead: where the environment names
// a proxy, its lists of exceptions have the loopback names as well. Programs read no_proxy, NO_PROXY or either, so both
// are there then; one that was not set takes over what the other one has. The agent itself uses no proxy.
func loopbackDirect(env []string) []string {
	values := Variables(env)
	if !slices.ContainsFunc(proxyNames, func(name string) bool { return values[name] != "" }) {
		return env
	}
	lower, upper := values["no_proxy"], values["NO_PROXY"]
	if lower == "" {
		lower = upper
	}
	if upper == "" {
		upper = lower
	}
	return layered(env, []string{"no_proxy=" + withLoopback(lower), "NO_PROXY=" + withLoopback(upper)})
}

// withLoopback adds the loopback names that a list of exceptions lacks. A list that excepts everything stays as it is.
func withLoopback(list string) string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	if slices.Contains(names, "*") {
		return list
	}
	for _, name := range loopback {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

package settings

import (
	"net"
	"slices"
	"strconv"
	"strings"
)

// BaseEnv are the variables every child inherits.
var BaseEnv = []string{
	"PATH",
	"HOME",
	"HOSTNAME",
	"LANG",
	"LC_*",
	"TZ",
	"TMPDIR",
	"USER",
	"LOGNAME",
	"LD_LIBRARY_PATH",
	"SSL_CERT_*",
	"NODE_EXTRA_CA_CERTS",
	"HTTP_PROXY",
	"HTTPS_PROXY",
	"NO_PROXY",
	"http_proxy",
	"https_proxy",
	"no_proxy",
	"PAAS_POD_ID",
}

// runtimeEnv are the platform's preset variables (docs/COMPATIBILITY.md).
func (c *Config) runtimeEnv() []string {
	f := &c.Function
	env := []string{
		"RUNTIME_PROJECT_ID=" + f.Project,
		"RUNTIME_FUNC_NAME=" + f.Name,
		"RUNTIME_FUNC_VERSION=" + f.Version,
		"RUNTIME_PACKAGE=" + f.Package,
		"RUNTIME_HANDLER=" + f.HandlerString(),
		"RUNTIME_USERDATA=" + f.UserDataJSON,
		"RUNTIME_TIMEOUT=" + formatSeconds(
			f.Timeout,
		),
		"RUNTIME_CPU=" + strconv.Itoa(f.CPUMillis),
		"RUNTIME_MEMORY=" + strconv.Itoa(f.MemoryMB),
		"RUNTIME_MAX_RESP_BODY_SIZE=" + strconv.Itoa(f.MaxResponse),
		"RUNTIME_CODE_ROOT=" + f.CodeRoot,
		"RUNTIME_ROOT=/home/snuser/runtime",
		"RUNTIME_LOG_DIR=/home/snuser/log",
		"RUNTIME_LOG_PATH=/home/snuser/log",
	}
	if len(f.Aliases) > 0 {
		env = append(env, "RUNTIME_ALIAS="+strings.Join(f.Aliases, ","))
	}
	if f.Initializer != "" {
		env = append(
			env,
			"RUNTIME_INITIALIZER_HANDLER="+f.Initializer,
			"RUNTIME_INITIALIZER_TIMEOUT="+formatSeconds(f.InitTimeout),
		)
	}
	if f.PreStop != "" {
		env = append(env, "RUNTIME_PRESTOP_HANDLER="+f.PreStop)
	}
	if f.Heartbeat != "" {
		env = append(env, "RUNTIME_HEARTBEAT_HANDLER="+f.Heartbeat)
	}
	return env
}

// WorkerEnvironment is the worker's whole environment, but for what its transport adds. Encrypted user variables reach
// the function through its context only; a custom runtime has none, so they are variables there, as on the platform
// (page functiongraph_01_0154), and so are settings of an agent in its place.
func (c *Config) WorkerEnvironment() []string {
	inherited := c.withHome(c.Inherited(append(slices.Clone(BaseEnv), c.workerEnv...)))
	port := c.portVariable()
	if c.Language.Undecided() { // a custom runtime's own variable of that name stays
		inherited, port = layered(inherited, port), nil
	}
	env := layered(inherited, userVariables(c.Function.UserData, c.presetForWorker), c.runtimeEnv())
	if c.Language.Foreign() {
		env = loopbackDirect(layered(env, userVariables(c.Encrypted.Reveal(), c.presetForWorker), c.passedOn))
	}
	return layered(env, port)
}

// portVariable is what says to a server where it has to listen.
func (c *Config) portVariable() []string {
	_, port, err := net.SplitHostPort(c.Upstream)
	if err != nil || !c.Language.Listens() {
		return nil
	}
	return []string{"PORT=" + port}
}

// withHome gives children of another identity a home they can use: the agent's own is not theirs.
func (c *Config) withHome(env []string) []string {
	if c.UID < 0 {
		return env
	}
	return append(slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }), "HOME=/tmp")
}

// ExtensionEnvironment is the extensions' whole environment, but for the address of their API. User variables are
// real variables here: an extension has no context to ask. Encrypted ones are the function's alone.
func (c *Config) ExtensionEnvironment() []string {
	inherited := c.withHome(c.Inherited(append(slices.Clone(BaseEnv), c.extensionEnv...)))
	return loopbackDirect(layered(inherited, userVariables(c.Function.UserData, preset), c.runtimeEnv()))
}

// Inherited picks the agent's own variables that match the patterns.
func (c *Config) Inherited(patterns []string) []string {
	var env []string
	for _, kv := range c.environment {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || Reserved(name) {
			continue
		}
		if slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) }) {
			env = append(env, kv)
		}
	}
	return env
}

func matches(pattern, name string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// EnvironmentWith is the extension's environment with the variables of --env, which beat the others.
func (c *Config) EnvironmentWith(more []string) []string {
	given := Variables(more)
	var env []string
	for _, kv := range c.ExtensionEnvironment() {
		if name, _, _ := strings.Cut(kv, "="); given[name] == "" && !has(given, name) {
			env = append(env, kv)
		}
	}
	for name, value := range given {
		env = append(env, name+"="+value)
	}
	return loopbackDirect(env)
}

func has(m map[string]string, key string) bool {
	_, there := m[key]
	return there
}

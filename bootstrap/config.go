package main

import (
	"fmt"
	"gantry/runtime"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	fncontext "gantry/context"
)

const (
	platformCode = "/opt/function/code"
	// loadTimeout limits the load of user code, which has no setting on the platform; a longer initializer limit raises it.
	loadTimeout = 10 * time.Second
)

// config is everything that was set, checked. It is built by load and not changed afterwards.
type config struct {
	fn      fncontext.Function
	handler string

	language *runtime.Language
	program  string

	concurrency, workers, queue int
	queueWait                   time.Duration
	secrets                     fncontext.Secrets
	// secretNames are the variables that held secrets.
	secretNames []string
	trust       bool

	workerEnv, extensionEnv      []string
	extensionDirs                string
	extensionWait                time.Duration
	extensionStrict              bool
	extensionRequired            []string
	extensionRestart, freeze     bool
	timeline                     bool // what each extension costs is kept
	addr, extensionAddr, opsAddr string
	// extensionAddrSet tells an address that somebody chose.
	extensionAddrSet bool
	api              apiConfig
	async            asyncConfig
	// dataDirNamed tells a data folder that somebody chose.
	dataDirNamed        bool
	shutdownTimeout     time.Duration
	exitOnFailure       bool
	uid, gid            int
	logLevel, logFormat string
	remarks             []string // what a person should know about these settings
	noColor             bool
	environment         []string
}

// defaultSource is where a value came from that nobody set.
const defaultSource = "its default"

// facts are what the settings' defaults depend on.
type facts struct {
	pid int
	cwd string
}

// load builds the configuration from a list of NAME=value and the flags that were given: a flag beats the environment,
// which beats the default. It reads no environment itself. Errors name the setting, where its value came from, and what
// would be right.
func load(environ []string, flags map[string]string, f facts) (*config, error) {
	env := variables(environ)
	c, err := read(environ, env, flags, f)
	if err != nil {
		return nil, err
	}
	return c, c.resolve(env, f)
}

// read is the part of load that needs no function: every setting by itself. env has the variables of environ.
func read(environ []string, env, flags map[string]string, f facts) (*config, error) {
	c := &config{environment: environ, trust: f.pid == 1, addr: "127.0.0.1:8000"}
	if f.pid == 1 {
		c.addr = ":8000"
	}
	c.fn.CodeRoot = defaultCodeRoot(f.cwd)
	for _, s := range settings() {
		value, source, err := s.value(env, flags)
		if err != nil {
			return nil, err
		}
		if value == "" && source == "" {
			continue
		}
		if err := s.apply(c, value); err != nil {
			shown := strconv.Quote(value)
			if s.secret {
				shown = "(secret)"
			}
			return nil, fmt.Errorf("%s: %s, from %s: %w", s.env, shown, source, err)
		}
		if s.env == "EXTENSION_API_ADDR" {
			c.extensionAddrSet = source != defaultSource
		}
		if s.secret {
			c.secretNames = append(c.secretNames, s.env)
		}
	}
	return c, nil
}

// variables turns a list of NAME=value into a map.
func variables(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return env
}

// value finds a setting's value and says where it came from; no source means that it is not set and has no default.
func (s *setting) value(env, flags map[string]string) (value, source string, err error) {
	if v, ok := flags[s.flag]; ok && s.flag != "" {
		return v, "--" + s.flag, nil
	}
	if v := env[s.env]; v != "" {
		return v, "the environment", nil
	}
	if file := env[s.env+"_FILE"]; s.secret && file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", "", fmt.Errorf("%s_FILE: %w", s.env, err)
		}
		return strings.TrimRight(string(b), "\r\n"), s.env + "_FILE", nil
	}
	if s.fallback != "" {
		return s.fallback, defaultSource, nil
	}
	return "", "", nil
}

// resolve completes what depends on several settings, and checks that the function can be there at all.
func (c *config) resolve(env map[string]string, f facts) error {
	root := c.fn.CodeRoot
	if !filepath.IsAbs(root) {
		root = filepath.Join(f.cwd, root)
	}
	c.fn.CodeRoot = filepath.Clean(root)
	if _, err := os.ReadDir(c.fn.CodeRoot); err != nil {
		return fmt.Errorf("RUNTIME_CODE_ROOT: the code folder cannot be read: %w; mount or copy the function's code there, or set --code", err)
	}
	if c.fn.Name == "" {
		c.fn.Name = filepath.Base(c.fn.CodeRoot)
	}
	handler, err := fncontext.ParseHandler(c.handler)
	if err != nil {
		return fmt.Errorf("RUNTIME_HANDLER: %w", err)
	}
	c.fn.Handler = handler
	if err := c.pickLanguage(env["PATH"]); err != nil {
		return err
	}
	if c.fn.Initializer != "" {
		if parts := strings.Split(c.fn.Initializer, "."); len(parts) != 2 || parts[1] == "" {
			// The platform's worker takes such a value for none, silently (docs/COMPATIBILITY.md).
			c.remarks = append(c.remarks, fmt.Sprintf("RUNTIME_INITIALIZER_HANDLER=%s means no initializer, as on the platform: write file.function, with exactly one dot", c.fn.Initializer))
			c.fn.Initializer = ""
		}
	}
	if c.extensionDirs == "" {
		c.extensionDirs = filepath.Join(c.fn.CodeRoot, "extension") + ":/opt/extension"
	}
	dirs := strings.Split(c.extensionDirs, ":")
	for i, dir := range dirs {
		if !filepath.IsAbs(dir) {
			dirs[i] = filepath.Join(f.cwd, dir)
		}
	}
	c.extensionDirs = strings.Join(dirs, ":")
	named, err := c.async.resolve(&c.fn, env)
	if err != nil {
		return err
	}
	c.dataDirNamed = named
	return c.api.resolve()
}

func (c *config) pickLanguage(path string) error {
	if c.fn.Runtime != "" {
		language, err := runtime.LanguageByName(c.fn.Runtime)
		if err != nil {
			return fmt.Errorf("GANTRY_RUNTIME: %w", err)
		}
		c.language = language
	} else {
		c.language = runtime.DetectLanguage(c.fn.CodeRoot, c.fn.Handler.File)
	}
	if c.language == nil {
		c.language = runtime.Languages[0] // its worker then says which file is missing, in the platform's words
	}
	c.fn.Runtime = c.language.Name
	program, err := c.language.FindProgram(path)
	c.program = program
	return err
}

// workDir is the folder above the code, as on the platform (docs/COMPATIBILITY.md).
func (c *config) workDir() string { return filepath.Dir(c.fn.CodeRoot) }

// baseEnv are the variables every child inherits.
var baseEnv = []string{
	"PATH", "HOME", "HOSTNAME", "LANG", "LC_*", "TZ", "TMPDIR", "USER", "LOGNAME", "LD_LIBRARY_PATH",
	"SSL_CERT_*", "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "PAAS_POD_ID",
}

// runtimeEnv are the platform's preset variables (docs/COMPATIBILITY.md).
func (c *config) runtimeEnv() []string {
	f := &c.fn
	env := []string{
		"RUNTIME_PROJECT_ID=" + f.Project, "RUNTIME_FUNC_NAME=" + f.Name, "RUNTIME_FUNC_VERSION=" + f.Version,
		"RUNTIME_PACKAGE=" + f.Package, "RUNTIME_HANDLER=" + f.HandlerString(), "RUNTIME_USERDATA=" + f.UserDataJSON,
		"RUNTIME_TIMEOUT=" + formatSeconds(f.Timeout), "RUNTIME_CPU=" + strconv.Itoa(f.CPUMillis), "RUNTIME_MEMORY=" + strconv.Itoa(f.MemoryMB),
		"RUNTIME_MAX_RESP_BODY_SIZE=" + strconv.Itoa(f.MaxResponse), "RUNTIME_CODE_ROOT=" + f.CodeRoot,
		"RUNTIME_ROOT=/home/snuser/runtime", "RUNTIME_LOG_DIR=/home/snuser/log",
	}
	if len(f.Aliases) > 0 {
		env = append(env, "RUNTIME_ALIAS="+strings.Join(f.Aliases, ","))
	}
	if f.Initializer != "" {
		env = append(env, "RUNTIME_INITIALIZER_HANDLER="+f.Initializer, "RUNTIME_INITIALIZER_TIMEOUT="+formatSeconds(f.InitTimeout))
	}
	return env
}

func formatSeconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

// workerEnvironment is the worker's whole environment.
func (c *config) workerEnvironment() []string {
	return c.withHome(append(c.inherited(append(slices.Clone(baseEnv), c.workerEnv...)), c.runtimeEnv()...))
}

// withHome gives children of another identity a home they can use: the agent's own is not theirs.
func (c *config) withHome(env []string) []string {
	if c.uid < 0 {
		return env
	}
	return append(slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }), "HOME=/tmp")
}

// extensionEnvironment is the extensions' whole environment, but for the address of their API. User variables are
// real variables here: an extension has no context to ask.
func (c *config) extensionEnvironment() []string {
	env := c.withHome(append(c.inherited(append(slices.Clone(baseEnv), c.extensionEnv...)), c.runtimeEnv()...))
	for name, value := range c.fn.UserData {
		if reserved(name) || strings.ContainsAny(name+value, "\x00") || strings.ContainsRune(name, '=') || slices.Contains(baseEnv, name) {
			continue
		}
		env = append(env, name+"="+value)
	}
	return env
}

// reserved names are set by the agent, or hidden by it.
func reserved(name string) bool {
	return strings.HasPrefix(name, "GANTRY_") || strings.HasPrefix(name, "RUNTIME_") || name == "EXTENSION_API_ADDR"
}

// inherited picks the agent's own variables that match the patterns.
func (c *config) inherited(patterns []string) []string {
	var env []string
	for _, kv := range c.environment {
		name, _, ok := strings.Cut(kv, "=")
		if !ok || reserved(name) {
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

package main

import (
	"fmt"
	"gantry/files"
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
	// loadTimeout limits the load of user code, which has no setting on the platform; a longer initializer limit raises
	// it.
	loadTimeout = 10 * time.Second
)

// config is everything that was set, checked. It is built by load and not changed afterwards.
type config struct {
	fn      fncontext.Function
	handler string

	language *runtime.Language
	program  string
	// passedOn are variables for a custom runtime that mean nothing to the agent.
	passedOn []string
	// detected says why it is this language; empty when it was set.
	detected string
	// runtimeAPI is where poll takes events from.
	runtimeAPI string

	concurrency, workers, queue int
	queueWait                   time.Duration
	bodyMemory                  int // in MB; 0 for what the control group allows
	secrets                     fncontext.Secrets
	encrypted                   fncontext.EncryptedData
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
	once                         bool // the instance runs one call
	addr, extensionAddr, opsAddr string
	// addrSet, extensionAddrSet and opsAddrSet are true for addresses that are not the default.
	addrSet, extensionAddrSet, opsAddrSet bool
	api                                   apiConfig
	async                                 asyncConfig
	// dataDirNamed is true if a setting names the data folder.
	dataDirNamed        bool
	shutdownTimeout     time.Duration
	exitOnFailure       bool
	uid, gid            int
	logLevel, logFormat string
	remarks             []string // what a person should know about these settings
	unknown             []string // variables that look like settings and are none
	listenRemarks       []string // remarks about listeners
	nameFrom            string   // where the function's name comes from
	noColor             bool
	environment         []string
}

// defaultSource is the source of a value that was not set.
const defaultSource = "its default"

// maxSecret bounds a file with the value of one setting, in bytes.
const maxSecret = 1 << 20

// facts are what the settings' defaults depend on.
type facts struct {
	pid int
	cwd string
	// init is the name of the program that is PID 1 here, empty if that is this one; direct says that it started this one.
	init   string
	direct bool
	// root: the agent runs as root.
	root bool
	// poll: the agent will be a custom runtime of a platform, not the platform.
	poll bool
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
	c.unknown = unknownVariables(env)
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
			if s.secret || s.env == "RUNTIME_USERDATA" { // people keep passwords there
				shown = "(not shown)"
			}
			return nil, fmt.Errorf("%s: %s, from %s: %w", s.env, shown, source, err)
		}
		switch s.env {
		case "EXTENSION_API_ADDR":
			c.extensionAddrSet = source != defaultSource
		case "GANTRY_OPS_ADDR":
			c.opsAddrSet = source != defaultSource
		case "GANTRY_ADDR":
			c.addrSet = true
		case "RUNTIME_FUNC_NAME":
			c.nameFrom = s.env + ", from " + source
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
		b, err := files.Read(file, maxSecret)
		if err == nil {
			b, err = withoutMark(b)
		}
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
	c.nameByFolder()
	c.takeDefaults()
	if f.poll {
		c.becomeRuntime(env)
	}
	if err := c.pickLanguage(env["PATH"], f.poll); err != nil {
		return err
	}
	c.checkHooks()
	if err := c.checkUserData(); err != nil {
		return err
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
	c.remarkOnReach(f)
	if f.root && c.uid <= 0 {
		c.listenRemarks = append(c.listenRemarks, "the function runs as root: start the agent as another user (docker run -u 1003:1003), or set GANTRY_UID and GANTRY_GID")
	}
	return c.api.resolve()
}

// nameByFolder gives the function its code folder's name if it was given none. What a URN cannot hold becomes a hyphen.
func (c *config) nameByFolder() {
	if c.fn.Name != "" {
		return
	}
	folder := filepath.Base(c.fn.CodeRoot)
	c.fn.Name = strings.Trim(strings.Join(strings.FieldsFunc(folder, notInName), "-"), "-")
	if c.fn.Name == "" {
		c.fn.Name = "function"
	}
	c.nameFrom = "the name of the code folder " + c.fn.CodeRoot
	if c.fn.Name != folder {
		c.remarks = append(c.remarks, fmt.Sprintf("the function is called %s: the name of its code folder, %q, cannot be a function's; RUNTIME_FUNC_NAME sets another one", c.fn.Name, folder))
	}
}

// takeDefaults turns the handlers that the platform writes as "-", for functions that are images, into those that were
// not set.
func (c *config) takeDefaults() {
	for _, value := range []*string{&c.handler, &c.fn.Initializer, &c.fn.PreStop} {
		if *value == "-" {
			*value = ""
		}
	}
}

// becomeRuntime adapts what the platform gave its custom runtime, which this agent is then.
func (c *config) becomeRuntime(env map[string]string) {
	if c.handler == "bootstrap" { // the platform's default: it names this agent, not the function
		c.handler = ""
	}
	if env["EXTENSION_API_ADDR"] != "" {
		c.remarks = append(c.remarks, "EXTENSION_API_ADDR="+env["EXTENSION_API_ADDR"]+" is the platform's, and is not listened on; the extensions started here get an address of their own")
	}
	c.extensionAddr = "127.0.0.1:0"
	c.api.off = true
}

// pickLanguage finds the language, the handler in its form, and the program to start.
func (c *config) pickLanguage(path string, poll bool) (err error) {
	if c.fn.Runtime != "" {
		if c.language, err = runtime.LanguageByName(c.fn.Runtime); err != nil {
			return fmt.Errorf("GANTRY_RUNTIME: %w", err)
		}
	} else {
		d, err := runtime.DetectLanguage(c.fn.CodeRoot, c.handler)
		if err != nil {
			return fmt.Errorf("GANTRY_RUNTIME is not set: %w", err)
		}
		c.language, c.detected = d.Language, d.Reason
		if d.Remark != "" {
			c.remarks = append(c.remarks, d.Remark)
		}
	}
	l := c.language
	c.fn.Runtime = l.Name
	if poll && l.Carrier == runtime.OverRuntimeAPI {
		return fmt.Errorf("GANTRY_RUNTIME: %s: this agent is the custom runtime itself here, and cannot run another one: put the function's code into the code folder, and set GANTRY_RUNTIME to its language if need be", l.Name)
	}
	if c.handler == "" {
		c.handler = l.Handler
	}
	parse := fncontext.ParseHandler
	if l.Program == "" {
		parse = fncontext.ParseProgram
	}
	if c.fn.Handler, err = parse(c.handler); err != nil {
		return fmt.Errorf("RUNTIME_HANDLER: %w", err)
	}
	if l.Program == "" {
		c.program, err = l.OwnProgram(c.fn.CodeRoot, c.handler)
	} else {
		c.program, err = l.FindProgram(path)
	}
	return err
}

// checkHooks takes initializer and pre-stop hook for none where the platform does so, or where the language has none,
// and says so.
func (c *config) checkHooks() {
	c.checkHook("RUNTIME_INITIALIZER_HANDLER", "initializer: what stands before its loop is one", &c.fn.Initializer)
	c.checkHook("RUNTIME_PRESTOP_HANDLER", "pre-stop hook: TERM asks it to end", &c.fn.PreStop)
	if c.fn.PreStop != "" && c.language.Program == "" {
		c.remarks = append(c.remarks, fmt.Sprintf("RUNTIME_PRESTOP_HANDLER=%s has no effect: only Node.js and Python functions have a pre-stop hook; TERM asks a Go function to end", c.fn.PreStop))
	}
	if c.fn.PreStop != "" && c.fn.PreStopTimeout > c.shutdownTimeout/2 {
		c.remarks = append(c.remarks, fmt.Sprintf("RUNTIME_PRESTOP_TIMEOUT=%s may be cut short: raise GANTRY_SHUTDOWN_TIMEOUT (%s) to more than twice of it", formatSeconds(c.fn.PreStopTimeout), formatSeconds(c.shutdownTimeout)))
	}
}

// checkHook empties the value of a hook that is none; lacks says what a custom runtime has in place of it.
func (c *config) checkHook(setting, lacks string, value *string) {
	switch parts := strings.Split(*value, "."); {
	case *value == "":
	case c.isCustom():
		c.passedOn = append(c.passedOn, setting+"="+*value)
		c.remarks = append(c.remarks, fmt.Sprintf("%s=%s is handed on as a variable and has no other effect: a custom runtime has no %s", setting, *value, lacks))
		*value = ""
	case c.language.Program == "": // the program knows what it means
	case len(parts) != 2 || parts[1] == "":
		// The platform's worker takes such a value for none, silently (docs/COMPATIBILITY.md).
		c.remarks = append(c.remarks, fmt.Sprintf("%s=%s means none, as on the platform: write file.function, with exactly one dot", setting, *value))
		*value = ""
	}
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
		"RUNTIME_ROOT=/home/snuser/runtime", "RUNTIME_LOG_DIR=/home/snuser/log", "RUNTIME_LOG_PATH=/home/snuser/log",
	}
	if len(f.Aliases) > 0 {
		env = append(env, "RUNTIME_ALIAS="+strings.Join(f.Aliases, ","))
	}
	if f.Initializer != "" {
		env = append(env, "RUNTIME_INITIALIZER_HANDLER="+f.Initializer, "RUNTIME_INITIALIZER_TIMEOUT="+formatSeconds(f.InitTimeout))
	}
	if f.PreStop != "" {
		env = append(env, "RUNTIME_PRESTOP_HANDLER="+f.PreStop)
	}
	return env
}

func formatSeconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

// isCustom reports whether the function is a program that asks for its events.
func (c *config) isCustom() bool { return c.language.Carrier == runtime.OverRuntimeAPI }

// workerEnvironment is the worker's whole environment, but for what its transport adds. Encrypted user variables reach
// the function through its context only; a custom runtime has none, so they are variables there, as on the platform
// (page functiongraph_01_0154), and so are settings of an agent in its place.
func (c *config) workerEnvironment() []string {
	inherited := c.withHome(c.inherited(append(slices.Clone(baseEnv), c.workerEnv...)))
	env := layered(inherited, userVariables(c.fn.UserData, c.presetForWorker), c.runtimeEnv())
	if c.isCustom() {
		env = loopbackDirect(layered(env, userVariables(c.encrypted.Reveal(), c.presetForWorker), c.passedOn))
	}
	return env
}

// withHome gives children of another identity a home they can use: the agent's own is not theirs.
func (c *config) withHome(env []string) []string {
	if c.uid < 0 {
		return env
	}
	return append(slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }), "HOME=/tmp")
}

// extensionEnvironment is the extensions' whole environment, but for the address of their API. User variables are
// real variables here: an extension has no context to ask. Encrypted ones are the function's alone.
func (c *config) extensionEnvironment() []string {
	inherited := c.withHome(c.inherited(append(slices.Clone(baseEnv), c.extensionEnv...)))
	return loopbackDirect(layered(inherited, userVariables(c.fn.UserData, preset), c.runtimeEnv()))
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

package settings

import (
	"errors"
	"fmt"
	"gantry/files"
	"gantry/runtime/language"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Load builds the configuration from a list of NAME=value and the flags that were given: a flag beats the environment,
// which beats the default. It reads no environment itself. Errors name the setting, where its value came from, and what
// would be right.
func Load(environ []string, flags map[string]string, f Facts) (*Config, error) {
	env := Variables(environ)
	c, err := Read(environ, env, flags, f)
	if err != nil {
		return nil, err
	}
	return c, c.resolve(env, f)
}

// LoadClient is Load for commands that call a running agent: they need its addresses, its keys and the function's name,
// and no code.
func LoadClient(environ []string, flags map[string]string, f Facts) (*Config, error) {
	c, err := Read(environ, Variables(environ), flags, f)
	if err != nil {
		return nil, err
	}
	c.placeCode(f)
	c.nameByFolder()
	return c, c.API.resolve()
}

// Read is the part of load that needs no function: every setting by itself. env has the variables of environ.
func Read(environ []string, env, flags map[string]string, f Facts) (*Config, error) {
	c := &Config{environment: environ, Trust: f.PID == 1, Addr: "127.0.0.1:8000", sources: map[string]string{}}
	if f.PID == 1 {
		c.Addr = ":8000"
	}
	c.Function.CodeRoot = defaultCodeRoot(f.CWD)
	c.Unknown = unknownVariables(env)
	for _, s := range Table() {
		value, source, err := s.Value(env, flags)
		if err != nil {
			return nil, err
		}
		if value == "" && source == "" {
			continue
		}
		if err := s.take(c, value); err != nil {
			shown := quoted(value)
			if s.Secret || s.Env == "RUNTIME_USERDATA" { // people keep passwords there
				shown = "(not shown)"
			}
			return nil, fmt.Errorf("%s: %s, from %s: %w", s.Env, shown, source, err)
		}
		c.sources[s.Env] = source
		if s.Env == "RUNTIME_FUNC_NAME" {
			c.NameFrom = s.Env + ", from " + source
		}
		if s.Secret {
			c.SecretNames = append(c.SecretNames, s.Env)
		}
	}
	return c, nil
}

// Value finds a setting's value and says where it came from; no source means that it is not set and has no default.
func (s *Setting) Value(env, flags map[string]string) (value, source string, err error) {
	if v, ok := flags[s.flag]; ok && s.flag != "" {
		return v, "--" + s.flag, nil
	}
	if v := env[s.Env]; v != "" {
		return v, "the environment", nil
	}
	if file := env[s.Env+"_FILE"]; s.Secret && file != "" {
		b, err := files.Read(file, maxSecret)
		if err == nil {
			b, err = withoutMark(b)
		}
		if err != nil {
			return "", "", fmt.Errorf("%s_FILE: %w", s.Env, err)
		}
		return strings.TrimRight(string(b), "\r\n"), s.Env + "_FILE", nil
	}
	if s.fallback != "" {
		return s.fallback, defaultSource, nil
	}
	return "", "", nil
}

// readCode checks that the code folder can be read.
func (c *Config) readCode() error {
	root := c.Function.CodeRoot
	_, err := os.ReadDir(root)
	switch {
	case errors.Is(err, syscall.ENOTDIR) && strings.EqualFold(filepath.Ext(root), ".zip"):
		return fmt.Errorf(
			"RUNTIME_CODE_ROOT: %s is an archive; unpack it, and set the folder: unzip %[1]q -d %q; --code %[2]q",
			root, strings.TrimSuffix(root, filepath.Ext(root)),
		)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf(
			"RUNTIME_CODE_ROOT: %s is a file; set the folder that has the function's code, unpacked: --code %s",
			root, filepath.Dir(root),
		)
	case err != nil:
		return fmt.Errorf(
			"RUNTIME_CODE_ROOT: the code folder cannot be read: %w; mount or copy the function's code there, or set --code",
			err,
		)
	}
	return nil
}

// resolve completes what depends on several settings, and checks that the function can be there at all.
func (c *Config) resolve(env map[string]string, f Facts) error {
	c.Command, c.workDir = f.Command, f.CWD
	c.placeCode(f)
	if err := c.readCode(); err != nil {
		return err
	}
	c.nameByFolder()
	c.TakeDefaults()
	if f.Poll {
		c.becomeRuntime(env)
	}
	if err := c.pickLanguage(env["PATH"], f.Poll); err != nil {
		return err
	}
	c.checkHooks()
	c.checkConcurrency()
	c.checkSpares()
	if err := c.placeServer(); err != nil {
		return err
	}
	if err := c.checkUserData(); err != nil {
		return err
	}
	if c.ExtensionDirs == "" {
		c.ExtensionDirs = filepath.Join(c.Function.CodeRoot, "extension") + ":/opt/extension"
	}
	dirs := strings.Split(c.ExtensionDirs, ":")
	for i, dir := range dirs {
		if !filepath.IsAbs(dir) {
			dirs[i] = filepath.Join(f.CWD, dir)
		}
	}
	c.ExtensionDirs = strings.Join(dirs, ":")
	named, err := c.Async.resolve(&c.Function, env)
	if err != nil {
		return err
	}
	c.DataDirNamed = named
	if err := c.CompleteTimers(env); err != nil {
		return err
	}
	if err := c.TimersFor(c.Language); err != nil {
		return err
	}
	c.remarkOnReach(f)
	c.remarkOnAPIG()
	if f.Root && c.UID <= 0 {
		c.ListenRemarks = append(
			c.ListenRemarks,
			"the function runs as root: start the agent as another user (docker run -u 1003:1003), or set GANTRY_UID and GANTRY_GID",
		)
	}
	return c.API.resolve()
}

// placeCode makes the path of the code folder an absolute one.
func (c *Config) placeCode(f Facts) {
	root := c.Function.CodeRoot
	if !filepath.IsAbs(root) {
		root = filepath.Join(f.CWD, root)
	}
	c.Function.CodeRoot = filepath.Clean(root)
}

// nameByFolder gives the function its code folder's name if it was given none. What a URN cannot hold becomes a hyphen.
func (c *Config) nameByFolder() {
	if c.Function.Name != "" {
		return
	}
	folder := filepath.Base(c.Function.CodeRoot)
	c.Function.Name = strings.Trim(strings.Join(strings.FieldsFunc(folder, notInName), "-"), "-")
	if c.Function.Name == "" {
		c.Function.Name = "function"
	}
	c.NameFrom, c.NameGuessed = "the name of the code folder "+c.Function.CodeRoot, !c.IsSet("RUNTIME_CODE_ROOT")
	if c.Function.Name != folder {
		c.Remarks = append(
			c.Remarks,
			fmt.Sprintf(
				"the function is called %s: the name of its code folder, %q, cannot be a function's; RUNTIME_FUNC_NAME sets another one",
				c.Function.Name,
				folder,
			),
		)
	}
}

// TakeDefaults turns the handlers that the platform writes as "-", for functions that are images, into those that were
// not set.
func (c *Config) TakeDefaults() {
	for _, value := range []*string{&c.Handler, &c.Function.Initializer, &c.Function.PreStop, &c.Function.Heartbeat} {
		if *value == "-" {
			*value = ""
		}
	}
}

// becomeRuntime adapts what the platform gave its custom runtime, which this agent is then.
func (c *Config) becomeRuntime(env map[string]string) {
	if c.Handler == "bootstrap" { // the platform's default: it names this agent, not the function
		c.Handler = ""
	}
	if env["EXTENSION_API_ADDR"] != "" {
		c.Remarks = append(
			c.Remarks,
			"EXTENSION_API_ADDR="+env["EXTENSION_API_ADDR"]+" is the platform's, and is not listened on; the extensions started here get an address of their own",
		)
	}
	c.ExtensionAddr = "127.0.0.1:0"
	c.API.off = true
	if len(c.Timers) > 0 || c.TimerFile != "" {
		c.Remarks = append(c.Remarks, "GANTRY_TIMER and GANTRY_TIMER_FILE have no effect here: the platform calls this function, and has timers of its own")
		c.Timers, c.TimerFile = nil, ""
	}
	c.APIG.Addr = ""
}

// pickLanguage finds the language, the handler in its form, and the program to start.
func (c *Config) pickLanguage(path string, poll bool) (err error) {
	switch {
	case c.Function.Runtime != "":
		if c.Language, err = language.ByName(c.Function.Runtime); err != nil {
			return fmt.Errorf("GANTRY_RUNTIME: %w", err)
		}
	case len(c.Command) > 0:
		return errors.New("a command line after -- is that of a server: set GANTRY_RUNTIME=http for any requests, " +
			"or container for events by POST /invoke")
	default:
		d, err := language.Detect(c.Function.CodeRoot, c.Handler)
		if err != nil {
			return fmt.Errorf("GANTRY_RUNTIME is not set: %w", err)
		}
		c.Language, c.Detected, c.namesAPI = d.Language, d.Reason, d.NamesAPI
		switch {
		case !c.Language.Undecided():
		case c.Streams():
			c.Language, c.Detected = c.Language.Server, "GANTRY_HTTP_LIMITS=none is for HTTP functions"
		case c.Workers > 1: // which no server can be
			c.Language = c.Language.Poller
		}
		if d.Remark != "" {
			c.Remarks = append(c.Remarks, d.Remark)
		}
	}
	l := c.Language
	c.Function.Runtime = l.Name
	if poll && l.Polls() {
		return fmt.Errorf(
			"GANTRY_RUNTIME: %s: this agent is the custom runtime itself here, and cannot run another one: put the function's code into the code folder, and set GANTRY_RUNTIME to its language if need be",
			l.Name,
		)
	}
	if c.Handler == "" {
		c.Handler = l.Handler
	}
	if c.Function.Handler, err = l.ParseHandler(c.Handler); err != nil {
		return fmt.Errorf("RUNTIME_HANDLER: %w", err)
	}
	if len(c.Command) > 0 && !l.Listens() {
		return fmt.Errorf("a command line after -- is that of a server: it needs GANTRY_RUNTIME=http or container, not %s", l.Name)
	}
	c.Program, err = l.FindProgram(path, c.Function.CodeRoot, c.Handler, c.Command)
	return err
}

// mostQuoted is how much of a wrong value an error shows, in bytes: a list of timers may have megabytes.
const mostQuoted = 200

// quoted is a value for a message, the beginning of a long one.
func quoted(value string) string {
	if len(value) <= mostQuoted {
		return strconv.Quote(value)
	}
	return strconv.Quote(strings.ToValidUTF8(value[:mostQuoted], "")) + "…"
}

// checkConcurrency takes one call at a time for what cannot be more.
func (c *Config) checkConcurrency() {
	if c.Concurrency > 1 && c.Language.OneByOne != "" {
		remark := fmt.Sprintf("GANTRY_CONCURRENCY=%d has no effect: %s", c.Concurrency, c.Language.OneByOne)
		c.Remarks = append(c.Remarks, remark)
		c.Concurrency = 1
	}
}

// checkSpares takes spares for none where they cannot be: in another language, and while each interpreter would want
// the debugger's port.
func (c *Config) checkSpares() {
	why := ""
	switch {
	case c.Spares == 0:
	case !c.Language.Parks:
		why = "only Node.js, Python, Java and PHP have interpreters that can run in advance"
	case !c.Language.Examinable(c.WorkerEnvironment()):
		why = fmt.Sprintf("%s has %s, and each interpreter would want the debugger's port",
			c.Language.DebugVariable, c.Language.DebugOption)
	}
	if why != "" {
		c.Remarks = append(c.Remarks, fmt.Sprintf("GANTRY_SPARE=%d has no effect: %s", c.Spares, why))
		c.Spares = 0
	}
}

// checkHooks takes initializer and pre-stop hook for none where the platform does so, or where the language has none,
// and says so.
func (c *Config) checkHooks() {
	c.checkHook("RUNTIME_INITIALIZER_HANDLER", c.Language.NoInitializer, &c.Function.Initializer)
	c.checkHook("RUNTIME_PRESTOP_HANDLER", c.Language.NoPreStop, &c.Function.PreStop)
	if !c.Language.Classes {
		c.checkHook("RUNTIME_HEARTBEAT_HANDLER", "only Java functions have a heartbeat hook", &c.Function.Heartbeat)
	}
	if c.Function.PreStop != "" && c.Function.PreStopTimeout > c.ShutdownTimeout/2 {
		c.Remarks = append(
			c.Remarks,
			fmt.Sprintf(
				"RUNTIME_PRESTOP_TIMEOUT=%s may be cut short: raise GANTRY_SHUTDOWN_TIMEOUT (%s) to more than twice of it",
				formatSeconds(c.Function.PreStopTimeout),
				formatSeconds(c.ShutdownTimeout),
			),
		)
	}
}

// checkHook empties the value of a hook that is none; none says why the language has no such hook.
func (c *Config) checkHook(setting, none string, value *string) {
	switch parts := strings.Split(*value, "."); {
	case *value == "":
	case c.Language.Foreign():
		c.passedOn = append(c.passedOn, setting+"="+*value)
		c.Remarks = append(
			c.Remarks,
			fmt.Sprintf(
				"%s=%s is handed on as a variable and has no other effect: %s",
				setting,
				*value,
				none,
			),
		)
		*value = ""
	case none != "":
		c.Remarks = append(c.Remarks, fmt.Sprintf("%s=%s has no effect: %s", setting, *value, none))
	case c.Language.OwnProgram(), c.Language.Classes: // the program, or the worker, knows what it means
	case len(parts) != 2 || parts[1] == "":
		// The platform's worker takes such a value for none, silently (docs/COMPATIBILITY.md).
		c.Remarks = append(
			c.Remarks,
			fmt.Sprintf("%s=%s means none, as on the platform: write file.function, with exactly one dot", setting, *value),
		)
		*value = ""
	}
}

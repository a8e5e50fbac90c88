package main

import (
	"fmt"
	"gantry/files"
	"gantry/runtime"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	fncontext "gantry/context"
)

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
		return fmt.Errorf(
			"RUNTIME_CODE_ROOT: the code folder cannot be read: %w; mount or copy the function's code there, or set --code",
			err,
		)
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
		c.listenRemarks = append(
			c.listenRemarks,
			"the function runs as root: start the agent as another user (docker run -u 1003:1003), or set GANTRY_UID and GANTRY_GID",
		)
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
		c.remarks = append(
			c.remarks,
			fmt.Sprintf(
				"the function is called %s: the name of its code folder, %q, cannot be a function's; RUNTIME_FUNC_NAME sets another one",
				c.fn.Name,
				folder,
			),
		)
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
		c.remarks = append(
			c.remarks,
			"EXTENSION_API_ADDR="+env["EXTENSION_API_ADDR"]+" is the platform's, and is not listened on; the extensions started here get an address of their own",
		)
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
	if poll && l.Polls() {
		return fmt.Errorf(
			"GANTRY_RUNTIME: %s: this agent is the custom runtime itself here, and cannot run another one: put the function's code into the code folder, and set GANTRY_RUNTIME to its language if need be",
			l.Name,
		)
	}
	if c.handler == "" {
		c.handler = l.Handler
	}
	parse := fncontext.ParseHandler
	if l.OwnProgram() {
		parse = fncontext.ParseProgram
	}
	if c.fn.Handler, err = parse(c.handler); err != nil {
		return fmt.Errorf("RUNTIME_HANDLER: %w", err)
	}
	if l.OwnProgram() {
		c.program, err = l.FindOwnProgram(c.fn.CodeRoot, c.handler)
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
	if c.fn.PreStop != "" && c.language.OwnProgram() {
		c.remarks = append(
			c.remarks,
			fmt.Sprintf(
				"RUNTIME_PRESTOP_HANDLER=%s has no effect: only Node.js and Python functions have a pre-stop hook; TERM asks a Go function to end",
				c.fn.PreStop,
			),
		)
	}
	if c.fn.PreStop != "" && c.fn.PreStopTimeout > c.shutdownTimeout/2 {
		c.remarks = append(
			c.remarks,
			fmt.Sprintf(
				"RUNTIME_PRESTOP_TIMEOUT=%s may be cut short: raise GANTRY_SHUTDOWN_TIMEOUT (%s) to more than twice of it",
				formatSeconds(c.fn.PreStopTimeout),
				formatSeconds(c.shutdownTimeout),
			),
		)
	}
}

// checkHook empties the value of a hook that is none; lacks says what a custom runtime has in place of it.
func (c *config) checkHook(setting, lacks string, value *string) {
	switch parts := strings.Split(*value, "."); {
	case *value == "":
	case c.isCustom():
		c.passedOn = append(c.passedOn, setting+"="+*value)
		c.remarks = append(
			c.remarks,
			fmt.Sprintf(
				"%s=%s is handed on as a variable and has no other effect: a custom runtime has no %s",
				setting,
				*value,
				lacks,
			),
		)
		*value = ""
	case c.language.OwnProgram(): // the program knows what it means
	case len(parts) != 2 || parts[1] == "":
		// The platform's worker takes such a value for none, silently (docs/COMPATIBILITY.md).
		c.remarks = append(
			c.remarks,
			fmt.Sprintf("%s=%s means none, as on the platform: write file.function, with exactly one dot", setting, *value),
		)
		*value = ""
	}
}

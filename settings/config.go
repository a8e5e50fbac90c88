// Package settings is everything that can be set: the table of settings, what reads it out of variables, files and
// flags, and the checked result. It reads no environment itself and parses no command line.
package settings

import (
	"cmp"
	"gantry/runtime/language"
	"gantry/timer"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	fncontext "gantry/context"
)

// platformCode is where the platform puts code.
const platformCode = "/opt/function/code"

// Config is everything that was set, checked. Load builds it; after that it does not change, but for what a command
// sets for itself before it starts an agent. A field for each setting is the point of it.
type Config struct {
	// Function is what is served, Handler the setting it comes from.
	Function fncontext.Function
	Handler  string
	// Language is how the function runs, Program the absolute path of the interpreter, or of the function's own program.
	Language *language.Language
	Program  string
	// Command is the command line of a server of the user's, as it was given; Upstream is where that listens, host:port.
	// IncludeKeys hands it the credentials.
	Command     []string
	Upstream    string
	IncludeKeys bool
	// HTTPLimits is "cloud" or "none" for an HTTP function; HTTPIdle is how long nothing may pass on a stream.
	HTTPLimits string
	HTTPIdle   time.Duration
	// Detected says why it is this language; empty when it was set.
	Detected string
	// RuntimeAPI is the address that poll takes events from, host:port; empty for none.
	RuntimeAPI string

	// CodeCache is where the code cache is, as it was set; see CodeCacheFile.
	CodeCache string
	// Concurrency is the number of calls at once in each worker, Workers the number of worker processes, WaitingRoom the
	// number of synchronous calls that may wait. RoomWait limits the wait; zero means that instance derives it.
	Concurrency, Workers, WaitingRoom int
	// Spares is how many interpreters run in advance.
	Spares   int
	RoomWait time.Duration
	// BodyMemory bounds the bodies of one listener, in MB; 0 means what the control group allows.
	BodyMemory int
	// Secrets and Encrypted reach the function only through its context. SecretNames are the variables that held them.
	Secrets     fncontext.Secrets
	Encrypted   fncontext.EncryptedData
	SecretNames []string
	// Trust says that the platform is in front: its X-CFF-* headers are believed.
	Trust bool

	// ExtensionDirs are folders, separated by colons. ExtensionWait limits the wait for registrations.
	ExtensionDirs string
	ExtensionWait time.Duration
	// ExtensionStrict refuses unknown names; ExtensionRequired are names without which no call is taken; ExtensionRestart
	// starts extensions again that end.
	ExtensionStrict   bool
	ExtensionRequired []string
	ExtensionRestart  bool
	// Freeze stops the processes between calls. Timeline keeps what each extension costs a call. Once says that the
	// instance runs one call; a command sets the last two.
	Freeze, Timeline, Once bool

	// Addr, ExtensionAddr and OpsAddr are host:port.
	Addr, ExtensionAddr, OpsAddr string
	API                          API
	APIG                         APIG
	Async                        Async
	// Timers call the function by the clock; TimerFile has more of them.
	Timers    []*timer.Timer
	TimerFile string
	// DataDirNamed is true if a setting names the data folder.
	DataDirNamed bool

	// ShutdownTimeout is the limit of the whole stop. ExitOnFailure ends the agent when the function cannot be loaded.
	ShutdownTimeout time.Duration
	ExitOnFailure   bool
	// UID and GID are of workers and extensions; -1 for the agent's own.
	UID, GID int
	// LogLevel and LogFormat are as written; NoColor is for terminals.
	LogLevel, LogFormat string
	NoColor             bool
	// Quiet leaves the agent's information and the platform's lines out of the log, Verbose shows a terminal what a pipe
	// gets; a command sets them.
	Quiet, Verbose bool

	// Remarks are for the log once it is open, ListenRemarks for when the listeners are bound, Unknown are the variables
	// that look like settings and are none. NameFrom says where the function's name comes from; NameGuessed is true if
	// that is the working folder, which no setting named.
	Remarks, ListenRemarks, Unknown []string
	NameFrom                        string
	NameGuessed                     bool

	// sources says where each value comes from, by the setting's variable.
	sources map[string]string
	workDir string // the agent's
	// namesAPI says that a program of an undecided language is probably a custom runtime.
	namesAPI bool

	workerEnv, extensionEnv []string
	passedOn                []string // variables for a custom runtime that mean nothing to the agent
	environment             []string
}

// defaultSource is the source of a value that was not set.
const defaultSource = "its default"

// maxSecret bounds a file with the value of one setting, in bytes.
const maxSecret = 1 << 20

// Facts are what the settings' defaults depend on.
type Facts struct {
	// PID is this process, CWD its working directory.
	PID int
	CWD string
	// Init is the name of the program that is PID 1 here, empty if that is this one; Direct says that it started
	// this one.
	Init   string
	Direct bool
	// Command is the command line of the function's server, empty for none.
	Command []string
	// Root: the agent runs as root.
	Root bool
	// Poll: the agent will be a custom runtime of a platform, not the platform.
	Poll bool
}

// Variables turns a list of NAME=value into a map.
func Variables(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	return env
}

// WorkDir is the worker's: the folder above the code, as on the platform (docs/COMPATIBILITY.md); for a server's
// script, and what may be one, the code folder, and for its command line that of the agent.
func (c *Config) WorkDir() string {
	switch {
	case len(c.Command) > 0:
		return c.workDir
	case c.Language.Listens() && !c.namesAPI:
		return c.Function.CodeRoot
	}
	return filepath.Dir(c.Function.CodeRoot)
}

func formatSeconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

// Reserved names are set by the agent, or hidden by it.
func Reserved(name string) bool {
	return strings.HasPrefix(name, "GANTRY_") || strings.HasPrefix(name, "RUNTIME_") || name == "EXTENSION_API_ADDR"
}

type problem string

func (p problem) Error() string { return string(p) }

// IsSet reports whether the user has set a setting, by its variable; its default does not count.
func (c *Config) IsSet(env string) bool {
	source := c.sources[env]
	return source != "" && source != defaultSource
}

// FreePorts has the kernel choose the ports of all listeners whose addresses are the default ones, so that a second
// agent finds room on the machine.
func (c *Config) FreePorts() {
	free := func(addr *string, set bool) {
		if host, _, err := net.SplitHostPort(*addr); err == nil && !set {
			*addr = net.JoinHostPort(host, "0")
		}
	}
	free(&c.Addr, c.IsSet("GANTRY_ADDR"))
	free(&c.ExtensionAddr, c.IsSet("EXTENSION_API_ADDR"))
	free(&c.OpsAddr, c.IsSet("GANTRY_OPS_ADDR"))
	free(&c.API.Addr, c.API.Addr != DefaultAPIAddr)
	free(&c.APIG.Addr, c.APIG.Addr != DefaultAPIGAddr)
}

// Listener is an address that an agent listens on.
type Listener struct {
	// Name is what listens there; Setting and Flag, without its dashes, set Addr, host:port; Source says where it is from.
	Name, Setting, Flag, Addr, Source string
}

// Listeners are those of an agent that serves, in the order in which they are bound.
func (c *Config) Listeners() []Listener {
	all := []Listener{
		{Name: "extension", Setting: "EXTENSION_API_ADDR", Flag: "extension-addr", Addr: c.ExtensionAddr},
		{Name: "function", Setting: "GANTRY_ADDR", Flag: "addr", Addr: c.Addr},
		{Name: "apig", Setting: "GANTRY_APIG_ADDR", Flag: "apig-addr", Addr: c.APIG.Addr},
		{Name: "platform", Setting: "GANTRY_API_ADDR", Flag: "api-addr", Addr: c.API.Addr},
		{Name: "ops", Setting: "GANTRY_OPS_ADDR", Flag: "ops-addr", Addr: c.OpsAddr},
	}
	for i := range all {
		all[i].Source = cmp.Or(c.sources[all[i].Setting], defaultSource)
	}
	return slices.DeleteFunc(all, func(l Listener) bool { return l.Addr == "" })
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"gantry/agent"
	"gantry/api"
	"gantry/extension"
	"gantry/extension/check"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime/language"
	"gantry/settings"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

type checkOptions struct {
	extension, junit string
	quiet            bool
	env              []string
	wait, timeout    string // as settings of durations are written
}

func (p *program) checkCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check --extension FILE",
		Short: "Check one extension against its contract; exits with 0 or 1",
		Args:  noArguments,
		Long: "Start one extension alone, as an agent starts it, and test all that happens to\n" +
			"extensions: registration, calls, pauses, freezes, telemetry, a burst, the stop.\n" +
			"No function and no worker are started; the calls are made up.\n\n" +
			"Prints a line for each check on stdout: ok, warn, fail or skip, what was seen, and\n" +
			"what would be right. What the extension prints goes to stderr, behind its name,\n" +
			"unless --quiet is given. Exit codes: 0 nothing failed; 1 a check failed; 2 the\n" +
			"command line or a setting is wrong; 3 an address cannot be listened on.",
		Example: "  NAME check --extension my-function/extension/extensionHello",
	}
	cmd.Flags().StringVar(&o.extension, "extension", "", "the extension's `FILE` (required)")
	cmd.Flags().StringArrayVar(&o.env, "env", nil, "`NAME=VALUE`, a variable for the extension; may be repeated")
	cmd.Flags().
		StringVar(&o.wait, "wait", "", "how long the registration may take, a `TIME` in seconds or as a duration; default: that of --extension-wait")
	cmd.Flags().StringVar(&o.timeout, "timeout", "60", "how long all checks may take, a `TIME` in seconds or as a duration")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "leave out what the extension prints")
	cmd.Flags().StringVar(&o.junit, "junit", "", "`FILE` for the results as JUnit XML")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		flags := settings.ChangedSettings(cmd.Flags())
		delete(flags, "timeout") // ours, and not the handler's
		return p.check(&o, flags)
	}
	return cmd
}

// check runs the reference test kit for one extension.
func (p *program) check(o *checkOptions, flags map[string]string) error {
	c, limit, err := p.checkConfig(o, flags)
	if err != nil {
		return &failure{exitUsage, err}
	}
	p.printUnknown(c)
	results, err := openJUnit(o.junit)
	if err != nil {
		return err
	}
	defer results.Close()
	if err := p.conceal(); err != nil {
		return err
	}
	log := zap.NewNop() // the findings say it
	if level, given := flags["log-level"]; given {
		if log, err = logger.New(p.stderr, level, false, false); err != nil {
			return &failure{exitUsage, err}
		}
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGPIPE) // a closed stdout ends nothing here
	defer signal.Stop(signals)
	k, err := openKit(c, o, log, p)
	if err != nil {
		return err
	}
	ended := runChecks(k, limit, signals)
	if err := results.write(k.Suite()); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, k.Summary())
	if ended == nil && k.Failures() > 0 {
		return &failure{exitError, nil}
	}
	return ended
}

// checkConfig reads the settings that matter without a function, and what is the command's own.
func (p *program) checkConfig(o *checkOptions, flags map[string]string) (*settings.Config, time.Duration, error) {
	if o.extension == "" {
		return nil, 0, fmt.Errorf("--extension FILE is missing; see %s check --help", p.name)
	}
	path, err := filepath.Abs(o.extension)
	if err != nil {
		return nil, 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, fmt.Errorf("--extension: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("--extension: %s is no file", path)
	}
	o.extension = path
	for _, kv := range o.env {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" || strings.ContainsRune(kv, 0) {
			return nil, 0, fmt.Errorf("--env: %q is not of the form NAME=value", kv)
		} else if settings.Reserved(name) || name == "EXTENSION_ROOT" {
			return nil, 0, fmt.Errorf(
				"--env: %s is set by the agent; the function's settings have flags, see %s check --help",
				name, p.name,
			)
		}
	}
	facts := settings.Facts{PID: os.Getpid(), CWD: filepath.Dir(path)}
	c, err := settings.Read(p.environ, settings.Variables(p.environ), flags, facts)
	if err != nil {
		return nil, 0, err
	}
	limit, err := settings.ParseDuration(o.timeout)
	if err != nil {
		return nil, 0, fmt.Errorf("--timeout: %q: %w", o.timeout, err)
	}
	if o.wait != "" {
		if c.ExtensionWait, err = settings.ParseDuration(o.wait); err != nil {
			return nil, 0, fmt.Errorf("--wait: %q: %w", o.wait, err)
		}
	}
	c.TakeDefaults()
	// There is no function: the extension gets its name only.
	if c.Function.Handler, err = fncontext.ParseProgram(cmp.Or(c.Handler, language.Default().Handler)); err != nil {
		return nil, 0, fmt.Errorf("RUNTIME_HANDLER: %w", err)
	}
	c.Function.CodeRoot = filepath.Dir(filepath.Dir(path))
	if c.Function.Name == "" {
		c.Function.Name = "check"
	}
	if !c.IsSet("EXTENSION_API_ADDR") { // a running agent has the usual port
		c.ExtensionAddr = "127.0.0.1:0"
	}
	return c, limit, nil
}

// openKit prepares the run of c.
func openKit(c *settings.Config, o *checkOptions, log *zap.Logger, p *program) (*check.Kit, error) {
	var output io.Writer = p.stderr
	if o.quiet {
		output = io.Discard
	}
	k, err := check.Open(check.Config{
		Extension: o.extension, Function: &c.Function, Env: c.EnvironmentWith(o.env), UID: c.UID, GID: c.GID,
		Wait: c.ExtensionWait, Shutdown: c.ShutdownTimeout, Findings: p.stdout, Output: output, Log: log,
		Color: agent.IsTerminal(p.stdout) && !c.NoColor,
		Listen: func(host *extension.Host) (check.Listener, error) {
			server, err := api.ListenExtension(
				&api.ExtensionConfig{Addr: c.ExtensionAddr, Host: host, Function: &c.Function, Log: log},
			)
			if err != nil { // not the nil server in an interface
				return nil, fault.Mark(fault.Unavailable, err)
			}
			return server, nil
		},
	})
	if kind, ok := fault.MarkOf(err); ok && kind == fault.Invalid {
		return nil, fmt.Errorf("--extension: %w", err)
	}
	return k, err
}

// runChecks runs k within limit. The error is for an end by a signal: the first one cuts the checks off and the
// extension is stopped in order, the second one kills it.
func runChecks(k *check.Kit, limit time.Duration, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx, limit)
	}()
	var ended error
	for {
		select {
		case <-done:
			return ended
		case sig := <-signals:
			if sig == unix.SIGPIPE {
				continue
			}
			code := 128 + int(sig.(syscall.Signal))
			if ended != nil {
				k.Kill()
				return &agent.Forced{Signal: sig.(syscall.Signal)}
			}
			ended = &failure{code, fmt.Errorf("the checks were cut off: %s", sig)}
			cancel(ended)
		}
	}
}

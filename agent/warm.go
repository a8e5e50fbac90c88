package agent

import (
	"context"
	"errors"
	"fmt"
	"gantry/extension"
	"gantry/fault"
	"gantry/process"
	"gantry/runtime"
	"gantry/settings"
	"os"
	"path/filepath"
	"time"
)

// warmLimit bounds the time in which the worker writes its code cache: seconds, where a build emulates another machine.
const warmLimit = 2 * time.Minute

// Warm runs load and initializer, then the events one after the other, and has the worker write its code cache to
// c.CodeCacheFile. It starts no extensions. Nothing is written unless all of it succeeds.
func Warm(c *settings.Config, o *Options, events [][]byte) (*runtime.CodeCache, error) {
	name := c.CodeCacheFile()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fault.Mark(fault.Invalid, fmt.Errorf("the folder of the code cache cannot be made: %w", err))
	}
	file, err := os.CreateTemp(filepath.Dir(name), ".code-cache-*")
	if err != nil {
		return nil, fault.Mark(fault.Invalid, fmt.Errorf("the code cache cannot be written: %w", err))
	}
	o.NewCodeCache = file
	written, err := warm(c, o, events)
	if err == nil {
		err = errors.Join(file.Chmod(0o644), file.Sync())
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(file.Name()))
	}
	return written, nil
}

// warm is Warm without the files.
func warm(c *settings.Config, o *Options, events [][]byte) (written *runtime.CodeCache, err error) {
	c.Once, c.Workers, c.Spares, c.Concurrency, c.Freeze = true, 1, 0, 1, false
	c.ExtensionDirs, c.ExtensionRequired = "", nil
	if c.Language.SharesClasses {
		return archiveClasses(c, o, events)
	}
	err = during(c, o, c.ShutdownTimeout, func(in *agent) (err error) {
		written, err = in.warm(events)
		return err
	})
	return written, err
}

// archiveClasses has a Java machine write an archive of classes, which it does when it ends.
func archiveClasses(c *settings.Config, o *Options, events [][]byte) (*runtime.CodeCache, error) {
	fits, err := c.Language.ClassArchive(&process.Command{Path: c.Program, Env: c.WorkerEnvironment()})
	if err != nil {
		return nil, fault.Mark(fault.Invalid, fmt.Errorf("no class archive can be written: %w", err))
	}
	if err = runtime.GiveCodeCache(o.NewCodeCache, c.UID); err != nil {
		return nil, err
	}
	limit := max(warmLimit, c.ShutdownTimeout)
	if err = during(c, o, limit, func(in *agent) error { return in.rehearse(events) }); err != nil {
		return nil, err
	}
	return runtime.FinishClassArchive(o.NewCodeCache, fits)
}

// during runs an agent while do works with it, and has limit for its stop.
func during(c *settings.Config, o *Options, limit time.Duration, do func(*agent) error) error {
	in, err := openAgent(c, o)
	if err != nil {
		return err
	}
	in.remark()
	go func() { _ = in.extensions.Serve() }() // ends with the instance, after its error can matter
	err = do(in)
	in.close(time.Now().Add(limit), extension.ReasonSpindown)
	return err
}

// warm has a worker that is ready write its code cache.
func (in *agent) warm(events [][]byte) (*runtime.CodeCache, error) {
	if err := in.rehearse(events); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(in.instance.Base(), warmLimit)
	defer cancel()
	written, err := in.instance.WriteCodeCache(ctx)
	switch {
	case err != nil:
		return nil, err
	case written.Refused != "":
		return nil, errors.New("no code cache can be written: " + written.Refused)
	case written.Files == 0 && written.LeftOut > 0:
		return nil, fault.Mark(fault.Invalid, errors.New(
			"no file can be cached: "+written.FirstLeftOut+" may use import(), which cached code has from Node.js 22 on only"))
	case written.Files == 0:
		return nil, fault.Mark(fault.Invalid, errors.New(in.cfg.Language.Uncached))
	}
	return written, nil
}

// rehearse runs load, initializer and the events.
func (in *agent) rehearse(events [][]byte) error {
	if err := in.instance.WaitReady(in.instance.Base()); err != nil {
		return fault.Mark(fault.Init, fmt.Errorf("the function cannot be started: %w", err))
	}
	for i, event := range events {
		if call := in.once(event, false); call.Fault != nil {
			return fmt.Errorf("event %d failed, and no code cache is written: %s", i+1, call.Fault.Text(true))
		}
	}
	return nil
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"gantry/process"
	"io/fs"
	"os"
)

// CodeCache returns what the load made of the code cache; nil if there is none, and before the load has ended.
func (w *Worker) CodeCache() *CodeCache { return w.codeCache.Load() }

// offerCodeCache hands the code cache to a worker, as its last descriptor: to read it, or to write one. The file is
// given and not its name, so that the worker reads the one that was checked. It returns what is closed after the start.
func (w *Worker) offerCodeCache(cmd *process.Command) []*os.File {
	if !w.cfg.Language.CachesCode || w.cfg.CodeCache == "" && w.cfg.NewCodeCache == nil {
		return nil
	}
	if w.cfg.Language.SharesClasses {
		return w.offerClassArchive(cmd)
	}
	if w.cfg.NewCodeCache != nil {
		cmd.Files, cmd.Env = append(cmd.Files, w.cfg.NewCodeCache), append(cmd.Env, "GANTRY_CODE_CACHE=write")
		return nil
	}
	file, err := openCodeCache(w.cfg.CodeCache)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		w.codeCache.Store(&CodeCache{Refused: err.Error()})
		return nil
	}
	cmd.Files, cmd.Env = append(cmd.Files, file), append(cmd.Env, "GANTRY_CODE_CACHE=read")
	return []*os.File{file}
}

// WriteCodeCache has the worker write its code cache to Config.NewCodeCache.
func (w *Worker) WriteCodeCache(ctx context.Context) (*CodeCache, error) {
	f, ok := w.transport.(*frames)
	if !ok || !w.cfg.Language.CachesCode || w.cfg.Language.SharesClasses {
		return nil, errors.New("the workers of this language have no code cache")
	}
	if err := f.events.askCodeCache(); err != nil {
		return nil, err
	}
	select {
	case written := <-f.cacheWritten:
		return written, nil
	case <-f.readDone:
		return nil, errors.New("the worker ended before it had written the code cache")
	case <-ctx.Done():
		return nil, fmt.Errorf("the worker did not write the code cache in time: %w", context.Cause(ctx))
	}
}

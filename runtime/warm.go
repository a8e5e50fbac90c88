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
	l := w.cfg.Language
	switch {
	case !l.CachesCode:
		return nil
	case w.cfg.NewCodeCache != nil:
		if l.SharesClasses {
			addClassArchive(cmd, w.cfg.NewCodeCache, "-XX:ArchiveClassesAtExit=")
		} else {
			addCodeCache(cmd, w.cfg.NewCodeCache, "write")
		}
		return nil
	case w.cfg.CodeCache == "":
		return nil
	}
	file, err := w.findCodeCache(cmd)
	switch {
	case err != nil:
		refused := &CodeCache{Refused: err.Error()}
		if l.SharesClasses {
			refused.Misses = 1 // it is one file
		}
		w.codeCache.Store(refused)
		return nil
	case file == nil:
		return nil
	case l.SharesClasses:
		w.offerClassArchive(cmd, file)
	default:
		addCodeCache(cmd, file, "read")
	}
	return []*os.File{file}
}

// findCodeCache opens the code cache for a worker; nil if there is none. The error says why it must not be used.
func (w *Worker) findCodeCache(cmd *process.Command) (*os.File, error) {
	file, err := openCodeCache(w.cfg.CodeCache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || !w.cfg.Language.SharesClasses {
		return file, err
	}
	if err = w.checkClassArchive(cmd, file); err != nil {
		_ = file.Close() // it was only read
		return nil, err
	}
	return file, nil
}

// addCodeCache hands over a file as the last descriptor, and says whether to read or to write it.
func addCodeCache(cmd *process.Command, file *os.File, use string) {
	cmd.Files, cmd.Env = append(cmd.Files, file), append(cmd.Env, "GANTRY_CODE_CACHE="+use)
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

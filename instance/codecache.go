package instance

import (
	"context"
	"errors"
	"gantry/runtime"
	"gantry/telemetry"

	"go.uber.org/zap"
)

// noteCodeCache says what a load made of the code cache, if there is one.
func (a *Instance) noteCodeCache(w *runtime.Worker) {
	c := w.CodeCache()
	if c == nil || a.cfg.Runtime.NewCodeCache != nil {
		return
	}
	file := zap.String("file", a.cfg.Runtime.CodeCache)
	a.cfg.Metrics.CodeCacheHits.Add(c.Hits)
	a.cfg.Metrics.CodeCacheMisses.Add(c.Misses)
	if c.Refused != "" {
		a.cfg.Log.Warn("the code cache is not used: "+c.Refused, file)
		return
	}
	a.cfg.Log.Info("code cache", zap.Int("hits", c.Hits), zap.Int("misses", c.Misses), file)
}

// cacheFigures adds what the load made of the code cache to the figures of its report.
func cacheFigures(f *telemetry.Figures, w *runtime.Worker) {
	if c := w.CodeCache(); c != nil {
		f.CacheHits, f.CacheMisses = c.Hits, c.Misses
	}
}

// WriteCodeCache has a worker that is ready write its code cache.
func (a *Instance) WriteCodeCache(ctx context.Context) (*runtime.CodeCache, error) {
	a.mu.Lock()
	var ready *runtime.Worker
	for _, w := range a.workers {
		if w != nil {
			ready = w
		}
	}
	a.mu.Unlock()
	if ready == nil {
		return nil, errors.New("the worker has ended, and what it had compiled is lost")
	}
	return ready.WriteCodeCache(ctx)
}

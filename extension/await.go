package extension

import (
	"context"
	"gantry/fault"
	"slices"
	"time"

	"go.uber.org/zap"
)

// WaitReady waits until every extension started here has registered or ended, at most for the configured time since the
// start. Those that are late are named in the log, and the function runs without them until they register; the error, a
// *fault.Error, is for those that are required.
func (h *Host) WaitReady(ctx context.Context) error {
	h.await(ctx)
	if h.missing.Load() > 0 && ctx.Err() == nil {
		return h.whoIsMissing(fault.Init)
	}
	return nil
}

func (h *Host) await(ctx context.Context) {
	h.mu.Lock()
	left := time.Until(h.waitEnd)
	h.mu.Unlock()
	select {
	case <-h.settled:
		return
	default:
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-h.settled:
	case <-ctx.Done():
	case <-timer.C:
		h.giveUp()
	}
}

// giveUp stops waiting, for this and all later workers.
func (h *Host) giveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	var others []string // registered under names that no file has
	for _, s := range h.seats {
		if s != nil && !slices.ContainsFunc(h.scripts, func(script Script) bool { return script.Name == s.name }) {
			others = append(others, s.name)
		}
	}
	for name := range h.pending {
		text := "extension has not registered in time; the function starts without it"
		if _, required := h.required[name]; required {
			text = "extension has not registered in time, and the function does not start without it"
		}
		fields := []zap.Field{
			zap.String("extension", name),
			zap.Duration("waited", h.cfg.Wait),
			zap.String("setting", "GANTRY_EXTENSION_WAIT"),
		}
		if len(others) > 0 {
			fields = append(
				fields,
				zap.Strings("registered_instead", others),
				zap.String("want", "the file's name in FunctionGraph-Extension-Name"),
			)
		}
		h.cfg.Log.Warn(text, fields...)
	}
	clear(h.pending)
	h.checkSettled()
}

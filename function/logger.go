package function

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

const (
	levelDebug, levelInfo = "DEBUG", "INFO"
	levelWarn, levelError = "WARN", "ERROR"
)

// Logf writes a message with the level INFO, formatted as by fmt.Sprintf. It may have several lines.
func (l *Logger) Logf(format string, args ...any) {
	l.sink.log(l.call, levelInfo, fmt.Sprintf(format, args...))
}

// Slog returns a logger with levels: a line is the message, then key=value for each attribute. Levels between the named
// ones count as the lower one. With a context of another call, as in InfoContext, the line belongs to that call.
func (l *Logger) Slog() *slog.Logger {
	out := &attributes{}
	return slog.New(&handler{logger: l, out: out, text: slog.NewTextHandler(&out.buf, nil)})
}

// handler is a slog.Handler that leaves the attributes to one of the standard library.
type handler struct {
	logger *Logger
	out    *attributes
	text   slog.Handler
}

// attributes is what text writes to; handlers that were derived from each other share it.
type attributes struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Enabled implements slog.Handler, and so do the next ones.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.logger.level.Level()
}

// withoutAttributes is what the standard handler writes for a record that has nothing but its attributes.
const withoutAttributes = `level=INFO msg=""`

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	bare := slog.Record{Level: slog.LevelInfo}
	r.Attrs(func(a slog.Attr) bool {
		bare.AddAttrs(a)
		return true
	})
	h.out.mu.Lock()
	h.out.buf.Reset()
	err := h.text.Handle(ctx, bare)
	attrs := h.out.buf.String()
	h.out.mu.Unlock()
	attrs = strings.TrimPrefix(strings.TrimSuffix(attrs, "\n"), withoutAttributes)
	logger := h.logger
	if c := FromContext(ctx); c != nil {
		logger = c.GetLogger()
	}
	logger.sink.log(logger.call, levelName(r.Level), r.Message+attrs)
	return err
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{logger: h.logger, out: h.out, text: h.text.WithAttrs(attrs)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{logger: h.logger, out: h.out, text: h.text.WithGroup(name)}
}

func levelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return levelError
	case level >= slog.LevelWarn:
		return levelWarn
	case level >= slog.LevelInfo:
		return levelInfo
	}
	return levelDebug
}

// Package logger builds the agent's own log (zap, on stderr) and carries the log lines of the function and of the
// extensions: it assembles them from output that arrives in pieces, keeps the tail of a call, and writes them to stdout
// without ever making their author wait.
package logger

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// ownLimit bounds what the agent's own log keeps for a slow stderr, in bytes; what does not fit is dropped and counted.
const ownLimit = 256 << 10

// Own is the agent's own log. Writing to it never blocks on the reader of stderr: no call, no start and no stop waits
// for a terminal, a pipe or a log driver that takes nothing. Use NewOwn; Close must be called.
type Own struct {
	*zap.Logger
	out *outlet
}

// NewOwn starts the agent's own log on w, usually stderr; level, json and color are those of New.
func NewOwn(w io.Writer, level string, json, color bool) (*Own, error) {
	lvl, err := parseLevel(level)
	if err != nil {
		return nil, err
	}
	encoder := newEncoder(json, color)
	o := &Own{
		out: newOutlet(
			w,
			ownLimit,
			0,
			func(dst []byte, dropped int) []byte { return appendOwnDrops(dst, encoder.Clone(), dropped) },
		),
	}
	o.Logger = zap.New(zapcore.NewCore(encoder, outletSyncer{o.out}, lvl))
	return o, nil
}

func appendOwnDrops(dst []byte, encoder zapcore.Encoder, dropped int) []byte {
	entry := zapcore.Entry{
		Level: zapcore.WarnLevel, Time: time.Now(),
		Message: strconv.Itoa(dropped) + " lines of the agent's log dropped: stderr is not read fast enough",
	}
	line, err := encoder.EncodeEntry(entry, nil)
	if err != nil { // not for an entry without fields
		return append(append(dst, entry.Message...), '\n')
	}
	defer line.Free()
	return append(dst, line.Bytes()...)
}

// Drops returns how many lines were lost since the start, because stderr was not read or is closed.
func (o *Own) Drops() int64 { return o.out.drops.Load() }

// Close writes what is buffered, waiting until then or until the deadline passes. Later lines are dropped and counted.
func (o *Own) Close(deadline time.Time) { o.out.close(deadline) }

// outletSyncer makes an outlet the end of a zap core.
type outletSyncer struct{ *outlet }

// Write implements zapcore.WriteSyncer; p is one entry.
func (o outletSyncer) Write(p []byte) (int, error) {
	o.put(len(p), func(dst []byte) []byte { return append(dst, p...) })
	return len(p), nil
}

// Sync implements zapcore.WriteSyncer. zap calls it in the goroutine that logs, which must not wait.
func (o outletSyncer) Sync() error { return nil }

// New returns a logger that writes to w at once. level is debug, info, warn or error; with json each entry is one JSON
// object, else one line for people, coloured if color is set. For tools that only write to a terminal; the agent has
// NewOwn.
func New(w io.Writer, level string, json, color bool) (*zap.Logger, error) {
	lvl, err := parseLevel(level)
	if err != nil {
		return nil, err
	}
	return zap.New(zapcore.NewCore(newEncoder(json, color), zapcore.Lock(zapcore.AddSync(w)), lvl)), nil
}

func parseLevel(level string) (zapcore.Level, error) {
	lvl, err := zapcore.ParseLevel(level)
	if err != nil {
		return 0, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	return lvl, nil
}

func newEncoder(json, color bool) zapcore.Encoder {
	cfg := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "message", StacktraceKey: "stack",
		EncodeTime:     func(t time.Time, e zapcore.PrimitiveArrayEncoder) { e.AppendString(string(appendMillis(nil, t))) },
		EncodeDuration: zapcore.StringDurationEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder,
	}
	if json {
		return zapcore.NewJSONEncoder(cfg)
	}
	cfg.EncodeLevel = zapcore.CapitalLevelEncoder
	if color {
		cfg.EncodeLevel = zapcore.CapitalColorLevelEncoder
	}
	cfg.ConsoleSeparator = " "
	return zapcore.NewConsoleEncoder(cfg)
}

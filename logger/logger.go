// Package logger builds the agent's own log (zap, on stderr) and carries the log lines of the function and of the
// extensions: it assembles them from output that arrives in pieces, keeps the tail of a call, and writes them to stdout
// without ever making their author wait.
package logger

import (
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Field keys of the agent's log and of wrapped lines: one spelling each.
const (
	KeyRequestID = "request_id"
	KeySource    = "source"
)

// New returns the agent's logger. level is debug, info, warn or error; with json each entry is one JSON object, else one
// line for people, coloured if color is set. Called once, by bootstrap.
func New(w io.Writer, level string, json, color bool) (*zap.Logger, error) {
	lvl, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	cfg := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "message", StacktraceKey: "stack",
		EncodeTime:     func(t time.Time, e zapcore.PrimitiveArrayEncoder) { e.AppendString(t.UTC().Format(timeMillis)) },
		EncodeDuration: zapcore.StringDurationEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder,
	}
	encoder := zapcore.NewJSONEncoder(cfg)
	if !json {
		cfg.EncodeLevel = zapcore.CapitalLevelEncoder
		if color {
			cfg.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		cfg.ConsoleSeparator = " "
		encoder = zapcore.NewConsoleEncoder(cfg)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), lvl)), nil
}

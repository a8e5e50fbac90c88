package fncontext

import (
	"fmt"
	"io"
	"log/slog"
)

// EncryptedData are the encrypted user variables, wrapped in a closure for the reason that Credentials gives:
// whatever prints a struct that holds them shows "[redacted]". The zero value holds none.
type EncryptedData struct{ reveal func() map[string]string }

// NewEncryptedData wraps values, which must not change afterwards; no values at all give the zero value.
func NewEncryptedData(values map[string]string) EncryptedData {
	if len(values) == 0 {
		return EncryptedData{}
	}
	return EncryptedData{reveal: func() map[string]string { return values }}
}

// Reveal returns the variables in the clear, by name; the caller does not change the map. Only what hands them to the
// function calls it.
func (d EncryptedData) Reveal() map[string]string {
	if d.reveal == nil {
		return nil
	}
	return d.reveal()
}

// Empty reports whether there are no variables.
func (d EncryptedData) Empty() bool { return d.reveal == nil }

// Format implements fmt.Formatter for every verb.
func (d EncryptedData) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalJSON implements json.Marshaler.
func (d EncryptedData) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue implements slog.LogValuer.
func (d EncryptedData) LogValue() slog.Value { return slog.StringValue(redacted) }

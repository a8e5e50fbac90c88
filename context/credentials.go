package fncontext

import (
	"fmt"
	"io"
	"log/slog"
)

// Secrets are the agency credentials of one call, in the clear. They travel to the worker in the Invoke frame and
// nowhere else: not in an environment, not in a log.
type Secrets struct {
	AccessKey, SecretKey                 string
	SecurityAccessKey, SecuritySecretKey string
	SecurityToken, AuthToken             string
}

// Format implements fmt.Formatter: secrets do not print.
func (s Secrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON implements json.Marshaler.
func (s Secrets) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Credentials wraps Secrets in a closure (fmt follows pointers in unexported fields, never functions), so that
// printing any struct that holds them shows "[redacted]", whichever verb, encoder or logger is used. The zero value
// holds none.
type Credentials struct{ reveal func() Secrets }

const redacted = "[redacted]"

// NewCredentials wraps s; no secrets at all give the zero value.
func NewCredentials(s Secrets) Credentials {
	if s == (Secrets{}) {
		return Credentials{}
	}
	return Credentials{reveal: func() Secrets { return s }}
}

// Reveal returns the secrets in the clear. Only the transport to the worker calls it.
func (c Credentials) Reveal() Secrets {
	if c.reveal == nil {
		return Secrets{}
	}
	return c.reveal()
}

// Empty reports whether there is nothing to hide.
func (c Credentials) Empty() bool { return c.reveal == nil }

// Format implements fmt.Formatter for every verb.
func (c Credentials) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalJSON implements json.Marshaler.
func (c Credentials) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue implements slog.LogValuer.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }

package async

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"io"
	"time"
)

// Limits and defaults of a configuration (page functiongraph_06_0142, and docs/COMPATIBILITY.md where its editions
// differ).
const (
	MaxAge      = 86400 * time.Second
	defaultAge  = 3600 * time.Second
	MaxRetries  = 3
	someRetries = 1 // of a configuration that does not say
	noRetries   = 0 // without a configuration
)

// Destination says where the outcome of a request is sent.
type Destination struct {
	// Kind is OBS, SMN, DIS or FunctionGraph.
	Kind string `json:"destination"`
	// Param is the JSON text of what the kind needs, kept byte for byte.
	Param string `json:"param"`
}

// Configuration is what was set for a version or an alias. The JSON is that of the platform.
type Configuration struct {
	FunctionURN  string       `json:"func_urn"`
	AgeSeconds   int          `json:"max_async_event_age_in_seconds"`
	Retries      int          `json:"max_async_retry_attempts"`
	Destinations destinations `json:"destination_config"`
	Created      string       `json:"created_time"`
	Modified     string       `json:"last_modified"`
	StatusLog    bool         `json:"enable_async_status_log"`
	LogGroupID   string       `json:"log_group_id,omitempty"`
	LogStreamID  string       `json:"log_stream_id,omitempty"`
	LogGroup     string       `json:"log_group_name,omitempty"`
	LogStream    string       `json:"log_stream_name,omitempty"`
}

type destinations struct {
	OnSuccess *Destination `json:"on_success,omitempty"`
	OnFailure *Destination `json:"on_failure,omitempty"`
}

// age is the longest time from the acceptance to the start of an attempt.
func (c *Configuration) age() time.Duration {
	if c == nil {
		return defaultAge
	}
	return time.Duration(c.AgeSeconds) * time.Second
}

func (c *Configuration) retries() int {
	if c == nil {
		return noRetries
	}
	return c.Retries
}

// request is the body of a PUT: everything may be left out.
type request struct {
	AgeSeconds   *int          `json:"max_async_event_age_in_seconds"`
	Retries      *int          `json:"max_async_retry_attempts"`
	Destinations *destinations `json:"destination_config"`
	StatusLog    bool          `json:"enable_async_status_log"`
	LogGroupID   string        `json:"log_group_id"`
	LogStreamID  string        `json:"log_stream_id"`
	LogGroup     string        `json:"log_group_name"`
	LogStream    string        `json:"log_stream_name"`
}

// ParseConfiguration checks the body of a PUT and fills in the defaults. Errors name the member and what would be
// right.
func ParseConfiguration(body []byte) (*Configuration, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return nil, badConfiguration("the body is not a JSON object")
	}
	var r request
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(&r); err != nil {
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) && typ.Field != "" {
			return nil, badConfiguration(fmt.Sprintf("%s has the wrong type, want %s", typ.Field, destination.InJSON(typ.Type)))
		}
		return nil, badConfiguration("the body is not a JSON object")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, badConfiguration("something follows the JSON object")
	}
	c := &Configuration{
		AgeSeconds: int(defaultAge / time.Second), Retries: someRetries, StatusLog: r.StatusLog,
		LogGroupID: r.LogGroupID, LogStreamID: r.LogStreamID, LogGroup: r.LogGroup, LogStream: r.LogStream,
	}
	if r.AgeSeconds != nil {
		c.AgeSeconds = *r.AgeSeconds
	}
	if r.Retries != nil {
		c.Retries = *r.Retries
	}
	if r.Destinations != nil {
		c.Destinations = *r.Destinations
	}
	switch limit := int(MaxAge / time.Second); {
	case c.AgeSeconds < 1 || c.AgeSeconds > limit:
		return nil, badConfiguration(fmt.Sprintf("max_async_event_age_in_seconds is %d, want 1 to %d", c.AgeSeconds, limit))
	case c.Retries < 0 || c.Retries > MaxRetries:
		return nil, badConfiguration(fmt.Sprintf("max_async_retry_attempts is %d, want 0 to %d", c.Retries, MaxRetries))
	}
	if err := c.eachDestination(destination.Check); err != nil {
		return nil, err
	}
	return c, nil
}

// checkFiles reports destinations whose outcome messages would become files that cannot be written.
func checkFiles(endpoints *destination.Endpoints, c *Configuration) error {
	return c.eachDestination(endpoints.CheckFile)
}

// eachDestination makes one check of every destination that is set.
func (c *Configuration) eachDestination(check func(member, kind, param string) error) error {
	both := map[string]*Destination{"on_success": c.Destinations.OnSuccess, "on_failure": c.Destinations.OnFailure}
	for member, d := range both {
		if d == nil {
			continue
		}
		if err := check(member, d.Kind, d.Param); err != nil {
			return badConfiguration(err.Error())
		}
	}
	return nil
}

func badConfiguration(message string) *fault.Error {
	return &fault.Error{
		Kind:    fault.Invalid,
		Type:    fault.TypeBadRequest,
		Code:    fault.CodeBadRequest,
		Message: "Invalid parameter: " + message,
	}
}

// configurationKey is the last field of a URN as a key, in letters that keys may have.
func configurationKey(version, alias string) string {
	kind, name := "version.", version
	if alias != "" {
		kind, name = "alias.", alias
	}
	return kind + base64.RawURLEncoding.EncodeToString([]byte(name))
}

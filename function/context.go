package function

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// FromContext returns the Context of the call that ctx, or what ctx was derived from, belongs to; nil if there is none.
func FromContext(ctx context.Context) *Context {
	c, _ := ctx.Value(contextKey{}).(*Context)
	return c
}

// Format implements fmt.Formatter: whatever the verb, credentials do not print.
func (c *Context) Format(s fmt.State, _ rune) {
	if c == nil {
		_, _ = io.WriteString(s, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(s, "{request %s of %s:%s}", c.requestID, c.facts.name, c.facts.version)
}

// LogValue implements slog.LogValuer, likewise.
func (c *Context) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

func (c *Context) reveal() secrets {
	if c.secrets == nil {
		return secrets{}
	}
	return c.secrets()
}

func (c *Context) keep(s secrets) {
	if s != (secrets{}) {
		c.secrets = func() secrets { return s }
	}
}

// GetRequestID returns the request id, a UUID; empty for an Initializer that runs as part of the load.
func (c *Context) GetRequestID() string { return c.requestID }

// GetRemainingTimeInMilliSeconds returns the time until the deadline, and 0 after it.
func (c *Context) GetRemainingTimeInMilliSeconds() int {
	return int(max(0, time.Until(c.deadline)).Milliseconds())
}

// GetAccessKey returns the agency's access key, good for 24 hours; empty without an agency. The platform no longer
// maintains it: use GetSecurityAccessKey.
func (c *Context) GetAccessKey() string { return c.reveal().AccessKey }

// GetSecretKey returns the secret key to GetAccessKey.
func (c *Context) GetSecretKey() string { return c.reveal().SecretKey }

// GetSecurityAccessKey returns the agency's temporary access key, good for 24 hours; empty without an agency.
func (c *Context) GetSecurityAccessKey() string { return c.reveal().SecurityAccessKey }

// GetSecuritySecretKey returns the secret key to GetSecurityAccessKey.
func (c *Context) GetSecuritySecretKey() string { return c.reveal().SecuritySecretKey }

// GetSecurityToken returns the security token to GetSecurityAccessKey.
func (c *Context) GetSecurityToken() string { return c.reveal().SecurityToken }

// GetToken returns the agency's IAM token, good for 24 hours; empty without an agency.
func (c *Context) GetToken() string { return c.reveal().AuthToken }

// GetUserData returns a user variable, the encrypted ones included (page functiongraph_01_0154); empty if there is
// none.
func (c *Context) GetUserData(key string) string {
	if value, ok := c.facts.encrypted[key]; ok {
		return value
	}
	return c.facts.userData[key]
}

// GetFunctionName returns the function's name.
func (c *Context) GetFunctionName() string { return c.facts.name }

// GetRunningTimeInSeconds returns the configured timeout in seconds, a fraction rounded up.
func (c *Context) GetRunningTimeInSeconds() int {
	return int((c.facts.timeout + time.Second - 1) / time.Second)
}

// GetVersion returns the function's version: latest, or its name.
func (c *Context) GetVersion() string { return c.facts.version }

// GetMemorySize returns the memory in MB.
func (c *Context) GetMemorySize() int { return c.facts.memoryMB }

// GetCPUNumber returns the share of the processor in thousandths of a core.
func (c *Context) GetCPUNumber() int { return c.facts.cpuMillis }

// GetProjectID returns the project's id.
func (c *Context) GetProjectID() string { return c.facts.project }

// GetPackage returns the function's group, called app in the console; default if it was given none.
func (c *Context) GetPackage() string { return c.facts.group }

// GetAlias returns the alias that the call was addressed to, without a "!"; empty if it was to a version.
func (c *Context) GetAlias() string { return c.alias }

// GetWorkflowID returns the id of the function flow that the call belongs to; empty outside of one.
func (c *Context) GetWorkflowID() string { return c.workflow.id }

// GetWorkflowRunID returns the id of the flow's run.
func (c *Context) GetWorkflowRunID() string { return c.workflow.runID }

// GetWorkflowStateID returns the id of the flow's step.
func (c *Context) GetWorkflowStateID() string { return c.workflow.stateID }

// GetLogger returns the logger of the call. It can still be used when the call has ended.
func (c *Context) GetLogger() *Logger { return &c.call.logger }

package api

import (
	"encoding/json"
	"fmt"
	fncontext "gantry/context"
	"gantry/fault"
	"gantry/instance"
	"gantry/logger"

	"go.uber.org/zap"
)

// HeaderServed is set on every 404 of a function's routes: the URN of the one that is served here. The platform has no
// such header; the commands that call an agent ask by it.
const HeaderServed = "X-Gantry-Function"

// refuse answers with the platform's error body and X-Request-Id.
func (p *platformAPI) refuse(x *exchange, f *fault.Error) {
	a := apiAnswers[f.Kind]
	if f.APICode != "" {
		a.code = f.APICode
	}
	p.Metrics.API(f.Kind.String())
	if f.Kind == fault.Internal {
		p.Log.Error("platform API request failed", zap.String("request_id", x.id), zap.Error(f))
	} else {
		p.refusal(x, a.code, f)
	}
	p.respond(x, a.status, appendError(nil, a.code, f.Message))
	if f.Kind == fault.NotFound && x.urn.Name != "" { // to a caller that may call it
		x.ctx.Response.Header.Set(HeaderServed, p.Function.URN())
	}
	if f.Kind == fault.Throttled || f.Kind == fault.Unavailable {
		x.ctx.Response.Header.Set("Retry-After", retryAfter)
	}
}

func (p *platformAPI) respond(x *exchange, status int, body []byte) {
	x.ctx.Response.SetStatusCode(status)
	x.ctx.Response.Header.Set(headerGatewayID, x.id)
	x.ctx.Response.Header.SetContentType(contentJSON)
	x.ctx.Response.SetBodyRaw(body)
}

func appendError(b []byte, code, message string) []byte {
	b = logger.AppendJSONString(append(b, `{"error_code":`...), code)
	return append(logger.AppendJSONString(append(b, `,"error_msg":`...), message), '}')
}

func notFound(message string) *fault.Error {
	return &fault.Error{Kind: fault.NotFound, Type: fault.TypeNotFound, Code: fault.CodeBadRequest, Message: message}
}

func (p *platformAPI) missing(code, message string) *fault.Error {
	f := notFound(message + ": here is project " + p.Function.Project + ", " + p.Function.URN())
	f.APICode = code
	return f
}

// reading says what the fields of a short identifier mean, which the form does not show: name:version is no form.
func reading(u fncontext.URN, text string) string {
	if u.Region != "" || u.Package == "" {
		return ""
	}
	project := ""
	if u.Project != "" {
		project = fmt.Sprintf("project %q, ", u.Project)
	}
	return fmt.Sprintf(" %q, which reads as %spackage %q, function %q", text, project, u.Package, u.Name)
}

func (p *platformAPI) respondJSON(x *exchange, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		p.refuse(x, fault.From(fmt.Errorf("answer: %w", err)))
		return
	}
	p.Metrics.API(instance.OutcomeSuccess)
	p.respond(x, status, body)
}

package api

import (
	"fmt"
	"gantry/auth"
	"gantry/fault"

	"go.uber.org/zap"
)

// What the platform API's log says of requests: who was let in to do what, and why others were refused.

// accepted is the audit line of an accepted request. It is written once the request has its final id and, where it
// becomes a call, before that runs; no sampling drops it.
func (p *platformAPI) accepted(x *exchange) {
	if ce := p.audit.Check(zap.InfoLevel, "platform API request accepted"); ce != nil {
		ce.Write(
			zap.String("user", x.caller.Name()),
			zap.String("action", string(x.route.target.action)),
			zap.String("route", x.route.label),
			zap.String("request_id", x.id),
			zap.Stringer("peer", x.peer),
		)
	}
}

// issued is the audit line of a login.
func (p *platformAPI) issued(x *exchange, token *auth.Token) {
	p.audit.Info(
		"platform API token issued",
		zap.String("user", cutText(token.User.Name, maxReason)),
		zap.String("request_id", x.id),
		zap.Stringer("peer", x.peer),
	)
}

// refusal is the line of a request that was refused, with the reason that the caller got. Guesses of keys must not fill
// the log, so it is sampled.
func (p *platformAPI) refusal(x *exchange, code string, f *fault.Error) {
	ce := p.Log.Check(zap.InfoLevel, "platform API request refused")
	if ce == nil {
		return
	}
	fields := []zap.Field{
		zap.String("request_id", x.id),
		zap.String("code", code),
		zap.String("reason", cutText(f.Message, maxReason)),
		zap.Stringer("peer", x.peer),
	}
	if x.caller != nil {
		fields = append(fields, zap.String("user", x.caller.Name()))
	}
	ce.Write(fields...)
}

// Headers that name the caller's project and account by their ids.
const (
	headerProject = "X-Project-Id"
	headerDomain  = "X-Domain-Id"
)

// checkNamed refuses a request whose headers name another project or account than those here (docs/COMPATIBILITY.md).
// Empty headers name none.
func (p *platformAPI) checkNamed(x *exchange) error {
	for _, named := range []struct{ header, what, here string }{
		{headerProject, "project", p.Function.Project},
		{headerDomain, "account", p.Gate.Domain().ID},
	} {
		for _, value := range x.ctx.Request.Header.PeekAll(named.header) {
			if len(value) == 0 || string(value) == named.here {
				continue
			}
			message := fmt.Sprintf("%s names the %s %.100q, which is not the one here", named.header, named.what, value)
			if x.caller != nil { // strangers do not learn it
				message += ": " + named.here
			}
			return forbidden("Forbidden: " + message)
		}
	}
	return nil
}

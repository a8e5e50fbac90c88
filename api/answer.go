// Package api is all HTTP serving: the function listener, the extension API and the ops listener. Nothing of fasthttp
// leaves it. A route exists on exactly one listener.
package api

import (
	"encoding/base64"
	"gantry/agent"
	"gantry/fault"
	"gantry/logger"
	"strconv"

	"github.com/valyala/fasthttp"
)

// Header names in the spelling of the platform (docs/COMPATIBILITY.md, docs/COMPATIBILITY.md).
const (
	headerRequestID = "X-Cff-Request-Id"
	headerErrCode   = "X-Func-Err-Code"
	headerIsErr     = "X-Is-Func-Err"
	headerSummary   = "X-Cff-Invoke-Summary"
	headerBilling   = "X-CFF-Billing-Duration"
	headerLog       = "X-Cff-Function-Log"
	headerLogType   = "X-Cff-Log-Type"
)

// retryAfter is sent with 429 and 503, in seconds.
const retryAfter = "1"

// status is the one table from kinds of faults to HTTP statuses of the function listener.
var status = map[fault.Kind]int{
	fault.Internal:     fasthttp.StatusInternalServerError,
	fault.Invalid:      fasthttp.StatusBadRequest,
	fault.TooLarge:     fasthttp.StatusRequestEntityTooLarge,
	fault.Unauthorized: fasthttp.StatusUnauthorized,
	fault.Forbidden:    fasthttp.StatusForbidden,
	fault.NotFound:     fasthttp.StatusNotFound,
	fault.Conflict:     fasthttp.StatusConflict,
	fault.Throttled:    fasthttp.StatusTooManyRequests,
	fault.Unavailable:  fasthttp.StatusServiceUnavailable,
	fault.Function:     fasthttp.StatusInternalServerError,
	fault.Event:        fasthttp.StatusBadRequest,
	fault.Timeout:      fasthttp.StatusGatewayTimeout,
	fault.Crash:        fasthttp.StatusBadGateway,
	fault.OutOfMemory:  fasthttp.StatusBadGateway,
	fault.Init:         fasthttp.StatusBadGateway,
}

const (
	contentJSON = "application/json"
	contentText = "text/plain; charset=utf-8"
)

// write answers a call on the function listener: status, the platform's headers, body.
func write(ctx *fasthttp.RequestCtx, id string, r *agent.Result, local bool) {
	h := &ctx.Response.Header
	h.Set(headerRequestID, id)
	code, userSide := fault.CodeOK, false
	switch f := r.Fault; {
	case f == nil:
		h.SetContentType(contentJSON)
		if r.Text {
			h.SetContentType(contentText)
		}
		ctx.Response.SetBodyRaw(r.Body)
	default:
		code, userSide = f.Code, f.UserSide()
		writeFault(ctx, f, local)
	}
	h.Set(headerErrCode, strconv.Itoa(code))
	h.Set(headerIsErr, strconv.FormatBool(userSide))
	h.SetBytesV(headerSummary, appendSummary(make([]byte, 0, 128), &r.Summary))
	h.SetCanonical([]byte(headerBilling), strconv.AppendInt(make([]byte, 0, 8), r.Billed.Milliseconds(), 10))
	if r.Tail != nil {
		h.Set(headerLog, base64.StdEncoding.EncodeToString(logger.CutTail(r.Tail, logger.HeaderTailSize)))
	}
}

func writeFault(ctx *fasthttp.RequestCtx, f *fault.Error, local bool) {
	body := f.Text(local)
	ctx.Response.SetStatusCode(status[f.Kind])
	ctx.Response.Header.SetContentType(contentText)
	if len(body) > 0 && body[0] == '{' {
		ctx.Response.Header.SetContentType(contentJSON)
	}
	if f.Kind == fault.Throttled || f.Kind == fault.Unavailable {
		ctx.Response.Header.Set("Retry-After", retryAfter)
	}
	ctx.Response.SetBodyRaw(body)
}

// appendSummary writes the summary header (docs/COMPATIBILITY.md): duration in ms, memory in MB.
func appendSummary(b []byte, s *agent.Summary) []byte {
	b = strconv.AppendFloat(append(b, `{"duration":`...), float64(s.Duration.Microseconds())/1000, 'f', 3, 64)
	b = strconv.AppendInt(append(b, `,"billingDuration":`...), s.Billed.Milliseconds(), 10)
	b = strconv.AppendInt(append(b, `,"memorySize":`...), int64(s.MemoryMB), 10)
	b = strconv.AppendFloat(append(b, `,"memoryUsed":`...), s.MemoryUsed, 'f', 3, 64)
	return append(b, '}')
}

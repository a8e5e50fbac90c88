// Package api is all HTTP serving: the function listener, the extension API and the ops listener. Nothing of fasthttp
// leaves it. A route exists on exactly one listener.
package api

import (
	"encoding/base64"
	"gantry/fault"
	"gantry/instance"
	"gantry/logger"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// Header names in the spelling of the platform (docs/COMPATIBILITY.md).
const (
	headerRequestID = "X-Cff-Request-Id"
	headerErrCode   = "X-Func-Err-Code"
	headerIsErr     = "X-Is-Func-Err"
	headerSummary   = "X-Cff-Invoke-Summary"
	headerBilling   = "X-CFF-Billing-Duration"
	headerLog       = "X-Cff-Function-Log"
	headerLogType   = "X-Cff-Log-Type"
)

const (
	headerLimit = 32 << 10 // of a request, in bytes
	serverName  = "gantry"
)

// retryAfter is sent with 429 and 503, in seconds.
const retryAfter = "1"

// functionStatus is the table from kinds of faults to HTTP statuses of the function listener; a v1 body of the platform
// API has the same numbers as its status.
var functionStatus = map[fault.Kind]int{
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
	fault.Canceled:     fasthttp.StatusBadGateway,
}

// apiAnswer is how the platform API answers a kind of fault: refused with a status and the platform's general code, or,
// as an outcome of the function, with 200.
type apiAnswer struct {
	refused bool
	status  int
	code    string
}

// apiAnswers is the table for the platform API (pages ErrorCode and functiongraph_06_0125).
var apiAnswers = map[fault.Kind]apiAnswer{
	fault.Internal:     {true, fasthttp.StatusInternalServerError, "FSS.0500"},
	fault.Invalid:      {true, fasthttp.StatusBadRequest, "FSS.0400"},
	fault.TooLarge:     {true, fasthttp.StatusRequestEntityTooLarge, "FSS.0413"},
	fault.Unauthorized: {true, fasthttp.StatusUnauthorized, fault.APIAuthentication},
	fault.Forbidden:    {true, fasthttp.StatusForbidden, "FSS.0403"},
	fault.NotFound:     {true, fasthttp.StatusNotFound, "FSS.0404"},
	fault.Conflict:     {true, fasthttp.StatusConflict, "FSS.0409"},
	fault.Throttled:    {true, fasthttp.StatusTooManyRequests, "FSS.0429"},
	fault.Unavailable:  {true, fasthttp.StatusServiceUnavailable, "FSS.0503"},
	fault.Event:        {true, fasthttp.StatusNotAcceptable, "FSS.0406"},
	fault.Function:     {status: fasthttp.StatusOK},
	// As an outcome of the function 200; refused with it is only the gateway's own time limit.
	fault.Timeout:     {status: fasthttp.StatusGatewayTimeout, code: fault.APIGatewayTimeout},
	fault.Crash:       {status: fasthttp.StatusOK},
	fault.OutOfMemory: {status: fasthttp.StatusOK},
	fault.Init:        {status: fasthttp.StatusOK},
	fault.Canceled:    {status: fasthttp.StatusOK},
}

const (
	contentJSON = "application/json"
	contentText = "text/plain; charset=utf-8"
)

// write answers a call on the function listener: status, the platform's headers, body.
func write(ctx *fasthttp.RequestCtx, id string, r *instance.Result, local bool) {
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
	writeOutcome(h, code, userSide, r)
}

// writeOutcome sets the headers with the outcome of a call, on either listener.
func writeOutcome(h *fasthttp.ResponseHeader, code int, userSide bool, r *instance.Result) {
	value := make([]byte, 0, 128)
	h.SetCanonical([]byte(headerErrCode), strconv.AppendInt(value, int64(code), 10))
	h.SetCanonical([]byte(headerIsErr), strconv.AppendBool(value, userSide))
	h.SetCanonical([]byte(headerSummary), appendSummary(value, &r.Summary))
	h.SetCanonical([]byte(headerBilling), strconv.AppendInt(value, r.Billed.Milliseconds(), 10))
	if r.Tail != nil {
		h.Set(headerLog, base64.StdEncoding.EncodeToString(logger.CutTail(r.Tail, logger.HeaderTailSize)))
	}
}

func writeFault(ctx *fasthttp.RequestCtx, f *fault.Error, local bool) {
	body := f.Text(local)
	ctx.Response.SetStatusCode(functionStatus[f.Kind])
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
func appendSummary(b []byte, s *instance.Summary) []byte {
	b = strconv.AppendFloat(append(b, `{"duration":`...), float64(s.Duration.Microseconds())/1000, 'f', 3, 64)
	b = strconv.AppendInt(append(b, `,"billingDuration":`...), s.Billed.Milliseconds(), 10)
	b = strconv.AppendInt(append(b, `,"memorySize":`...), int64(s.MemoryMB), 10)
	b = strconv.AppendFloat(append(b, `,"memoryUsed":`...), s.MemoryUsed, 'f', 3, 64)
	return append(b, '}')
}

// cutText shortens text to at most limit bytes, and marks that.
func cutText(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// maxReason bounds what a log line quotes of a request, in bytes.
const maxReason = 300

// MaxEvent is the largest event the function listener takes, in bytes (docs/COMPATIBILITY.md).
const MaxEvent = 6 << 20

// Headers of the platform API alone (page functiongraph_06_0125).
const (
	headerGatewayID       = "X-Request-Id"
	headerRequestVersion  = "X-Cff-Request-Version"
	headerResponseVersion = "X-Cff-Response-Version"
	headerMemory          = "X-Cff-Instance-Memory"
)

const (
	readTimeout  = 60 * time.Second // one whole request
	writeTimeout = 60 * time.Second // one whole answer
	idleTimeout  = 5 * time.Minute
)

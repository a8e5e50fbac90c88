package api

import (
	"encoding/json"
	"fmt"
	"gantry/fault"
	"gantry/instance"
	"gantry/logger"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// The two forms of an answer: v0 is the function's own, v1 a JSON object around it.
const (
	versionText = "v0"
	versionJSON = "v1"
)

// memorySizes are what X-Cff-Instance-Memory may ask for, in MB (page functiongraph_06_0125).
var memorySizes = []int{128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 8192, 10240}

// invoke is POST …/invocations: the caller waits for the function's answer.
func (p *platformAPI) invoke(x *exchange) {
	if !answerable(x.ctx) {
		p.refuse(x, noAnswerMemory())
		return
	}
	version, inv, err := p.invocation(x)
	if err != nil {
		p.refuse(x, fault.From(err))
		return
	}
	inv.RequestID = x.id // made here, never taken from the caller
	p.accepted(x)
	result, inTime := p.run(x, inv)
	if !inTime {
		p.refuse(x, &fault.Error{
			Kind: fault.Timeout,
			Type: fault.TypeTimeout,
			Message: fmt.Sprintf(
				"Backend timeout: no answer within %s; the function goes on (GANTRY_API_GATEWAY_TIMEOUT)",
				p.GatewayTimeout,
			),
		})
		x.ctx.Response.Header.Set(headerRequestID, x.id)
		return
	}
	p.writeInvocation(x, version, &result)
}

// invocation reads the headers of a call. Platform headers other than these are not believed here.
func (p *platformAPI) invocation(x *exchange) (version string, inv *fncontext.Invocation, err error) {
	h := &x.ctx.Request.Header
	inv = &fncontext.Invocation{Function: p.Function, Credentials: p.Credentials, Alias: x.urn.Alias, Trace: traceOf(h)}
	switch v := string(h.Peek(headerRequestVersion)); v {
	case "", versionText:
		version = versionText
	case versionJSON:
		version = versionJSON
	default:
		return "", nil, invalid(fmt.Sprintf("X-CFF-Request-Version is %.20q; want v0 or v1", v))
	}
	switch v := string(h.Peek(headerLogType)); {
	case strings.EqualFold(v, "tail"):
		inv.Tail = true
	case v != "":
		return "", nil, invalid(fmt.Sprintf("X-Cff-Log-Type is %.20q; want tail, or nothing", v))
	}
	inv.MemoryMB, err = memoryOf(h)
	return version, inv, err
}

// memoryOf reads the memory size a call asks for, in MB; 0 if it does not.
func memoryOf(h *fasthttp.RequestHeader) (int, error) {
	v := string(h.Peek(headerMemory))
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || !slices.Contains(memorySizes, n) {
		f := invalid(
			fmt.Sprintf("X-Cff-Instance-Memory is %.20q; want one of %s (MB)", v, strings.Trim(fmt.Sprint(memorySizes), "[]")),
		)
		f.APICode = fault.APIMemory
		return 0, f
	}
	return n, nil
}

// run invokes the function; inTime is false if the gateway's time passed first. The call goes on then, on its own.
func (p *platformAPI) run(x *exchange, inv *fncontext.Invocation) (result instance.Result, inTime bool) {
	if p.GatewayTimeout == 0 {
		return p.Instance.Invoke(p.Instance.Base(), inv, x.ctx.Request.Body()), true
	}
	event, release := keep(x.ctx)
	answered := make(chan instance.Result, 1)
	go func() {
		defer release()
		defer func() {
			if r := recover(); r != nil {
				p.Log.Error("panic while invoking", zap.Any("panic", r), zap.Stack("stack"))
				answered <- instance.Result{Fault: fault.From(fmt.Errorf("panic: %v", r))}
			}
		}()
		answered <- p.Instance.Invoke(p.Instance.Base(), inv, event)
	}()
	timer := time.NewTimer(p.GatewayTimeout)
	defer timer.Stop()
	select {
	case result = <-answered:
		return result, true
	case <-timer.C:
		return instance.Result{}, false
	}
}

// writeInvocation answers a call. A failure of the function is an answer with status 200; only what kept the function
// from being called properly is not.
func (p *platformAPI) writeInvocation(x *exchange, version string, r *instance.Result) {
	f := r.Fault
	code, userSide := fault.CodeOK, false
	if f != nil {
		code, userSide = f.Code, f.UserSide()
	}
	h := &x.ctx.Response.Header
	switch {
	case f != nil && apiAnswers[f.Kind].refused:
		if f.Kind == fault.Event {
			f = notAcceptable(f)
		}
		p.refuse(x, f)
	case version == versionJSON:
		p.Metrics.API(instance.OutcomeSuccess)
		p.respond(x, fasthttp.StatusOK, appendInvocation(nil, x.id, r, p.local))
	default:
		p.Metrics.API(instance.OutcomeSuccess)
		body, text := r.Body, r.Text
		if f != nil {
			body = f.Text(p.local)
			text = len(body) == 0 || body[0] != '{'
		}
		p.respond(x, fasthttp.StatusOK, body)
		if text {
			h.SetContentType(contentText)
		}
	}
	h.Set(headerRequestID, x.id)
	h.Set(headerResponseVersion, version)
	writeOutcome(h, code, userSide, r)
}

// notAcceptable puts the worker's words on the event into the message.
func notAcceptable(f *fault.Error) *fault.Error {
	var worker struct {
		Message string `json:"errorMessage"`
	}
	if err := json.Unmarshal(f.Body, &worker); err != nil || worker.Message == "" {
		worker.Message = string(f.Body)
	}
	return &fault.Error{
		Kind:    f.Kind,
		Type:    f.Type,
		Code:    f.Code,
		Message: "Not acceptable: the body is not a JSON event: " + worker.Message,
	}
}

// appendInvocation writes the v1 body (page functiongraph_06_0125); error_code is there for failures only.
func appendInvocation(b []byte, id string, r *instance.Result, local bool) []byte {
	result, status := r.Body, fasthttp.StatusOK
	if r.Fault != nil {
		result, status = r.Fault.Text(local), functionStatus[r.Fault.Kind]
	}
	b = slices.Grow(b, len(result)+len(r.Tail)+256)
	b = logger.AppendJSONString(append(b, `{"request_id":`...), id)
	b = logger.AppendJSONString(append(b, `,"result":`...), string(result))
	b = logger.AppendJSONString(append(b, `,"log":`...), string(r.Tail))
	b = strconv.AppendInt(append(b, `,"status":`...), int64(status), 10)
	if r.Fault != nil {
		b = append(strconv.AppendInt(append(b, `,"error_code":"`...), int64(r.Fault.Code), 10), '"')
	}
	return append(b, '}')
}

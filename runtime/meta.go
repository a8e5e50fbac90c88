package runtime

import (
	"bytes"
	"encoding/json"
	"fmt"
	"gantry/fault"
	"gantry/function/frame"
	"gantry/logger"
	"strconv"
	"time"

	fncontext "gantry/context"
)

// The meta of frames, as docs/PROTOCOL.md describes it: what the agent writes, and what it reads.

// appendCall appends header and meta of a call. mark is that of a call that is written ahead; empty for others.
func appendCall(dst []byte, id uint32, kind frame.Type, inv *fncontext.Call, payloadLen int, mark string) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, frame.HeaderSize)...)
	dst = appendMeta(dst, inv, mark)
	frame.AppendHeader(dst[start:start], kind, id, len(dst)-start-frame.HeaderSize, payloadLen)
	return dst
}

// appendMeta writes what the worker needs to build the context (docs/PROTOCOL.md). A call that is written ahead has no
// deadline yet.
func appendMeta(dst []byte, inv *fncontext.Call, mark string) []byte {
	dst = append(dst, `{"requestId":`...)
	dst = logger.AppendJSONString(dst, inv.RequestID)
	if mark == "" {
		dst = append(dst, `,"deadline":`...)
		dst = appendMillis(dst, inv.Deadline)
	} else {
		dst = append(dst, `,"timeout":`...)
		dst = strconv.AppendInt(dst, inv.Function.Timeout.Milliseconds(), 10)
		dst = append(dst, `,"mark":`...)
		dst = logger.AppendJSONString(dst, mark)
	}
	member := func(name, value string) {
		if value == "" {
			return
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), name...), `":`...)
		dst = logger.AppendJSONString(dst, value)
	}
	member("alias", inv.Alias)
	member("workflowId", inv.Workflow.ID)
	member("workflowRunId", inv.Workflow.RunID)
	member("workflowStateId", inv.Workflow.StateID)
	member("traceparent", inv.Trace.Parent)
	member("tracestate", inv.Trace.State)
	if !inv.Credentials.Empty() {
		s := inv.Credentials.Reveal()
		dst = append(dst, `,"credentials":{`...)
		member("accessKey", s.AccessKey)
		member("secretKey", s.SecretKey)
		member("securityAccessKey", s.SecurityAccessKey)
		member("securitySecretKey", s.SecuritySecretKey)
		member("securityToken", s.SecurityToken)
		member("authToken", s.AuthToken)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// metaTooLong reports whether a call's headers would not fit into a frame's meta. A byte can take six when it is
// escaped.
func metaTooLong(inv *fncontext.Invocation) bool {
	return metaLength(inv) > 8<<10 &&
		len(appendMeta(nil, &fncontext.Call{Invocation: inv, Deadline: time.Now()}, "")) > frame.MaxMeta
}

// metaLength is the length of what the caller says of a call, in bytes, before it is escaped.
func metaLength(inv *fncontext.Invocation) int {
	n := len(
		inv.Alias,
	) + len(
		inv.Workflow.ID,
	) + len(
		inv.Workflow.RunID,
	) + len(
		inv.Workflow.StateID,
	) + len(
		inv.Trace.Parent,
	) + len(
		inv.Trace.State,
	)
	if !inv.Credentials.Empty() {
		s := inv.Credentials.Reveal()
		n += len(
			s.AccessKey,
		) + len(
			s.SecretKey,
		) + len(
			s.SecurityAccessKey,
		) + len(
			s.SecuritySecretKey,
		) + len(
			s.SecurityToken,
		) + len(
			s.AuthToken,
		)
	}
	return n
}

// CheckMeta refuses a call whose credentials, ids and trace headers cannot be carried to a worker.
func (c *Config) CheckMeta(inv *fncontext.Invocation) error {
	if c.language().Foreign() {
		return nil
	}
	return checkMeta(inv)
}

func checkMeta(inv *fncontext.Invocation) error {
	if !metaTooLong(inv) {
		return nil
	}
	return &fault.Error{
		Kind:    fault.Invalid,
		Type:    fault.TypeBadRequest,
		Code:    fault.CodeBadRequest,
		Message: "the call's credentials, ids and trace headers are too long together",
	}
}

// appendMillis writes t as milliseconds since 1970 with three decimals.
func appendMillis(dst []byte, t time.Time) []byte {
	micros := t.UnixMicro()
	dst = append(strconv.AppendInt(dst, micros/1000, 10), '.')
	frac := micros % 1000
	return append(dst, byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
}

type failureMeta struct {
	Code  int    `json:"code"`
	Type  string `json:"type"`
	Event bool   `json:"event"`
	// Final: another attempt to load or initialise cannot succeed.
	Final bool   `json:"final"`
	Hint  string `json:"hint"`
	// Last: the process ends behind this answer.
	Last bool `json:"last"`
	figuresMeta
}

// figuresMeta is what a worker says of a call that it has answered, in microseconds.
type figuresMeta struct {
	Took int64 `json:"took"`
	CPU  int64 `json:"cpu"`
}

func (m figuresMeta) figures() Figures {
	return Figures{Took: time.Duration(m.Took) * time.Microsecond, CPU: time.Duration(m.CPU) * time.Microsecond}
}

type resultMeta struct {
	Text bool `json:"text"`
	// Ahead, in the answer to the load: calls may be written ahead.
	Ahead bool `json:"ahead"`
	figuresMeta
}

// readResultMeta reads the meta of a Result: mostly nothing, {"text":true}, or figures, for which a decoder would take
// longer than all the rest.
func readResultMeta(meta []byte) (m resultMeta, err error) {
	if len(meta) == 0 {
		return m, nil
	}
	if string(meta) == `{"text":true}` {
		return resultMeta{Text: true}, nil
	}
	if rest, ok := bytes.CutPrefix(meta, []byte(`{"took":`)); ok {
		took, rest := leadingNumber(rest)
		if rest, ok = bytes.CutPrefix(rest, []byte(`,"cpu":`)); ok {
			cpu, rest := leadingNumber(rest)
			if string(rest) == "}" {
				return resultMeta{figuresMeta: figuresMeta{Took: took, CPU: cpu}}, nil
			}
		}
	}
	if err := json.Unmarshal(meta, &m); err != nil {
		return resultMeta{}, fmt.Errorf("result: %w", err)
	}
	return m, nil
}

// leadingNumber reads the digits that b begins with, fifteen at most. rest is nil if there are none.
func leadingNumber(b []byte) (n int64, rest []byte) {
	i := 0
	for ; i < len(b) && i < 15 && b[i] >= '0' && b[i] <= '9'; i++ {
		n = 10*n + int64(b[i]-'0')
	}
	if i == 0 {
		return 0, nil
	}
	return n, b[i:]
}

type logMeta struct {
	Level     string `json:"level"`
	Stream    string `json:"stream"`
	RequestID string `json:"requestId"`
	Hint      string `json:"hint"`
	More      bool   `json:"more"`
	// Stack comes with a hint, where the worker was asked for it: file, line and function of each frame, the most recent
	// first.
	Stack []reportedFrame `json:"stack"`
	// USR1 says that user code listens for that signal.
	USR1 bool `json:"usr1"`
	// CodeCache is what the load made of the code cache.
	CodeCache *CodeCache `json:"codeCache"`
}

// reportedFrame is a frame of a stack that a worker reports.
type reportedFrame struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Function string `json:"function"`
}

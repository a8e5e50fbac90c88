package instance

import (
	fncontext "gantry/context"
	"strconv"
)

// startLine is the first line of the platform's frame around a call (docs/COMPATIBILITY.md).
func startLine(inv *fncontext.Invocation) []byte {
	b := make([]byte, 0, 256) // also enough for the other one
	b = append(append(b, "Start invoke request '"...), inv.RequestID...)
	return append(append(b, "', version: "...), inv.Function.Version...)
}

// finishLine appends the last one. "storage used" is left out: it is not measured.
func finishLine(b []byte, inv *fncontext.Invocation, r *Result) []byte {
	b = append(append(b, "Finish invoke request '"...), inv.RequestID...)
	b = append(b, '\'')
	if r.Fault != nil {
		b = append(b, "(invoke Failed)"...)
	}
	b = strconv.AppendFloat(append(b, ", duration: "...), millis(r.Duration), 'f', 3, 64)
	b = strconv.AppendInt(append(b, "ms, billing duration: "...), r.Billed.Milliseconds(), 10)
	b = strconv.AppendFloat(append(b, "ms, memory used: "...), r.MemoryUsed, 'f', 3, 64)
	b = strconv.AppendInt(append(b, "MB, billing memory: "...), int64(r.MemoryMB), 10)
	b = strconv.AppendFloat(append(b, "MB, cpu used: "...), r.CPU, 'f', 3, 64)
	b = append(b, 'U')
	if r.Status != 0 {
		b = strconv.AppendInt(append(b, ", status: "...), int64(r.Status), 10)
		b = strconv.AppendInt(append(b, ", bytes: "...), int64(r.Sent), 10)
	}
	return b
}

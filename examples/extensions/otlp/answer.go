package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// location is where a redirect points to, without a password.
func location(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil {
		return ""
	}
	return u.Redacted()
}

// retryAfter reads the header: seconds or a date. 0 if there is none.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

func readPartialJSON(answer []byte) (rejected int64, why string) {
	var a struct {
		PartialSuccess struct {
			Logs    json.Number `json:"rejectedLogRecords"`
			Spans   json.Number `json:"rejectedSpans"`
			Message string      `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if json.Unmarshal(answer, &a) != nil { // some servers answer with nothing, or with protobuf
		return 0, ""
	}
	logs, _ := a.PartialSuccess.Logs.Int64() // 0 if it is not there
	spans, _ := a.PartialSuccess.Spans.Int64()
	return logs + spans, a.PartialSuccess.Message
}

package agent

import (
	"context"
	"fmt"
	"gantry/logger"
	"gantry/telemetry"
	"time"
)

// callLinesBuffer is how many telemetry events may wait for a terminal that is not read.
const callLinesBuffer = 1000

// callLines has the log of a terminal say in one line how each call ended, in place of the platform's frame around it.
// The frame stays in pipes and files, in JSON, and with the level debug. The lines end with the stream.
func (in *agent) callLines() {
	in.sink.Brief()
	tap := in.stream.Tap(telemetry.TypePlatform, callLinesBuffer, 0)
	in.lines.Go(func() {
		for {
			e, err := tap.Next(context.Background())
			if err != nil { // the stream was closed
				return
			}
			if text := callLine(&e); text != "" {
				in.sink.Write(&logger.Line{Time: time.Now(), Source: logger.SourcePlatform, Text: []byte(text)})
			}
		}
	})
}

// callLine is the line for the end of a start or of a call; empty for all other events.
func callLine(e *telemetry.Event) string {
	outcome := e.Status
	if e.ErrorType != "" {
		outcome += " (" + e.ErrorType + ")"
	}
	switch {
	case e.Figures == nil:
		return ""
	case e.Kind == telemetry.InitReport:
		return fmt.Sprintf("start: %s in %s", outcome, rounded(e.Figures.Duration))
	case e.Kind == telemetry.Report:
		return fmt.Sprintf("%s: %s in %s, %d MB",
			logger.ShortID(e.RequestID), outcome, rounded(e.Figures.Duration), e.Figures.MemoryUsed)
	}
	return ""
}

// rounded is a duration with three digits or so.
func rounded(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(10 * time.Microsecond)
}

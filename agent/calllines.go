package agent

import (
	"context"
	"fmt"
	"gantry/extension"
	"gantry/logger"
	"gantry/telemetry"
	"strings"
	"time"
)

// callLinesBuffer is how many telemetry events may wait for a terminal that is not read.
const callLinesBuffer = 1000

// callLines has the log of a terminal say in one line how each call ended, in place of the platform's frame around it.
// The frame stays in pipes and files, in JSON, and with the level debug. The lines end with the stream.
func (in *agent) callLines() {
	tap := in.stream.Tap(telemetry.TypePlatform, callLinesBuffer, 0)
	in.lines.Go(func() {
		for {
			e, err := tap.Next(context.Background())
			if err != nil { // the stream was closed
				return
			}
			if text := in.callLine(&e); text != "" {
				in.sink.Write(&logger.Line{Time: time.Now(), Source: logger.SourcePlatform, Text: []byte(text)})
			}
		}
	})
}

// callLine is the line for the end of a start or of a call; empty for all other events.
func (in *agent) callLine(e *telemetry.Event) string {
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
		ctx, cancel := context.WithDeadline(context.Background(), e.End.Add(costsLimit))
		defer cancel()
		return fmt.Sprintf("%s: %s in %s, %d MB%s",
			logger.ShortID(e.RequestID), outcome, rounded(e.Figures.Duration), e.Figures.MemoryUsed,
			costs(in.host.AwaitCosts(ctx, e.RequestID)))
	}
	return ""
}

// costsLimit is how long after the end of a call its line waits for extensions that have not answered. It counts from
// the end, so that lines never lag further behind.
const costsLimit = 50 * time.Millisecond

// keptCosts is for how many calls it is kept what extensions cost them: none where it is not shown.
func (in *agent) keptCosts() int {
	switch {
	case in.cfg.Timeline: // of invoke, for all its events
		return timelineCalls
	case in.brief && !in.cfg.Quiet:
		return callLinesBuffer
	}
	return 0
}

// timelineCalls is for how many calls of one run of invoke a timeline shows what extensions cost them.
const timelineCalls = 10_000

// costs is what the extensions cost a call: the time that it waited for those in sync mode, and that of the slowest
// answer beside the handler. all says that every one of them has answered. Empty without notifications.
func costs(known []extension.Cost, all bool) string {
	var before, beside time.Duration
	var waited, ran bool
	for _, c := range known { // extensions are notified at the same time
		if c.Sync {
			before, waited = max(before, c.Took), true
		} else {
			beside, ran = max(beside, c.Took), true
		}
	}
	var parts []string
	if waited {
		parts = append(parts, "+"+rounded(before).String())
	}
	if ran {
		parts = append(parts, rounded(beside).String()+" beside the handler")
	}
	if !all {
		parts = append(parts, "no answer yet")
	}
	if parts == nil {
		return ""
	}
	return ", extensions " + strings.Join(parts, ", ")
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

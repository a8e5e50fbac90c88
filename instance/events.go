package instance

import (
	"gantry/fault"
	"gantry/runtime"
	"gantry/telemetry"
	"math"
	"time"
)

// statusOf is how a phase ended, for telemetry.
func statusOf(f *fault.Error) (status, errorType string) {
	if f == nil {
		return telemetry.StatusSuccess, ""
	}
	switch f.Kind {
	case fault.Function, fault.Event:
		return telemetry.StatusError, f.UserType()
	case fault.Timeout:
		return telemetry.StatusTimeout, f.Type
	case fault.Init:
		if len(f.Body) > 0 {
			return telemetry.StatusError, f.UserType()
		}
		if f.Type == fault.TypeInitTimeout {
			return telemetry.StatusTimeout, f.Type
		}
	}
	return telemetry.StatusFailure, f.Type
}

// initEvents publishes the telemetry events of a worker's start: load and initializer, which took that long without the
// wait for extensions.
func (a *Instance) initEvents(w *runtime.Worker, began time.Time, took time.Duration, err error) {
	e := telemetry.Event{Kind: telemetry.InitRuntimeDone, Begin: began, RequestID: w.LoadLog.ID()}
	if err != nil {
		e.Status, e.ErrorType = statusOf(fault.From(err))
	} else {
		e.Status = telemetry.StatusSuccess
		a.initTook.CompareAndSwap(0, int64(took))
	}
	a.cfg.Stream.Publish(&e)
	e.Kind, e.End, e.Figures = telemetry.InitReport, time.Now(), &telemetry.Figures{Duration: took}
	cacheFigures(e.Figures, w)
	a.cfg.Stream.Publish(&e)
	a.cfg.Stream.Settled()
}

// endEvents publishes the telemetry events of a call's end, after its last line has been written.
func (l *Lease) endEvents(r *Result, now time.Time) {
	stream := l.instance.cfg.Stream
	if !stream.Keeps(telemetry.TypePlatform) {
		return
	}
	e := telemetry.Event{Kind: telemetry.RuntimeDone, Begin: l.began, RequestID: l.call.RequestID}
	e.Status, e.ErrorType = statusOf(r.Fault)
	stream.Publish(&e)
	e.Kind, e.End = telemetry.Report, now
	e.Figures = &telemetry.Figures{
		Duration: r.Duration, Billed: r.Billed, MemoryMB: r.MemoryMB, MemoryUsed: int(math.Ceil(r.MemoryUsed)),
	}
	if l.instance.reported.CompareAndSwap(false, true) {
		e.Figures.Init = time.Duration(l.instance.initTook.Load())
	}
	stream.Publish(&e)
}

package runtime

import (
	"gantry/logger"
	"os"
	"time"
)

// captured reads one of the streams until it ends.
func (w *Worker) captured(stream string, r *os.File) {
	pump := logger.NewPump(r, func(p logger.Part) {
		if w.exam != nil && stream == "stderr" {
			var ok bool
			if p.Text, ok = w.exam.diverted.Take(p.Text); !ok {
				return
			}
		}
		now := time.Now()
		w.remember(stream, p)
		if log := w.transport.only(); log != nil {
			log.Part(now, stream, p)
			return
		}
		if !w.isLoaded() {
			w.LoadLog.Part(now, stream, p)
			return
		}
		w.cfg.Sink.Write(
			&logger.Line{Time: now, Source: logger.SourceFunction, Stream: stream, Text: p.Text, Part: p.Number, More: !p.Last},
		)
	})
	if t, ok := w.transport.(interface{ borders() logger.Border }); ok {
		pump.Border = t.borders()
	}
	w.output.mu.Lock()
	w.output.pumps = append(w.output.pumps, pump)
	w.output.mu.Unlock()
	pump.Run()
}

// settle reads what was written so far.
func (o *output) settle() { o.each((*logger.Pump).Drain) }

// resume hands on what belongs to a call that has begun.
func (o *output) resume() { o.each((*logger.Pump).Resume) }

// open hands on whatever comes: the next call does not begin.
func (o *output) open() { o.each((*logger.Pump).Open) }

func (o *output) each(do func(*logger.Pump)) {
	o.mu.Lock()
	pumps := o.pumps
	o.mu.Unlock()
	for _, p := range pumps {
		do(p)
	}
}

func (w *Worker) isLoaded() bool {
	select {
	case <-w.loaded:
		return true
	default:
		return false
	}
}

// remember keeps the last lines of stderr for the answer to a call that the worker's death cut off.
func (w *Worker) remember(stream string, p logger.Part) {
	if stream == "stderr" && p.Number == 0 && !isNoise(p.Text) {
		w.stderr.add(string(p.Text[:min(len(p.Text), maxLastLine)]))
	}
}

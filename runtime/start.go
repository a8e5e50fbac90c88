package runtime

import (
	"errors"
	"fmt"
	"gantry/logger"
	"gantry/process"
	"gantry/runtime/language"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Start creates a worker. It returns as soon as the process runs: the load continues in the background, and WaitLoaded
// waits for its end.
func Start(cfg *Config, generation int) (*Worker, error) { return start(cfg, generation, false) }

// start starts a worker, or one that is parked.
func start(cfg *Config, generation int, parked bool) (*Worker, error) {
	w := &Worker{
		Generation: generation, cfg: cfg, parked: parked,
		loaded: make(chan struct{}), retired: make(chan struct{}), gone: make(chan struct{}), prepared: make(chan struct{}),
		wantsTerm: make(chan struct{}),
	}
	w.LoadLog = logger.NewRequest(cfg.Sink, uuid.NewString(), false, false)
	offer, err := w.offer()
	if err != nil {
		return nil, err
	}
	defer closeAll(offer.files)
	w.transport = offer.transport
	if parked {
		offer.env = append(offer.env, parkedVariable)
	}
	cmd := &process.Command{
		Name: "worker",
		Path: cfg.Program,
		Args: append([]string{cfg.Program}, cfg.Arguments...), // the whole path: Python finds its library by it
		Env: append(
			slices.Clip(cfg.Env),
			offer.env...),
		Dir:        cfg.Dir,
		Files:      offer.files,
		UID:        cfg.UID,
		GID:        cfg.GID,
		Output:     w.captured,
		Expendable: true,
	}
	remark := ""
	if cfg.Examine {
		var end *os.File
		if end, remark, err = w.offerExamination(cmd); end != nil {
			defer end.Close()
		}
	} else {
		remark, err = cfg.Language.Complete(cmd, false)
	}
	if remark != "" {
		cfg.remarked.Do(func() { cfg.Log.Info(remark) })
	}
	if err == nil {
		defer closeAll(w.offerCodeCache(cmd))
		// Before the start: an interpreter reads its limit once, when it begins.
		cmd.Group, w.memoryErr = cfg.Groups.New()
		w.proc, err = cfg.Supervisor.Start(cmd)
	}
	if err != nil {
		offer.transport.fail(nil)
		w.closeDump()
		return nil, err
	}
	if refused := w.proc.GroupErr(); refused != nil {
		w.memoryErr = refused
	}
	w.meter = process.NewMeter(w.proc.PID)
	go w.transport.serve()
	go w.supervise()
	return w, nil
}

// offer makes the language's transport.
func (w *Worker) offer() (o offer, err error) {
	switch w.cfg.Language.Carrier {
	case language.OverFrames:
		o.transport, o.files, err = newFrames(w)
		if w.cfg.Language.AsksConcurrency {
			o.env = []string{fmt.Sprintf("GANTRY_CONCURRENCY=%d", w.cfg.Concurrency)}
		}
		if w.cfg.WritesAhead() {
			o.env = append(o.env, "GANTRY_AHEAD=1")
		}
	case language.OverFramesOrRPC:
		o, err = newGoTransport(w)
	case language.OverRuntimeAPI:
		o, err = newRuntimeAPI(w)
	case language.OverHTTP, language.OverHTTPEvents:
		o = newUpstream(w)
	case language.OverRuntimeAPIOrHTTP:
		o, err = newUndecided(w)
	}
	return o, err
}

// supervise waits for the worker's end, lets its last answers through, and closes the books.
func (w *Worker) supervise() {
	<-w.proc.Exited()
	w.transport.drain()
	<-w.proc.Done()
	w.LoadLog.Flush(time.Now())
	exit := w.proc.Exit()
	w.meter.Ended(exit)
	if !w.helloReceived() {
		if err := w.tooOld(); err != nil {
			w.loadEnded(err)
		}
	}
	w.mu.Lock()
	w.death = w.deathFault(exit)
	w.setState(Gone)
	w.mu.Unlock()
	w.loadEnded(w.death)
	w.transport.fail(w.death)
	w.awaitExamination()
	w.closeDump()
	close(w.gone)
}

// Park starts a worker that waits with its load until Begin: an interpreter that has not seen user code, except for
// what the environment has it preload. It ends like every other worker.
func Park(cfg *Config) (*Worker, error) {
	if !cfg.language().Parks {
		return nil, ErrNotParked
	}
	return start(cfg, 0, true)
}

// parkedVariable has a worker wait for Load before it touches user code. Workers take it out of their environment.
const parkedVariable = "GANTRY_PARKED=1"

// ErrNotParked says that a language has no workers that can be parked.
var ErrNotParked = errors.New("the workers of this language cannot be started in advance")

package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/function/frame"
	"gantry/function/socket"
	"gantry/logger"
	"gantry/runtime/language"
	"io"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// serve is the worker's frame reader: it runs until the stream ends or cannot be trusted.
func (f *frames) serve() {
	defer close(f.readDone)
	defer f.worker.output.open() // no call begins any more
	r := frame.NewReader(socket.New(f.replies), f.limit)
	for {
		fr, err := r.Next()
		if err == nil {
			err = f.handle(fr)
		}
		if err != nil {
			f.readEnded(err)
			return
		}
	}
}

// readEnded makes sure that the process ends too: a worker that cannot answer is of no use.
func (f *frames) readEnded(err error) {
	w := f.worker
	if f.dropped.Load() {
		return
	}
	select {
	case <-w.proc.Exited(): // a child still holds the socket, so that it does not end: no fault of the worker's
		return
	default:
	}
	grace := time.Duration(0)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		grace = silentGrace // it may be ending anyway
	}
	select {
	case <-w.proc.Exited():
		return
	case <-time.After(grace):
	}
	w.distrust(err)
	w.cfg.Log.Error("worker killed: its answers cannot be read", zap.Int("pid", w.proc.PID), zap.Error(err))
	if killErr := w.proc.Kill(); killErr != nil {
		w.cfg.Log.Error("worker not killed", zap.Error(killErr))
	}
}

const (
	// drainDelay is how long the reader waits for the end of the stream of an ended worker: a child may hold the socket.
	drainDelay = 200 * time.Millisecond
	// drainLimit is how long it may take with what is in the socket, on a busy machine.
	drainLimit = 2 * time.Second
)

// drain lets the answers through that an ended worker left in the socket.
func (f *frames) drain() {
	if f.dropped.Load() {
		return
	}
	f.ahead.noMore()
	timer := time.NewTicker(drainDelay)
	defer timer.Stop()
	for last := time.Now().Add(drainLimit); ; {
		select {
		case <-f.readDone:
		case now := <-timer.C:
			if f.unread() && now.Before(last) {
				continue
			}
			if err := f.replies.SetReadDeadline(now); err != nil {
				f.worker.cfg.Log.Debug("no read deadline", zap.Error(err))
			}
			<-f.readDone
		}
		break
	}
	if f.late != nil {
		f.late.Flush(time.Now()) // there will be no more
	}
	f.unowned.Flush(time.Now())
}

// unread reports whether there is something in the socket that was not read.
func (f *frames) unread() bool {
	raw, err := f.replies.SyscallConn()
	if err != nil {
		return false // closed
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	})
	return err == nil && n > 0
}

func (f *frames) handle(fr frame.Frame) error {
	switch fr.Type {
	case frame.Hello:
		return f.hello(fr.Meta)
	case frame.Log:
		return f.log(fr)
	case frame.Result, frame.Failure:
		return f.reply(fr)
	case frame.Stacks:
		select {
		case f.stackText <- string(fr.Payload):
		default: // it is asked once
		}
		return nil
	case frame.CodeCache:
		return f.codeCacheWritten(fr.Meta)
	case frame.Bye:
		f.worker.askForTerm.Do(func() { close(f.worker.wantsTerm) })
		return nil
	default:
		return fmt.Errorf("a worker may not send frames of type %d", fr.Type)
	}
}

func (f *frames) hello(meta []byte) error {
	var h helloMeta
	if err := json.Unmarshal(meta, &h); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if _, ok := language.ParseVersion(h.RuntimeVersion); !ok || h.Version != frame.Version {
		return fmt.Errorf("hello: protocol version %d of %q, want %d", h.Version, h.RuntimeVersion, frame.Version)
	}
	if old := f.worker.cfg.Language.TooOld(f.worker.cfg.Program, h.RuntimeVersion); old != nil {
		f.worker.loadEnded(old)
		return nil
	}
	if !f.takenUp() {
		return errors.New("hello: the program serves net/rpc already")
	}
	f.worker.recordHello(&h)
	if f.worker.keepsHello(&h) {
		return nil
	}
	return f.sendUserData(&h)
}

// sendUserData hands over the encrypted user variables, before any call.
func (f *frames) sendUserData(h *helloMeta) error {
	data := f.worker.cfg.Encrypted
	switch {
	case data.Empty():
		return nil
	case !h.UserData:
		f.worker.cfg.Log.Warn(
			"the function does not get its encrypted user variables: its program was built with an older version of gantry/function; build it anew",
			zap.String("setting", "GANTRY_ENCRYPTED_USERDATA"),
		)
		return nil
	}
	text, err := json.Marshal(data.Reveal())
	if err != nil {
		return fmt.Errorf("encrypted user variables: %w", err)
	}
	return f.events.userData(text)
}

func (f *frames) reply(fr frame.Frame) error {
	var r reply
	body := fr.Payload
	if !fr.Owned {
		body = append([]byte(nil), body...)
	}
	if fr.Type == frame.Result {
		meta, err := readResultMeta(fr.Meta)
		if err != nil {
			return err
		}
		if meta.Ahead && fr.ID == 0 {
			f.worker.takeAhead()
		}
		r.result = Result{Body: body, Text: meta.Text, Figures: meta.figures()}
	} else {
		var meta failureMeta
		if err := json.Unmarshal(fr.Meta, &meta); err != nil {
			return fmt.Errorf("failure: %w", err)
		}
		r.err, r.result = failureFault(meta, body), Result{Figures: meta.figures()}
		if meta.Last {
			f.worker.Retire() // before the answer, behind which the next call waits
		}
	}
	if fr.ID == 0 {
		if !f.worker.helloReceived() {
			return errors.New("an answer before Hello")
		}
		if r.err != nil {
			r.err.Kind = fault.Init
			if fn := f.worker.cfg.Function; r.err.Hint == "" {
				r.err.Hint = f.worker.cfg.language().LoadHint(fn.CodeRoot, fn.HandlerString())
			}
			f.worker.loadEnded(r.err)
		} else {
			f.worker.loadEnded(nil)
		}
		return nil
	}
	f.readOutput()
	f.answer(fr.ID, r)
	f.ahead.advance(fr.ID)
	return nil
}

func failureFault(meta failureMeta, body []byte) *fault.Error {
	kind := fault.Function
	switch {
	case meta.Code == fault.CodeMemory: // the interpreter's own limit, which is RUNTIME_MEMORY
		return &fault.Error{
			Kind: fault.OutOfMemory, Type: fault.TypeMemory, Code: meta.Code, Hint: meta.Hint, Message: string(body),
		}
	case meta.Event:
		kind = fault.Event
	case meta.Code == fault.CodeInitializer:
		kind = fault.Init
	}
	return &fault.Error{
		Kind:    kind,
		Type:    meta.Type,
		Code:    meta.Code,
		Body:    body,
		Final:   meta.Final,
		Hint:    meta.Hint,
		Message: "the function answered an error",
	}
}

func (f *frames) log(fr frame.Frame) error {
	var meta logMeta
	if err := json.Unmarshal(fr.Meta, &meta); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if x := f.worker.exam; x != nil && meta.USR1 {
		x.taken.Store(true)
	}
	if meta.CodeCache != nil {
		f.worker.codeCache.Store(meta.CodeCache)
	}
	now := time.Now()
	log := f.logOf(fr.ID, meta)
	if log == nil {
		return fmt.Errorf("log: id %d is no call of this worker", fr.ID)
	}
	switch {
	case meta.Stream != "":
		log.Output(now, meta.Stream, fr.Payload, func(p logger.Part) { f.worker.remember(meta.Stream, p) })
	case meta.Level != "":
		log.Logger(now, meta.Level, fr.Payload, meta.More)
	}
	return nil
}

// logOf finds the log a frame belongs to, and records a hint. What belongs to no call is the load's while it
// lasts.
func (f *frames) logOf(id uint32, meta logMeta) *logger.Request {
	if id == 0 && meta.RequestID == "" {
		if f.worker.isLoaded() {
			return f.unowned
		}
		return f.worker.LoadLog
	}
	f.mu.Lock()
	c := f.pending[id]
	var log *logger.Request
	if meta.RequestID == "" {
		meta.RequestID = f.abandoned[id]
	}
	if c != nil {
		log = c.log
		if meta.Hint != "" {
			c.hint, c.stack = meta.Hint, meta.Stack
		}
	}
	f.mu.Unlock()
	if log != nil || meta.RequestID == "" {
		return log
	}
	if id != 0 && f.worker.oneByOne() { // late output belongs to the running call, unless the worker knows better
		if log = f.only(); log != nil {
			return log
		}
	}
	if f.late == nil || f.late.ID() != meta.RequestID {
		if f.late != nil {
			f.late.Flush(time.Now())
		}
		f.late = logger.NewRequest(f.worker.cfg.Sink, meta.RequestID, f.worker.cfg.Several, false)
	}
	return f.late
}

// codeCacheWritten takes the worker's answer to WriteCodeCache.
func (f *frames) codeCacheWritten(meta []byte) error {
	written := &CodeCache{}
	if err := json.Unmarshal(meta, written); err != nil {
		return fmt.Errorf("code cache: %w", err)
	}
	select {
	case f.cacheWritten <- written:
	default: // it is asked once
	}
	return nil
}

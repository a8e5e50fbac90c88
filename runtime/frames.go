package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	goruntime "runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime/frame"
)

// ErrNotSent says that the worker never saw the call: the caller may give it to another one.
var ErrNotSent = errors.New("the worker ended before the call reached it")

// frames is the transport over two socket pairs, made before the worker starts: it reads calls from descriptor 3 and
// writes answers to descriptor 4. Two, because the worker may block on writing (nothing is lost when it exits) while its
// event loop needs a reading end that never blocks.
type frames struct {
	worker  *Worker
	events  *net.UnixConn // we write
	replies *net.UnixConn // we read

	// lock is the right to write. A channel, because a waiting caller must still notice its deadline.
	lock   chan struct{}
	buf    []byte
	broken bool // a write was cut off: the stream is of no use any more. Guarded by lock.

	// batch collects small frames for one write; the first caller to find it without a leader writes for all. Guarded by
	// batchMu.
	batchMu sync.Mutex
	batch   batch
	spare   batch
	led     bool

	mu      sync.Mutex
	pending map[uint32]*call
	// abandoned names the calls that timed out: their output may still come. A worker retires at the first one, so there are
	// never more than it had calls at once.
	abandoned map[uint32]string
	nextID    uint32
	dead      *fault.Error

	limit      int
	readDone   chan struct{}
	hailed     bool // Hello came; only the reader uses it
	oneAtATime atomic.Bool
	late       *logger.Request // output of calls that are answered already; only the reader uses it
}

// call is one frame that waits for its answer. Pooled.
type call struct {
	id    uint32
	log   *logger.Request
	hint  string // guarded by frames.mu
	done  chan reply
	timer *time.Timer
}

// batch is some frames and the calls they belong to.
type batch struct {
	bytes []byte
	ids   []uint32
	ends  []int // where each frame ends in bytes
}

// unwritten returns the ids of the frames that are not whole in the first n bytes.
func (b *batch) unwritten(n int) []uint32 {
	for i, end := range b.ends {
		if end > n {
			return b.ids[i:]
		}
	}
	return nil
}

type reply struct {
	result Result
	err    *fault.Error
	unsent bool
}

var callPool = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &call{done: make(chan reply, 1), timer: t}
}}

// newFrames returns the transport and the worker's ends in the order of their descriptors.
func newFrames(limit int) (*frames, []*os.File, error) {
	f := &frames{lock: make(chan struct{}, 1), pending: map[uint32]*call{}, abandoned: map[uint32]string{}, limit: limit, readDone: make(chan struct{})}
	var ends []*os.File
	for _, conn := range []**net.UnixConn{&f.events, &f.replies} {
		ours, theirs, err := socketPair()
		if err != nil {
			closeAll(ends)
			f.close()
			return nil, nil, fmt.Errorf("socket pair for a worker: %w", err)
		}
		*conn, ends = ours, append(ends, theirs)
	}
	return f, ends, nil
}

// socketBuffer is asked for on both sides, in bytes.
const socketBuffer = 1 << 20

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds { // a large frame should fit without the two sides taking turns; the kernel caps it
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer); err != nil {
			return nil, nil, err
		}
	}
	theirs := os.NewFile(uintptr(fds[1]), "worker end")
	ours := os.NewFile(uintptr(fds[0]), "agent end")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

func (f *frames) close() {
	for _, c := range []*net.UnixConn{f.events, f.replies} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// Init implements Transport.
func (f *frames) Init(ctx context.Context, inv *fncontext.Invocation, log *logger.Request) error {
	_, err := f.call(ctx, frame.Init, inv, nil, log)
	return err
}

// Invoke implements Transport.
func (f *frames) Invoke(ctx context.Context, inv *fncontext.Invocation, event []byte, log *logger.Request) (Result, error) {
	return f.call(ctx, frame.Invoke, inv, event, log)
}

// call records the pending id first, then writes the frame, then waits: for the answer, the deadline or the end of ctx.
func (f *frames) call(ctx context.Context, kind frame.Type, inv *fncontext.Invocation, payload []byte, log *logger.Request) (Result, error) {
	c := callPool.Get().(*call)
	c.log, c.hint = log, ""
	if metaTooLong(inv) {
		callPool.Put(c)
		return Result{}, &fault.Error{Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest, Message: "the call's credentials, ids and trace headers are too long together"}
	}
	if !f.register(c) {
		callPool.Put(c)
		return Result{}, ErrNotSent
	}
	c.timer.Reset(time.Until(inv.Deadline))
	f.send(ctx, c, kind, inv, payload)
	var r reply
	select {
	case r = <-c.done:
	case <-c.timer.C:
		r = f.abandon(c, inv, TimeoutFault)
	case <-ctx.Done():
		r = f.abandon(c, inv, stoppedFault)
	}
	f.recycle(c)
	switch {
	case r.unsent:
		return Result{}, ErrNotSent
	case r.err != nil:
		return Result{}, r.err
	}
	return r.result, nil
}

func (f *frames) recycle(c *call) {
	c.timer.Stop()
	c.log = nil
	callPool.Put(c)
}

func (f *frames) register(c *call) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead != nil {
		return false
	}
	f.nextID++
	if f.nextID == 0 { // 0 is the load
		f.nextID = 1
	}
	c.id = f.nextID
	f.pending[c.id] = c
	return true
}

// abandon ends the wait for c. If the answer came at the same moment, it wins.
func (f *frames) abandon(c *call, inv *fncontext.Invocation, why func(*fncontext.Invocation, string) *fault.Error) reply {
	f.mu.Lock()
	_, waiting := f.pending[c.id]
	delete(f.pending, c.id)
	hint := c.hint
	if waiting {
		f.abandoned[c.id] = inv.RequestID
	}
	f.mu.Unlock()
	if !waiting {
		return <-c.done
	}
	f.cancel(c.id)
	return reply{err: why(inv, hint)}
}

// TimeoutFault is the answer to a call whose deadline passed; it names the limit.
func TimeoutFault(inv *fncontext.Invocation, hint string) *fault.Error {
	return &fault.Error{Kind: fault.Timeout, Type: fault.TypeTimeout, Code: fault.CodeTimeout, Hint: hint,
		Message: fmt.Sprintf("call invoke timeout %gs: the handler's deadline passed (RUNTIME_TIMEOUT)", inv.Function.Timeout.Seconds())}
}

func stoppedFault(*fncontext.Invocation, string) *fault.Error {
	return &fault.Error{Kind: fault.Unavailable, Type: fault.TypeDraining, Code: fault.CodeUnavailable, Message: "the instance stopped before the call was answered"}
}

// cancelGrace bounds the wait of a Cancel for a worker that does not read.
const cancelGrace = 20 * time.Millisecond

// cancel tells the worker that nobody waits for id any more, if it listens.
func (f *frames) cancel(id uint32) {
	select {
	case f.lock <- struct{}{}:
	default:
		return // somebody is writing: the worker is not reading, and will not read this either
	}
	defer func() { <-f.lock }()
	f.buf = frame.AppendHeader(f.buf[:0], frame.Cancel, id, 0, 0)
	if _, err := f.write(time.Now().Add(cancelGrace), f.buf); err != nil {
		f.worker.cfg.Log.Debug("worker takes no Cancel", zap.Error(err))
	}
}

// joinBelow is the event size up to which one copy is cheaper than a system call of its own.
const joinBelow = 16 << 10

// send writes one call, or lets another caller write it. A call that was not written whole is answered as unsent: the
// worker cannot have seen it.
func (f *frames) send(ctx context.Context, c *call, kind frame.Type, inv *fncontext.Invocation, payload []byte) {
	if len(payload) > joinBelow {
		f.sendAlone(ctx, c, kind, inv, payload)
		return
	}
	f.batchMu.Lock()
	f.batch.bytes = append(appendCall(f.batch.bytes, c.id, kind, inv, len(payload)), payload...)
	f.batch.ids = append(f.batch.ids, c.id)
	f.batch.ends = append(f.batch.ends, len(f.batch.bytes))
	leader := !f.led
	f.led = true
	f.batchMu.Unlock()
	if !leader {
		return
	}
	goruntime.Gosched() // callers that are ready to run add their frames: one write, one wake-up of the worker
	locked := f.acquire(ctx, inv)
	f.batchMu.Lock()
	b := f.batch
	f.batch, f.spare, f.led = f.spare, batch{}, false
	f.batchMu.Unlock()
	if !locked {
		f.unsent(b.ids, c.id)
		return
	}
	n, err := f.write(inv.Deadline, b.bytes)
	<-f.lock
	if err != nil {
		f.unsent(b.unwritten(n), f.timedOut(err, c.id))
	}
	f.batchMu.Lock()
	f.spare = batch{bytes: b.bytes[:0], ids: b.ids[:0], ends: b.ends[:0]}
	f.batchMu.Unlock()
}

// sendAlone writes a large event without copying it.
func (f *frames) sendAlone(ctx context.Context, c *call, kind frame.Type, inv *fncontext.Invocation, payload []byte) {
	if !f.acquire(ctx, inv) {
		return // its own deadline: the caller sees it next
	}
	f.buf = appendCall(f.buf[:0], c.id, kind, inv, len(payload))
	_, err := f.write(inv.Deadline, f.buf, payload)
	<-f.lock
	if err != nil {
		f.unsent([]uint32{c.id}, f.timedOut(err, c.id))
	}
}

// timedOut returns the id of a call whose own deadline ended its write, which its caller sees next; else 0.
func (f *frames) timedOut(err error, id uint32) uint32 {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return id
	}
	return 0
}

// unsent ends the wait of calls whose frames were not written; except, if not 0, is left to its own deadline.
func (f *frames) unsent(ids []uint32, except uint32) {
	for _, id := range ids {
		if id == except {
			continue
		}
		if c := f.take(id); c != nil {
			c.done <- reply{unsent: true}
		}
	}
}

// acquire takes the right to write; false if the call's deadline or the end of ctx came first.
func (f *frames) acquire(ctx context.Context, inv *fncontext.Invocation) bool {
	select {
	case f.lock <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(time.Until(inv.Deadline)) // not the call's own: the caller waits for that one next
	defer timer.Stop()
	select {
	case f.lock <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// write writes all parts and returns the number of bytes; called with the lock held. A write that was cut off breaks the
// stream.
func (f *frames) write(deadline time.Time, parts ...[]byte) (int, error) {
	if f.broken {
		return 0, net.ErrClosed
	}
	n, err := 0, f.events.SetWriteDeadline(deadline)
	if err == nil && len(parts) == 1 {
		n, err = f.events.Write(parts[0])
	} else if err == nil {
		buffers := net.Buffers(parts)
		var written int64
		written, err = buffers.WriteTo(f.events)
		n = int(written)
	}
	if err != nil {
		f.broken = true
	}
	return n, err
}

// appendCall appends header and meta of a call.
func appendCall(dst []byte, id uint32, kind frame.Type, inv *fncontext.Invocation, payloadLen int) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, frame.HeaderSize)...)
	dst = appendMeta(dst, inv)
	frame.AppendHeader(dst[start:start], kind, id, len(dst)-start-frame.HeaderSize, payloadLen)
	return dst
}

// appendMeta writes what the worker needs to build the context (docs/PROTOCOL.md).
func appendMeta(dst []byte, inv *fncontext.Invocation) []byte {
	dst = append(dst, `{"requestId":`...)
	dst = logger.AppendJSONString(dst, inv.RequestID)
	dst = append(dst, `,"deadline":`...)
	dst = appendMillis(dst, inv.Deadline)
	member := func(name, value string) {
		if value != "" {
			dst = append(append(append(dst, `,"`...), name...), `":`...)
			dst = logger.AppendJSONString(dst, value)
		}
	}
	member("alias", inv.Alias)
	member("workflowId", inv.Workflow.ID)
	member("workflowRunId", inv.Workflow.RunID)
	member("workflowStateId", inv.Workflow.StateID)
	member("traceparent", inv.Trace.Parent)
	member("tracestate", inv.Trace.State)
	if !inv.Credentials.Empty() {
		s := inv.Credentials.Reveal()
		dst = append(dst, `,"credentials":{"v":1`...)
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

// metaTooLong tells calls whose headers would not fit into a frame's meta. A byte can take six when it is escaped.
func metaTooLong(inv *fncontext.Invocation) bool {
	n := len(inv.Alias) + len(inv.Workflow.ID) + len(inv.Workflow.RunID) + len(inv.Workflow.StateID) + len(inv.Trace.Parent) + len(inv.Trace.State)
	if !inv.Credentials.Empty() {
		s := inv.Credentials.Reveal()
		n += len(s.AccessKey) + len(s.SecretKey) + len(s.SecurityAccessKey) + len(s.SecuritySecretKey) + len(s.SecurityToken) + len(s.AuthToken)
	}
	return n > 8<<10 && len(appendMeta(nil, inv)) > frame.MaxMeta
}

// Close implements Transport: Bye, if the worker still reads.
func (f *frames) Close() error {
	f.lock <- struct{}{}
	defer func() { <-f.lock }()
	f.buf = frame.AppendHeader(f.buf[:0], frame.Bye, 0, 0, 0)
	_, err := f.write(time.Now().Add(cancelGrace), f.buf)
	f.broken = true
	return err
}

// read is the worker's frame reader: it runs until the stream ends or cannot be trusted.
func (f *frames) read() {
	defer close(f.readDone)
	r := frame.NewReader(f.replies, f.limit)
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

// flushLogs writes unfinished last lines once there will be no more.
func (f *frames) flushLogs() {
	now := time.Now()
	f.worker.LoadLog.Flush(now)
	if f.late != nil {
		f.late.Flush(now)
	}
}

// lastRead lets the answers through that an ended worker left in the socket.
func (f *frames) lastRead() {
	if err := f.replies.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		f.worker.cfg.Log.Debug("no read deadline", zap.Error(err))
	}
	<-f.readDone
}

// fail ends every call that still waits; there will be no more.
func (f *frames) fail(death *fault.Error) {
	f.mu.Lock()
	f.dead = death
	waiting := f.pending
	f.pending = nil
	f.mu.Unlock()
	for _, c := range waiting {
		c.done <- reply{err: death}
	}
	f.close()
}

// take removes a pending call; nil if nobody waits for the id.
func (f *frames) take(id uint32) *call {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.pending[id]
	delete(f.pending, id)
	return c
}

// only returns the log of the one call in flight, or nil if there is none or more than one.
func (f *frames) only() *logger.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) != 1 {
		return nil
	}
	for _, c := range f.pending {
		return c.log
	}
	return nil
}

func (f *frames) handle(fr frame.Frame) error {
	switch fr.Type {
	case frame.Hello:
		return f.hello(fr.Meta)
	case frame.Log:
		return f.log(fr)
	case frame.Result, frame.Failure:
		return f.answer(fr)
	default:
		return fmt.Errorf("a worker may not send frames of type %d", fr.Type)
	}
}

type helloMeta struct {
	Version        int    `json:"version"`
	Runtime        string `json:"runtime"`
	RuntimeVersion string `json:"runtimeVersion"`
	Concurrency    bool   `json:"concurrency"`
}

func (f *frames) hello(meta []byte) error {
	var h helloMeta
	if err := json.Unmarshal(meta, &h); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	lang := f.worker.cfg.Language
	var major int
	if _, err := fmt.Sscanf(h.RuntimeVersion, "%d", &major); err != nil || h.Version != frame.Version {
		return fmt.Errorf("hello: protocol version %d of %q, want %d", h.Version, h.RuntimeVersion, frame.Version)
	}
	if major < lang.MinVersion {
		f.worker.loadEnded(lang.tooOld(f.worker.cfg.Program, h.RuntimeVersion))
		return nil
	}
	f.hailed = true
	if !h.Concurrency && f.worker.cfg.Concurrency > 1 {
		f.oneAtATime.Store(true)
		f.worker.cfg.Log.Warn("calls run one at a time: this version cannot tell the log lines of several calls apart",
			zap.String("program", f.worker.cfg.Program), zap.String("version", h.RuntimeVersion))
	}
	return nil
}

type failureMeta struct {
	Code  int    `json:"code"`
	Type  string `json:"type"`
	Event bool   `json:"event"`
}

func (f *frames) answer(fr frame.Frame) error {
	var r reply
	body := fr.Payload
	if !fr.Owned {
		body = append([]byte(nil), body...)
	}
	if fr.Type == frame.Result {
		text, err := isText(fr.Meta)
		if err != nil {
			return err
		}
		r.result = Result{Body: body, Text: text}
	} else {
		var meta failureMeta
		if err := json.Unmarshal(fr.Meta, &meta); err != nil {
			return fmt.Errorf("failure: %w", err)
		}
		r.err = failureFault(meta, body)
	}
	if fr.ID == 0 {
		if !f.hailed {
			return errors.New("an answer before Hello")
		}
		if r.err != nil {
			r.err.Kind = fault.Init
			f.worker.loadEnded(r.err)
		} else {
			f.worker.loadEnded(nil)
		}
		return nil
	}
	c := f.take(fr.ID)
	if c == nil {
		if f.worker.cfg.Stray != nil {
			f.worker.cfg.Stray()
		}
		return nil
	}
	c.done <- r
	return nil
}

// isText reads the meta of a Result: nothing, or {"text":true}.
func isText(meta []byte) (bool, error) {
	if len(meta) == 0 {
		return false, nil
	}
	if string(meta) == `{"text":true}` {
		return true, nil
	}
	var m struct {
		Text bool `json:"text"`
	}
	if err := json.Unmarshal(meta, &m); err != nil {
		return false, fmt.Errorf("result: %w", err)
	}
	return m.Text, nil
}

func failureFault(meta failureMeta, body []byte) *fault.Error {
	kind := fault.Function
	switch {
	case meta.Event:
		kind = fault.Event
	case meta.Code == fault.CodeInitializer:
		kind = fault.Init
	}
	return &fault.Error{Kind: kind, Type: meta.Type, Code: meta.Code, Body: body, Message: "the function answered an error"}
}

type logMeta struct {
	Level     string `json:"level"`
	Stream    string `json:"stream"`
	RequestID string `json:"requestId"`
	Hint      string `json:"hint"`
	More      bool   `json:"more"`
}

func (f *frames) log(fr frame.Frame) error {
	var meta logMeta
	if err := json.Unmarshal(fr.Meta, &meta); err != nil {
		return fmt.Errorf("log: %w", err)
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

// logOf finds the log a frame belongs to, and takes note of a hint.
func (f *frames) logOf(id uint32, meta logMeta) *logger.Request {
	if id == 0 && meta.RequestID == "" {
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
			c.hint = meta.Hint
		}
	}
	f.mu.Unlock()
	if log != nil || meta.RequestID == "" {
		return log
	}
	if f.late == nil || f.late.ID() != meta.RequestID {
		if f.late != nil {
			f.late.Flush(time.Now())
		}
		f.late = logger.NewRequest(f.worker.cfg.Sink, meta.RequestID, f.worker.cfg.Concurrency > 1, false)
	}
	return f.late
}

// appendMillis writes t as milliseconds since 1970 with three decimals.
func appendMillis(dst []byte, t time.Time) []byte {
	micros := t.UnixMicro()
	dst = append(strconv.AppendInt(dst, micros/1000, 10), '.')
	frac := micros % 1000
	return append(dst, byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
}

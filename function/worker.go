package function

import (
	"encoding/json"
	"fmt"
	"gantry/function/frame"
	"gantry/function/socket"
	"io"
	"net"
	goruntime "runtime"
	"strings"
	"sync"
	"time"
)

const (
	// maxEvent is the longest event that the agent sends.
	maxEvent = 6 << 20
	logPiece = 48 << 10
	// joinBelow is the size of a body up to which one copy is cheaper than a system call of its own.
	joinBelow = 16 << 10
	// maxIdle is how many goroutines without a call are kept, and keptFrames how much memory for frames to write.
	maxIdle    = 64
	keptFrames = 1 << 20
)

// worker speaks frames with the agent (docs/PROTOCOL.md).
type worker struct {
	*function
	in  *frame.Reader
	out net.Conn
	// small writes to out what is one piece.
	small *socket.Stream
	// broken is called when the agent takes nothing any more; it does not return.
	broken func(error)

	wire  sync.Mutex // held while writing; taken before mu
	spare []byte     // guarded by wire

	mu      sync.Mutex
	calls   map[uint32]*call
	idle    []*executor // the one used last at the end
	pending []byte      // frames that go out with the next write
	led     bool        // a goroutine is about to write pending
}

func newWorker(f *function, in io.Reader, out net.Conn, broken func(error)) *worker {
	return &worker{
		function: f, in: frame.NewReader(in, maxEvent), out: out, small: socket.New(out), broken: broken,
		calls: map[uint32]*call{},
	}
}

// takeUserData reads the frame with the encrypted user variables, which is the agent's first.
func (w *worker) takeUserData() error {
	f, err := w.in.Next()
	if err != nil {
		return err
	}
	if f.Type != frame.UserData {
		return fmt.Errorf("the first frame has type %d, want %d", f.Type, frame.UserData)
	}
	return json.Unmarshal(f.Payload, &w.encrypted)
}

// serve reads what the agent sends, until the end of the stream. The error is io.EOF if that came between two frames.
func (w *worker) serve() error {
	for {
		f, err := w.in.Next()
		if err != nil {
			return err
		}
		switch f.Type {
		case frame.Init, frame.Invoke:
			c := newCall(w.function, w)
			c.id, c.initializes = f.ID, f.Type == frame.Init
			if err := c.info.read(f.Meta); err != nil {
				return err
			}
			w.begin(c, f)
		case frame.Cancel:
			w.cancel(f.ID)
		case frame.Stacks:
			w.sendStacks(f.ID)
		default: // Bye: TERM follows, and the program's own handler for it decides when the process ends
		}
	}
}

// load runs the initializer, if it belongs to the load, and says how that ended.
func (w *worker) load() {
	c := newCall(w.function, w)
	c.initializes, c.info.deadline = true, time.Now().Add(w.initTimeout)
	switch {
	case !w.configured:
		w.settle(
			c,
			outcome{
				failure: &failure{
					code:    codeLoad,
					kind:    kindConfig,
					message: entry + "function.Start was given no handler, but nil",
				},
			},
		)
	case w.initializer != nil && w.initHandler == "":
		w.perform(c, event{}, nil, w)
	default:
		w.settle(c, outcome{})
	}
}

// begin runs a call on a goroutine of its own.
func (w *worker) begin(c *call, f frame.Frame) {
	var e *executor
	w.mu.Lock()
	w.calls[c.id] = c
	if n := len(w.idle); n > 0 {
		e, w.idle = w.idle[n-1], w.idle[:n-1]
	}
	w.mu.Unlock()
	fresh := e == nil
	if fresh {
		e = &executor{worker: w, bell: make(chan struct{}, 1)}
	}
	e.call, e.event = c, event{f.Payload, f.Owned}
	if !f.Owned { // the reader needs its memory again
		e.scratch = append(e.scratch[:0], f.Payload...)
		e.event.bytes = e.scratch
	}
	if fresh {
		go e.serve()
	} else {
		e.bell <- struct{}{}
	}
}

// executor is a goroutine that runs calls, one after another.
type executor struct {
	worker  *worker
	bell    chan struct{} // rung when there is a call
	call    *call
	event   event
	scratch []byte
	encoder encoder
}

func (e *executor) serve() {
	for {
		e.worker.perform(e.call, e.event, &e.encoder, e.worker)
		e.call, e.event = nil, event{}
		if !e.worker.rest(e) {
			return
		}
		<-e.bell
	}
}

// rest keeps an executor for later calls; false if there are enough.
func (w *worker) rest(e *executor) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.idle) >= maxIdle {
		return false
	}
	w.idle = append(w.idle, e)
	return true
}

// cancel ends the context of a call whose caller no longer waits. Its answer is not sent.
func (w *worker) cancel(id uint32) {
	w.mu.Lock()
	c := w.calls[id]
	delete(w.calls, id)
	if c != nil {
		c.answered = true
	}
	w.mu.Unlock()
	if c != nil {
		c.end()
	}
}

// sendStacks answers the agent, which asks where a call is that has passed its deadline.
func (w *worker) sendStacks(id uint32) {
	text := stacks()
	w.mu.Lock()
	w.pending = frame.Append(w.pending, frame.Stacks, id, nil, text)
	w.mu.Unlock()
	w.flush()
}

var textMeta = []byte(`{"text":true}`)

// settle implements settler.
func (w *worker) settle(c *call, o outcome) {
	kind, meta, body := frame.Result, []byte(nil), o.body
	if o.text {
		meta = textMeta
	}
	if x := o.failure; x != nil {
		w.log(c, levelError, x.text())
		kind, meta, body = frame.Failure, x.meta(), x.body()
	}
	w.answer(c, kind, meta, body)
	c.end()
}

// answer writes an answer, once, or leaves it to a goroutine that is about to write: calls that end together share one
// write.
func (w *worker) answer(c *call, kind frame.Type, meta, body []byte) {
	w.mu.Lock()
	if c.answered {
		w.mu.Unlock()
		return
	}
	c.answered = true
	delete(w.calls, c.id)
	if len(body) > joinBelow {
		w.mu.Unlock()
		w.writeLarge(kind, c.id, meta, body)
		return
	}
	w.pending = frame.Append(w.pending, kind, c.id, meta, body)
	leader, company := !w.led, len(w.calls) > 0
	w.led = true
	w.mu.Unlock()
	if !leader {
		return
	}
	if company {
		goruntime.Gosched() // calls that are about to end add their answers
	}
	w.flush()
}

// log implements sink: the line is written when it returns. A long one goes in pieces.
func (w *worker) log(c *call, level, text string) {
	w.mu.Lock()
	meta := append(make([]byte, 0, 128), `{"level":"`+level+`"`...)
	if c.answered && c.info.requestID != "" {
		meta = appendString(append(meta, `,"requestId":`...), c.info.requestID)
	}
	last := append(meta, '}')
	more := append(meta[:len(meta):len(meta)], `,"more":true}`...)
	for len(text) > logPiece {
		w.append(c.id, more, text[:logPiece])
		text = text[logPiece:]
	}
	w.append(c.id, last, text)
	w.mu.Unlock()
	w.flush()
}

// append appends a Log frame. Called with mu held.
func (w *worker) append(id uint32, meta []byte, text string) {
	w.pending = frame.AppendHeader(w.pending, frame.Log, id, len(meta), len(text))
	w.pending = append(append(w.pending, meta...), text...)
}

// flush writes what is pending, unless another goroutine has.
func (w *worker) flush() {
	w.wire.Lock()
	defer w.wire.Unlock()
	w.mu.Lock()
	b := w.take()
	w.mu.Unlock()
	if len(b) > 0 {
		w.write(b, nil)
	}
}

// writeLarge writes an answer behind what is pending, without copying it.
func (w *worker) writeLarge(kind frame.Type, id uint32, meta, body []byte) {
	w.wire.Lock()
	defer w.wire.Unlock()
	w.mu.Lock()
	b := w.take()
	w.mu.Unlock()
	w.write(append(frame.AppendHeader(b, kind, id, len(meta), len(body)), meta...), body)
}

// take takes over the writing of what is pending. Called with both locks held.
func (w *worker) take() []byte {
	b := w.pending
	w.pending, w.spare, w.led = w.spare, nil, false
	return b
}

// write writes b, which is kept for later frames, and then body. Called with wire held.
func (w *worker) write(b, body []byte) {
	var err error
	if len(body) == 0 {
		_, err = w.small.Write(b)
	} else {
		buffers := net.Buffers{b, body}
		_, err = buffers.WriteTo(w.out)
	}
	if err != nil {
		w.broken(err)
	}
	if cap(b) <= keptFrames {
		w.spare = b[:0]
	}
}

// hello is the first frame of a worker.
func hello() []byte {
	meta, err := json.Marshal(struct {
		Version     int    `json:"version"`
		Runtime     string `json:"runtime"`
		GoVersion   string `json:"runtimeVersion"`
		Concurrency bool   `json:"concurrency"`
		UserData    bool   `json:"userdata"`
		Stacks      bool   `json:"stacks"`
	}{frame.Version, "go", version(goruntime.Version()), true, true, true})
	if err != nil {
		panic(err) // strings can always be marshalled
	}
	return frame.Append(nil, frame.Hello, 0, meta, nil)
}

// version is Go's version without what is not its number: go1.26.8 X:experiment, devel go1.27-abc.
func version(s string) string {
	for word := range strings.FieldsSeq(s) {
		if v, ok := strings.CutPrefix(word, "go"); ok {
			return v
		}
	}
	return s
}

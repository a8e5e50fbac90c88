package hang

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/process"
	"net"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"golang.org/x/sys/unix"
)

// Inspector asks Node.js over its inspector: for the stack of the code that runs, or for what the event loop waits for.
type Inspector struct {
	Process *process.Process
	// Diverted gets the inspector's address.
	Diverted *Diversion
	Code     *Code
	// Taken is set while the user's code listens for USR1, which then does not open the inspector.
	Taken *atomic.Bool
}

// messageLimit bounds a message of the inspector's, in bytes.
const messageLimit = 1 << 20

// lookScript is evaluated in the middle of what runs, or by the event loop if that is free. Debugger.pause would show
// the same, but Debugger.enable looks at the source of every script first, which takes 60 ms and more. What it changes
// on Error it puts back.
const lookScript = `(function look() {
  const names = ['stackTraceLimit', 'prepareStackTrace'];
  const saved = names.map((name) => [name, Object.getOwnPropertyDescriptor(Error, name)]);
  Error.stackTraceLimit = 100;
  Error.prepareStackTrace = (_, sites) => sites.map((s) => ({
    name: s.getFunctionName() || s.getMethodName() || '', file: s.getFileName() || '', line: s.getLineNumber() || 0,
  }));
  const here = {};
  Error.captureStackTrace(here, look);
  const stack = here.stack;
  for (const [name, was] of saved) was === undefined ? delete Error[name] : Object.defineProperty(Error, name, was);
  const known = typeof process.getActiveResourcesInfo === 'function';
  return { stack: stack.slice(1), resources: known ? process.getActiveResourcesInfo() : null };
})()`

// trampoline is the frame by which some versions call what is evaluated.
const trampoline = "callbackTrampoline"

// workersResource is the worker's own end of its socket, which is always among the resources.
const workersResource = "PipeWrap"

// Stack adds the stack or the resources to the evidence.
func (n *Inspector) Stack(ctx context.Context, e *Evidence) error {
	switch {
	case n.Taken.Load():
		return errors.New("the function has a handler for USR1, which opens the inspector otherwise")
	case !n.Process.Catches(unix.SIGUSR1):
		return errors.New("the inspector of Node.js does not open on USR1 here")
	}
	n.Diverted.begin(inspecting)
	if err := n.Process.SignalThread(0, unix.SIGUSR1); err != nil {
		return err
	}
	var address string
	select {
	case address = <-n.Diverted.url:
	case <-n.Process.Exited():
		return errors.New("the process ended")
	case <-ctx.Done():
		return errors.New("the inspector did not open in time: the main thread may wait in the kernel or in native code")
	}
	conn, err := dial(ctx, address)
	if err != nil {
		return fmt.Errorf("inspector: %w", err)
	}
	err = n.ask(conn, e)
	_ = conn.Close() // all was said
	return err
}

// dial connects without the proxy that the environment may name. What goes over the connection ends with ctx.
func dial(ctx context.Context, address string) (*websocket.Conn, error) {
	dialer := websocket.Dialer{NetDialContext: (&net.Dialer{}).DialContext}
	conn, answer, err := dialer.DialContext(ctx, address, nil)
	if err != nil {
		return nil, err
	}
	_ = answer.Body.Close() // it has none
	conn.SetReadLimit(messageLimit)
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(Limit)
	}
	if err = errors.Join(conn.SetReadDeadline(deadline), conn.SetWriteDeadline(deadline)); err != nil {
		_ = conn.Close() // the first error says more
		return nil, err
	}
	return conn, nil
}

// message is the inspector's answer; it has other ones, with a number of 0.
type message struct {
	ID     int             `json:"id"`
	Error  json.RawMessage `json:"error"`
	Result struct {
		Result struct {
			Value *looked `json:"value"`
		} `json:"result"`
		ExceptionDetails json.RawMessage `json:"exceptionDetails"`
	} `json:"result"`
}

// looked is the result of lookScript.
type looked struct {
	Stack []struct {
		Name string `json:"name"`
		File string `json:"file"`
		Line int    `json:"line"`
	} `json:"stack"`
	Resources []string `json:"resources"`
}

// ask evaluates lookScript. The event loop is free if no code of the function runs.
func (n *Inspector) ask(conn *websocket.Conn, e *Evidence) error {
	err := conn.WriteJSON(map[string]any{
		"id": 1, "method": "Runtime.evaluate",
		"params": map[string]any{"expression": lookScript, "returnByValue": true, "silent": true},
	})
	var m message
	for err == nil && m.ID == 0 {
		err = conn.ReadJSON(&m)
	}
	found := m.Result.Result.Value
	switch {
	case err != nil:
		return fmt.Errorf("inspector: %w", err)
	case len(m.Error) > 0 || found == nil:
		return fmt.Errorf("inspector: %s%s", m.Error, m.Result.ExceptionDetails)
	}
	var stack []Frame
	for i, f := range found.Stack {
		if i == 0 && f.Name == trampoline {
			continue
		}
		stack = append(stack, Frame{Function: f.Name, File: pathOf(f.File), Line: f.Line})
	}
	e.Frames = n.Code.Cut(stack)
	switch {
	case len(e.Frames) > 0:
	case len(stack) > 0 && e.Kind == Busy:
		return errors.New("inspector: what ran is not in the code folder")
	case found.Resources != nil: // on the stack there is at most what Node.js does to open the inspector
		e.Resources, e.ResourcesKnown = withoutOne(found.Resources, workersResource), true
	}
	return nil
}

func withoutOne(names []string, name string) []string {
	if at := slices.Index(names, name); at >= 0 {
		names = slices.Delete(names, at, at+1)
	}
	return names
}

// pathOf returns the path of a file that is named by a URL, as those of ES modules are.
func pathOf(name string) string {
	if u, err := url.Parse(name); err == nil && u.Scheme == "file" {
		return u.Path
	}
	return name
}

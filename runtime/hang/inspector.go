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
	"strings"
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

// resources asks for what keeps the event loop alive. The worker's own end is the one PipeWrap that is always there.
const resources = `typeof process.getActiveResourcesInfo === 'function' ? process.getActiveResourcesInfo() : null`

const workersResource = "PipeWrap"

// Stack adds the stack or the resources to the evidence. What runs is paused for a moment.
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
		return errors.New("the inspector did not open: the main thread waits in the kernel or in native code")
	}
	conn, err := dial(ctx, address)
	if err != nil {
		return fmt.Errorf("inspector: %w", err)
	}
	err = n.ask(conn, e)
	_ = conn.Close() // which lets what was paused go on
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

// The numbers of the requests.
const (
	enabled = iota + 1
	evaluated
	pausing
)

type request struct {
	ID     int            `json:"id"`
	Method string         `json:"method"`
	Params map[string]any `json:"params,omitempty"`
}

// message is an answer, or an event with its method.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Error  json.RawMessage `json:"error"`
	Result struct {
		Result struct {
			Value []string `json:"value"`
		} `json:"result"`
	} `json:"result"`
	Params struct {
		ScriptID   string      `json:"scriptId"`
		URL        string      `json:"url"`
		CallFrames []callFrame `json:"callFrames"`
	} `json:"params"`
}

type callFrame struct {
	FunctionName string `json:"functionName"`
	URL          string `json:"url"`
	Location     struct {
		ScriptID   string `json:"scriptId"`
		LineNumber int    `json:"lineNumber"` // from 0
	} `json:"location"`
}

// ask sends the requests and reads until there is what was asked for. Code that runs is paused; where none runs, the
// event loop answers what keeps it alive.
func (n *Inspector) ask(conn *websocket.Conn, e *Evidence) error {
	requests := []request{
		{evaluated, "Runtime.evaluate", map[string]any{"expression": resources, "returnByValue": true, "silent": true}},
	}
	if e.Kind == Busy {
		requests = append(requests, request{enabled, "Debugger.enable", nil}, request{pausing, "Debugger.pause", nil})
	}
	for _, r := range requests {
		if err := conn.WriteJSON(r); err != nil {
			return fmt.Errorf("inspector: %w", err)
		}
	}
	scripts := map[string]string{}
	for {
		var m message
		if err := conn.ReadJSON(&m); err != nil {
			if e.ResourcesKnown && e.Kind == Busy {
				return errors.New("inspector: no code of the main thread ran")
			}
			return fmt.Errorf("inspector: %w", err)
		}
		switch {
		case len(m.Error) > 0:
			return fmt.Errorf("inspector: %s", m.Error)
		case m.Method == "Debugger.scriptParsed":
			scripts[m.Params.ScriptID] = m.Params.URL
		case m.Method == "Debugger.paused":
			e.Resources, e.ResourcesKnown = nil, false // the loop was not free
			e.Frames = n.Code.Cut(frames(m.Params.CallFrames, scripts))
			return nil
		case m.ID == evaluated:
			if e.ResourcesKnown = m.Result.Result.Value != nil; e.ResourcesKnown {
				e.Resources = withoutOne(m.Result.Result.Value, workersResource)
			}
			if e.Kind != Busy {
				return nil
			}
		}
	}
}

func withoutOne(names []string, name string) []string {
	if at := slices.Index(names, name); at >= 0 {
		names = slices.Delete(names, at, at+1)
	}
	return names
}

func frames(calls []callFrame, scripts map[string]string) []Frame {
	var found []Frame
	for _, c := range calls {
		place := c.URL
		if place == "" {
			place = scripts[c.Location.ScriptID]
		}
		if u, err := url.Parse(place); err == nil && strings.HasPrefix(place, "file://") {
			place = u.Path
		}
		found = append(found, Frame{Function: c.FunctionName, File: place, Line: c.Location.LineNumber + 1})
	}
	return found
}

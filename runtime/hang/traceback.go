package hang

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"gantry/process"
	"os"
	"regexp"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Traceback asks a Python worker that has registered a signal with the module faulthandler, or one in PHP, which writes
// in the same form.
type Traceback struct {
	Process *process.Process
	Signal  unix.Signal
	// Dump is where the worker writes.
	Dump *os.File
	Code *Code
	// Reported is the stack that the worker itself reported shortly before the deadline. It stands for one that is not
	// on the main thread, as of an asynchronous handler. It may be nil.
	Reported []Frame
}

// Stack adds the stack to the evidence.
func (t *Traceback) Stack(ctx context.Context, e *Evidence) error {
	stack, err := t.ask(ctx)
	if e.Frames = t.Code.Cut(stack); len(e.Frames) == 0 {
		e.Frames = t.Code.Cut(t.Reported)
	}
	if len(e.Frames) > 0 {
		return nil
	}
	return err
}

func (t *Traceback) ask(ctx context.Context) ([]Frame, error) {
	if !t.Process.Catches(t.Signal) {
		return nil, errors.New("the worker has no handler for the signal")
	}
	if err := t.Process.SignalThread(0, t.Signal); err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := t.Dump.SetReadDeadline(deadline); err != nil {
			return nil, err
		}
	}
	var stack []Frame
	lines := bufio.NewScanner(t.Dump)
	for lines.Scan() {
		f, last := parseTraceback(lines.Text())
		if f != nil {
			stack = append(stack, *f)
		}
		if last {
			return stack, nil
		}
	}
	return stack, fmt.Errorf("the worker did not write its stack: %w", lines.Err())
}

var (
	tracebackLine = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^  File "(.*)", line (\d+|\?\?\?) in (.*)$`)
	})
	escaped = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}`)
	})
)

// loader is the file that the code after -c has: the oldest frame of the main thread.
const loader = "<string>"

// parseTraceback reads a line of faulthandler's; last is set for the oldest frame, and for the mark that stands for
// more than a hundred.
func parseTraceback(line string) (f *Frame, last bool) {
	if line == "  ..." {
		return nil, true
	}
	found := tracebackLine().FindStringSubmatch(line)
	if found == nil {
		return nil, false
	}
	f = &Frame{Function: unescape(found[3]), File: unescape(found[1])}
	f.Line, _ = strconv.Atoi(found[2]) // ??? is 0
	return f, f.File == loader && f.Function == "<module>"
}

// unescape undoes what faulthandler does to characters that are not ASCII.
func unescape(text string) string {
	return escaped().ReplaceAllStringFunc(text, func(code string) string {
		n, err := strconv.ParseUint(code[2:], 16, 32)
		if err != nil {
			return code
		}
		return string(rune(n))
	})
}

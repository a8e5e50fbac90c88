package hang

import (
	"context"
	"debug/elf"
	"errors"
	"gantry/process"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Goroutines asks a Go program for the stacks of its goroutines.
type Goroutines struct {
	Process *process.Process
	// Ask has the worker send them. It is nil for a program that cannot: that gets QUIT, which ends it.
	Ask func(context.Context) (string, error)
	// Diverted gets the dump.
	Diverted *Diversion
	// Worker are the beginnings of names of functions that are not the user's: the frames that call the handler.
	Worker []string
}

// Stack adds the stack of the handler's goroutine to the evidence.
func (g *Goroutines) Stack(ctx context.Context, e *Evidence) error {
	ask := g.Ask
	if ask == nil {
		ask = g.quit
	}
	text, err := ask(ctx)
	if err != nil {
		return err
	}
	e.Frames = g.pick(parseDump(text))
	if len(e.Frames) == 0 {
		return errors.New("no goroutine with code of the function is among those of the program")
	}
	return nil
}

// quit has Go's runtime print the stacks and end the program.
func (g *Goroutines) quit(ctx context.Context) (string, error) {
	if !isGo("/proc/" + strconv.Itoa(g.Process.PID) + "/exe") {
		return "", errors.New("the program is not written in Go")
	}
	if !g.Process.Catches(unix.SIGQUIT) {
		return "", errors.New("the program has no handler for QUIT yet")
	}
	g.Diverted.begin(quitting)
	thread := 0 // of others than the one that has the signal, what runs is not shown
	if tree := g.Process.Tree(); len(tree) > 0 {
		thread = tree[0].Thread
	}
	if err := g.Process.SignalThread(thread, unix.SIGQUIT); err != nil {
		return "", err
	}
	select {
	case <-g.Process.Done():
	case <-ctx.Done():
	}
	return g.Diverted.dumped(), nil
}

// isGo reports whether a file is a program that Go's linker made.
func isGo(file string) bool {
	f, err := elf.Open(file)
	if err != nil {
		return false
	}
	found := f.Section(".go.buildinfo") != nil
	_ = f.Close() // it was only read
	return found
}

// goroutine is one of a dump.
type goroutine struct {
	id      int
	running bool
	stack   []Frame
}

var (
	goroutineLine = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^goroutine (\d+) .*\[([^\]]*)\]:$`)
	})
	placeLine = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^\t(.*):(\d+)(?: \+0x[0-9a-f]+.*)?$`)
	})
)

// parseDump reads what Go's runtime prints of all goroutines: a line with the function and one with its place, for each
// frame.
func parseDump(text string) []goroutine {
	var found []goroutine
	function, skip := "", true
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if head := goroutineLine().FindStringSubmatch(line); head != nil {
			id, err := strconv.Atoi(head[1])
			state, _, _ := strings.Cut(head[2], ",")
			found = append(found, goroutine{id: id, running: state == "running" || state == "runnable"})
			skip = err != nil
			continue
		}
		place := placeLine().FindStringSubmatch(line)
		switch {
		case line == "" || strings.HasPrefix(line, "created by "):
			skip = true // to the next goroutine
		case skip:
		case place == nil:
			function = line
			if at := strings.LastIndexByte(line, '('); at > 0 {
				function = line[:at]
			}
		case function != "":
			g := &found[len(found)-1]
			number, _ := strconv.Atoi(place[2]) // digits; one that is too large is none
			g.stack = append(g.stack, Frame{Function: function, File: place[1], Line: number})
			function = ""
		}
	}
	return found
}

// pick returns the stack of the handler: of a goroutine that runs, else of the one that the worker called, else of the
// oldest with code of the user.
func (g *Goroutines) pick(all []goroutine) []Frame {
	var best []Frame
	bestRank := 0
	order := make([]*goroutine, len(all)) // sorting pointers links less than sorting goroutines
	for i := range all {
		order[i] = &all[i]
	}
	slices.SortFunc(order, func(a, b *goroutine) int { return a.id - b.id })
	for _, one := range order {
		stack, called := g.cut(one.stack)
		if len(stack) == 0 {
			continue
		}
		rank := 1
		if called {
			rank = 2
		}
		if one.running {
			rank += 2
		}
		if rank > bestRank {
			best, bestRank = stack, rank
		}
	}
	return best
}

// cut returns what is the function's of a stack, up to the frame of the worker that called it; called says that there
// is one.
func (g *Goroutines) cut(stack []Frame) (cut []Frame, called bool) {
	oldest := 0
	for _, f := range stack {
		if called = slices.ContainsFunc(g.Worker, func(s string) bool { return strings.HasPrefix(f.Function, s) }); called {
			break
		}
		if hidden(f.Function) && oldest == 0 {
			continue // how the runtime stops a goroutine
		}
		f.User = isUsers(f)
		cut = append(cut, f)
		if f.User {
			oldest = len(cut)
		}
	}
	return cut[:oldest:oldest], called
}

// hidden reports whether a function is one of those that every goroutine that waits or is stopped has on top.
func hidden(function string) bool {
	return strings.HasPrefix(function, "runtime.") || strings.HasPrefix(function, "internal/runtime/")
}

// isUsers reports whether a function is in a module of the user's: neither in the standard library, nor in what the
// module cache or a folder vendor hold.
func isUsers(f Frame) bool {
	if strings.Contains(f.File, "/vendor/") || strings.Contains(f.File, "@v") {
		return false
	}
	slash := strings.LastIndexByte(f.Function, '/')
	name, _, _ := strings.Cut(f.Function[slash+1:], ".")
	path := f.Function[:slash+1] + name
	first, _, _ := strings.Cut(path, "/")
	return path == "main" || !slices.Contains(standard, first)
}

// standard are the first elements of the import paths of the standard library.
var standard = strings.Fields("archive bufio bytes cmp compress container context crypto database debug embed encoding " +
	"errors expvar flag fmt go hash html image index internal io iter log maps math mime net os path plugin reflect " +
	"regexp runtime simd slices sort strconv strings structs sync syscall testing text time type unicode unique unsafe " +
	"vendor weak")

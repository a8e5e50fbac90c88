package check

import (
	"context"
	"fmt"
	"gantry/extension"
	"gantry/process"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stopTime is what an extension has for its stop: the last quarter of an agent's.
func (k *Kit) stopTime() time.Duration { return k.cfg.Shutdown / 4 }

// end stops the extension as an agent does, and makes the checks of that. during names the check in which it ended, if
// it has.
func (k *Kit) end(end time.Time, during string) {
	left := time.Until(end)
	quiet, cancel := context.WithTimeout(context.Background(), min(left/8, time.Second))
	defer cancel()
	how, gone := k.gone()
	if !gone {
		k.host.Quiet(quiet)
		k.stream.Flush(quiet)
	}
	began := time.Now()
	deadline := began.Add(min(k.stopTime(), time.Until(end)/2))
	ended := k.watchEnd()
	k.host.Stop(deadline, extension.ReasonSpindown)
	lost, cancelLost := context.WithTimeout(context.Background(), min(time.Until(end)/4, time.Second))
	defer cancelLost()
	k.stream.Close(lost)
	k.report.add(named(checkStays, k.checkStays(how, gone, during)))
	k.report.add(named(checkNotice, k.checkNotice(gone)))
	f := named(checkEnd, k.checkEnd(began, deadline, <-ended, gone))
	f.took = time.Since(began)
	k.report.add(f)
	k.report.add(named(checkLeftovers, k.checkLeftovers(end)))
	k.api.Close()
	k.sink.Close(time.Now().Add(min(time.Until(end)/2, time.Second)))
	k.report.add(named(checkOutput, k.checkOutput()))
	k.supervisor.Close()
}

// watchEnd hands over when the process was gone; the zero time if there never was one.
func (k *Kit) watchEnd() <-chan time.Time {
	at := make(chan time.Time, 1)
	k.mu.Lock()
	p := k.proc
	k.mu.Unlock()
	if p == nil {
		at <- time.Time{}
		return at
	}
	go func() {
		<-p.Exited()
		at <- time.Now()
	}()
	return at
}

func (k *Kit) checkStays(how string, gone bool, during string) finding {
	k.mu.Lock()
	p := k.proc
	k.mu.Unlock()
	switch {
	case p == nil:
		return skipped("it was not started")
	case gone:
		return failed("stay in the foreground until TERM", "it ended by itself, during %q: %s%s", during, how, k.quote())
	}
	return passed("it ran until it was stopped")
}

func (k *Kit) checkNotice(gone bool) finding {
	r := k.seen()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case r == nil:
		return skipped("it is not registered")
	case !r.notice:
		return skipped("it did not ask for SHUTDOWN")
	case gone:
		return skipped("it has ended")
	case k.notice == nil: // it ended just before
		return failed("stay until TERM", "it was not there any more")
	case k.notice.err != nil:
		return failed(
			"answer POST /extension/shutdown with 2xx, soon",
			"not answered: %s",
			strings.Replace(inWords(k.notice.err), " within 2 s", " after "+shortTime(k.notice.took), 1),
		)
	}
	return passed("answered in %s", shortTime(k.notice.took))
}

func (k *Kit) checkEnd(began, deadline, ended time.Time, gone bool) finding {
	k.mu.Lock()
	p := k.proc
	if k.notice != nil {
		began = k.notice.at
	}
	k.mu.Unlock()
	switch {
	case p == nil:
		return skipped("it was not started")
	case gone:
		return skipped("it had ended by itself")
	}
	exit, after := p.Exit(), max(0, ended.Sub(began))
	used := fmt.Sprintf("it used %s of processor time and %d MB at most", shortTime(exit.CPU), exit.PeakRSS>>20)
	seen := fmt.Sprintf("%s, %s after TERM; %s", exit, shortTime(after), used)
	switch {
	case exit.Signal == unix.SIGKILL:
		return failed(
			fmt.Sprintf("end on TERM; there are %s for notice and end", shortTime(k.stopTime())),
			"it did not end on TERM, and was killed after %s",
			shortTime(deadline.Sub(began)),
		)
	case exit.Signal == unix.SIGTERM:
		return passed("ended by TERM, %s after it; %s", shortTime(after), used)
	case exit.Signal != 0:
		return failed("end on TERM", "%s", seen)
	case exit.Code != 0:
		return warned("exit code 0 after a stop", "%s", seen)
	case after > k.stopTime()/2:
		return warned("end sooner: the function's container waits", "%s", seen)
	}
	return passed("%s", seen)
}

// leftTime is how long after the extension's end processes outside of its group may still be there.
const leftTime = 500 * time.Millisecond

// checkLeftovers looks for processes that outlived the extension, and ends those outside of its group.
func (k *Kit) checkLeftovers(end time.Time) finding {
	ctx, cancel := context.WithDeadline(context.Background(), end.Add(-time.Until(end)/2))
	defer cancel()
	k.mu.Lock()
	p := k.proc
	k.mu.Unlock()
	if p == nil {
		return skipped("it was not started")
	}
	strangers := k.supervisor.Strangers(ctx)
	for began := time.Now(); len(strangers) > 0 && time.Since(began) < leftTime && pause(ctx, 10*time.Millisecond); {
		strangers = k.supervisor.Strangers(ctx)
	}
	if len(strangers) > 0 {
		k.supervisor.EndStrangers(ctx)
		return failed(
			"keep children in the extension's process group, and wait for them at its end",
			"outside of its group, where no stop reaches them: %s",
			listLeft(strangers),
		)
	}
	if left := p.Left(); len(left) > 0 {
		return warned(
			"end the children first, or exec the program as the last line of the script",
			"still at work when it ended, and killed at once: %s",
			listLeft(left),
		)
	}
	return passed("no process is left")
}

func listLeft(left []process.Leftover) string {
	var names []string
	for _, l := range left {
		names = append(names, fmt.Sprintf("%s (%d)", l.Name, l.PID))
	}
	return strings.Join(names, ", ")
}

// Output beyond these is a lot, for each call; calmStart is free, in lines.
const (
	manyLines, manyBytes = 10, 4 << 10
	calmStart            = 100
)

func (k *Kit) checkOutput() finding {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen := fmt.Sprintf("%d lines, %d bytes, for %d calls", k.lines, k.bytes, k.calls)
	if k.parts > 0 {
		seen += fmt.Sprintf("; %d parts of lines over 64 KiB", k.parts)
	}
	calls := max(k.calls, 1)
	if k.lines > calmStart+manyLines*calls || k.bytes > calmStart*100+manyBytes*calls {
		return warned("print little: it all goes into the function's log", "%s", seen)
	}
	return passed("%s", seen)
}

// Names of the checks of the end.
const (
	checkStays     = "keeps running"
	checkNotice    = "shutdown notice"
	checkEnd       = "end"
	checkLeftovers = "leftovers"
	checkOutput    = "output"
)

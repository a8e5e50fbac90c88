// Package check is the reference test kit for extensions: it runs one extension alone, as an agent does, and reports
// what it does right and wrong. Command "bootstrap check" uses it.
package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/extension"
	"gantry/fault"
	"gantry/logger"
	"gantry/metrics"
	"gantry/process"
	"gantry/telemetry"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// Kit is what an agent has around its extensions, with one extension, and what was seen of it. There is no function
// and no worker: the calls are made up. Use Open, then Run once. Every group of checks reads what the others have
// seen, so all of it is here.
type Kit struct {
	cfg        *Config
	file       *scriptFile
	passedOver *extension.PassedOver // why an agent would not start the file
	report     *report
	stream     *telemetry.Stream
	metrics    *metrics.Metrics
	supervisor *process.Supervisor
	sink       *logger.Sink
	host       *extension.Host
	api        Listener

	registered chan struct{} // closed with the first registration that was taken
	rejected   chan struct{} // closed with the first one that was refused
	// blocked is why the checks that need a running, registered extension make no sense any more.
	blocked string
	mute    bool // it answered no call
	calls   int  // that it was notified of

	mu            sync.Mutex
	proc          *process.Process
	startErr      error
	registration  *registrationSeen // the one that was taken
	refused       []string
	intruding     bool // the kit itself registers
	subscriptions []string
	batches       []batchSeen
	notice        *noticeSeen
	lines, bytes  int // of its output
	parts         int // of lines that were too long
	last          []string
}

// registrationSeen is the registration that was taken.
type registrationSeen struct {
	extension.Registration
	at             time.Time
	listened       bool // when it registered
	invoke, notice bool
	sync           bool
}

// batchSeen is one attempt to deliver telemetry.
type batchSeen struct {
	events, bytes int
	took          time.Duration
	err           error
}

// noticeSeen is the answer to the shutdown notice.
type noticeSeen struct {
	at   time.Time
	took time.Duration
	err  error
}

func (k *Kit) observer() extension.Observer {
	return extension.Observer{
		Started: func(_ extension.Script, p *process.Process, err error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.proc, k.startErr = p, err
		},
		Registered: k.seeRegistration,
		Subscribed: func(_ string, err error) {
			if err != nil {
				k.mu.Lock()
				defer k.mu.Unlock()
				k.subscriptions = append(k.subscriptions, refusal(err))
			}
		},
		Batch: func(batch []byte, took time.Duration, err error) {
			var events []json.RawMessage
			if jsonErr := json.Unmarshal(batch, &events); jsonErr != nil { // our own mistake
				err = errors.Join(err, jsonErr)
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			k.batches = append(k.batches, batchSeen{len(events), len(batch), took, err})
		},
		Noticed: func(_ string, took time.Duration, err error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.notice = &noticeSeen{time.Now(), took, err}
		},
	}
}

func refusal(err error) string {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return f.Type + ": " + f.Message
	}
	return err.Error()
}

func (k *Kit) seeRegistration(r extension.Registration, err error) {
	listened := err == nil && listens(r.Address)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.intruding:
	case err != nil:
		if len(k.refused) == 0 {
			close(k.rejected)
		}
		k.refused = append(k.refused, refusal(err))
	case k.registration == nil:
		k.registration = &registrationSeen{Registration: r, at: time.Now(), listened: listened}
		k.registration.invoke, k.registration.notice, k.registration.sync = r.Wants()
		close(k.registered)
	}
}

// dialLimit bounds the probe of an address; on loopback the kernel answers at once.
const dialLimit = 200 * time.Millisecond

func listens(address string) bool {
	addr, err := extension.ParseAddress(trim(address))
	if err != nil {
		return false
	}
	conn, err := net.DialTimeout("tcp", addr.String(), dialLimit)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// keptLines is how many lines of the extension findings may quote.
const keptLines = 3

// line is the sink's tap: it sees every line of the extension.
func (k *Kit) line(l *logger.Line) {
	k.stream.Line(l)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bytes += len(l.Text) + 1
	if l.More {
		k.parts++
		return
	}
	k.lines++
	k.last = append(k.last, string(l.Text[:min(len(l.Text), 200)]))
	if len(k.last) > keptLines {
		k.last = slices.Delete(k.last, 0, 1)
	}
}

// printed returns the number of lines so far.
func (k *Kit) printed() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lines
}

// gone says how the extension ended, if it has.
func (k *Kit) gone() (how string, gone bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proc == nil {
		return "", false
	}
	select {
	case <-k.proc.Exited():
		return k.proc.Exit().String(), true
	default:
		return "", false
	}
}

// quote is what the extension printed last, for a finding about its end.
func (k *Kit) quote() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.last) == 0 {
		return "; it had printed nothing"
	}
	return fmt.Sprintf("; its last words: %q", k.last)
}

// seen returns the registration, or nil.
func (k *Kit) seen() *registrationSeen {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.registration
}

// batchesSince returns a copy of the attempts to deliver telemetry, without the first n.
func (k *Kit) batchesSince(n int) []batchSeen {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.batches[n:])
}

// replyLimit is how long one round of calls may take: the agent waits 2 s for an answer, and tries refused connections
// again.
const replyLimit = 3 * time.Second

// answers is what became of the notifications of some calls.
type answers struct {
	took    []time.Duration // of those that were good
	failed  int
	err     error // the last one
	missing int   // neither answered nor given up: still waiting, or dropped
}

func (a *answers) add(b *answers) {
	a.took = append(a.took, b.took...)
	a.failed += b.failed
	a.missing += b.missing
	if b.err != nil {
		a.err = b.err
	}
}

// median and most of what they took.
func (a *answers) median() time.Duration {
	slices.Sort(a.took)
	return a.took[len(a.took)/2]
}

func (a *answers) most() time.Duration { return slices.Max(a.took) }

// ask makes n calls at once, as an agent does it, and waits for the answers until limit.
func (k *Kit) ask(ctx context.Context, n int, limit time.Duration) *answers {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ids := make([]string, n)
	var calling sync.WaitGroup
	for i := range ids {
		calling.Go(func() { ids[i] = k.call() })
	}
	calling.Wait()
	k.calls += n
	k.host.Quiet(ctx)
	k.stream.Idle()
	a := &answers{}
	for _, id := range ids {
		costs := k.host.Costs(id)
		if len(costs) == 0 {
			a.missing++
		}
		for _, c := range costs {
			if c.Err == nil {
				a.took = append(a.took, c.Took)
				continue
			}
			a.failed++
			a.err = c.Err
		}
	}
	return a
}

// call notifies the extension of one call and publishes the telemetry events of a function that prints one line. With
// an extension in sync mode it waits for the answer.
func (k *Kit) call() string {
	id := uuid.NewString()
	inv := &fncontext.Invocation{RequestID: id, Function: k.cfg.Function}
	inv.Trace.Parent = "00-" + uuidHex() + "-" + uuidHex()[:16] + "-01"
	k.host.Notify(&fncontext.Call{Invocation: inv, Deadline: time.Now().Add(k.cfg.Function.Timeout)})
	began := time.Now()
	k.stream.Publish(&telemetry.Event{Kind: telemetry.Start, Begin: began, RequestID: id})
	k.functionLine(id, []byte("a line of the function"))
	k.stream.Publish(
		&telemetry.Event{Kind: telemetry.RuntimeDone, Begin: began, RequestID: id, Status: telemetry.StatusSuccess},
	)
	k.stream.Publish(&telemetry.Event{
		Kind:      telemetry.Report,
		Begin:     began,
		End:       time.Now(),
		RequestID: id,
		Status:    telemetry.StatusSuccess,
		Figures: &telemetry.Figures{
			Duration:   time.Millisecond,
			Billed:     time.Millisecond,
			MemoryMB:   k.cfg.Function.MemoryMB,
			MemoryUsed: 32,
		},
	})
	return id
}

func (k *Kit) functionLine(id string, text []byte) {
	k.stream.Line(
		&logger.Line{Time: time.Now(), RequestID: id, Source: logger.SourceFunction, Stream: "stdout", Text: text},
	)
}

func uuidHex() string {
	id := uuid.New()
	return fmt.Sprintf("%x", id[:])
}

// inWords says why a request to the extension failed.
func inWords(err error) string {
	if errors.Is(err, fasthttp.ErrTimeout) {
		return "no answer within 2 s"
	}
	return extension.NoAnswer(err)
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Config describes one run of the kit. All fields but Log are needed.
type Config struct {
	// Extension is the absolute path of the extension's file.
	Extension string
	// Function is what the extension learns of the function when it registers.
	Function *fncontext.Function
	// Env is the extension's whole environment, as NAME=value.
	Env []string
	// UID and GID are those of the extension's process.
	UID, GID int
	// Wait is how long the extension may take to register; Shutdown is GANTRY_SHUTDOWN_TIMEOUT of the agent that the kit
	// stands for. An extension has a quarter of it.
	Wait, Shutdown time.Duration
	// Listen opens the extension API for host. An error of it is the error of Open.
	Listen func(host *extension.Host) (Listener, error)
	// Findings gets a line for each finding; Output gets the first 256 KiB that the extension prints.
	Findings, Output io.Writer
	// Color marks the verdicts of Findings with the colours of a terminal.
	Color bool
	// Log gets what an agent would log of the extension; nil for nothing.
	Log *zap.Logger
}

// Listener is the extension API, as package api serves it. Close ends Serve.
type Listener interface {
	Addr() net.Addr
	Serve() error
	Close()
}

// errTooLong is the cause of a context that --timeout ended.
var errTooLong = errors.New("--timeout has passed")

func trim(s string) string { return strings.TrimSpace(s) }

func portOf(address string) int {
	addr, err := extension.ParseAddress(trim(address))
	if err != nil { // it was taken before
		return extension.FirstPort
	}
	return int(addr.Port())
}

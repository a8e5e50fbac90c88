package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// rpcLink is the transport to a program that was built with the platform's Go SDK: it listens on RUNTIME_API_ADDR and
// serves Go's net/rpc over HTTP there. Many calls share one connection.
type rpcLink struct {
	calls
	addr string

	ended  context.Context // with the worker, or with the choice of another transport
	end    context.CancelFunc
	served sync.WaitGroup
	client atomic.Pointer[rpcClient]
	conn   atomic.Pointer[boundedConn]
	// takenUp asks whether this is the transport that the program has taken up.
	takenUp func() bool
}

// newRPC chooses the address that the program is to listen on.
func newRPC(w *Worker) (*rpcLink, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	l := &rpcLink{calls: calls{worker: w}, addr: addr, takenUp: func() bool { return true }}
	l.ended, l.end = context.WithCancel(context.Background())
	l.served.Add(1)
	return l, nil
}

// freeAddr finds a free loopback port. It lies outside of the range that the kernel takes for outgoing
// connections: one of those could take it before the program does, or even connect to itself.
func freeAddr() (string, error) {
	low, high := 1<<15, 61000
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(text), &low, &high) // or the kernel's default stays
	}
	const first, last = 10000, 65535
	var err error
	for range 100 {
		port := first + rand.N(last-first+1)
		if port >= low && port <= high && (low > first || high < last) {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		var ln net.Listener
		if ln, err = net.Listen("tcp", addr); err == nil {
			return addr, ln.Close()
		}
	}
	return "", fmt.Errorf("no free port for the function on 127.0.0.1: %w", err)
}

// Pauses between two looks whether the program listens. A refused connection on loopback costs some microseconds.
const (
	firstDialPause = time.Millisecond
	maxDialPause   = 20 * time.Millisecond
)

// dial connects as soon as the program listens; an error says that it never will.
func (l *rpcLink) dial() (*rpcClient, error) {
	for pause := firstDialPause; ; pause = min(pause*3/2, maxDialPause) {
		client, err := l.connect()
		if err == nil {
			return client, nil
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			l.worker.setLoadError(err)
		}
		select {
		case <-time.After(pause):
		case <-l.ended.Done():
			return nil, err
		}
	}
}

// rpcPath is Go's default, and rpcConnected the status that its server answers with.
const (
	rpcPath      = "/_goRPC_"
	rpcConnected = "HTTP/1.0 200 Connected to Go RPC"
)

// connect does what rpc.DialHTTP does, within limits.
func (l *rpcLink) connect() (*rpcClient, error) {
	conn, err := (&net.Dialer{}).DialContext(l.ended, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	if conn.LocalAddr().String() == conn.RemoteAddr().String() { // connected to itself
		return nil, errors.Join(errors.New("no process listens on "+l.addr), conn.Close())
	}
	stop := context.AfterFunc(l.ended, func() { _ = conn.Close() })
	defer stop()
	if _, err = io.WriteString(conn, "CONNECT "+rpcPath+" HTTP/1.0\n\n"); err == nil {
		err = readConnected(conn)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is no function of the platform's Go SDK: %w", l.addr, err), conn.Close())
	}
	bounded := &boundedConn{Conn: conn, limit: uint64(l.worker.cfg.Function.MaxResponse) + gobSlack}
	l.conn.Store(bounded)
	return newRPCClient(bounded), nil
}

// readConnected reads the answer byte by byte: what follows it belongs to the calls.
func readConnected(r io.Reader) error {
	var head []byte
	b := make([]byte, 1)
	for !bytes.HasSuffix(head, []byte("\n\n")) && !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if len(head) > 1<<10 {
			return errors.New("its answer to CONNECT has no end")
		}
		if _, err := r.Read(b); err != nil {
			return err
		}
		head = append(head, b[0])
	}
	if !bytes.HasPrefix(head, []byte(rpcConnected)) {
		return fmt.Errorf("it answered CONNECT with %.100q", head)
	}
	return nil
}

// serve waits until the program listens; that is the end of its load.
func (l *rpcLink) serve() {
	defer l.served.Done()
	client, err := l.dial()
	if err != nil {
		return // the worker's end says why
	}
	if !l.takenUp() {
		_ = client.Close()
		return
	}
	l.client.Store(client)
	if !l.worker.cfg.Encrypted.Empty() {
		l.worker.cfg.Log.Warn(
			"the function does not get its encrypted user variables: a program of the platform's Go SDK reads them from its environment only; use package gantry/function, or RUNTIME_USERDATA",
			zap.String("setting", "GANTRY_ENCRYPTED_USERDATA"),
		)
	}
	l.worker.recordHello(&helloMeta{Concurrency: true})
	l.worker.loadEnded(nil)
}

// Init implements Transport: the SDK has no initializer.
func (l *rpcLink) Init(context.Context, *fncontext.Call, *logger.Request) error {
	return &fault.Error{
		Kind:    fault.Init,
		Type:    "FunctionConfigError",
		Code:    fault.CodeInitializer,
		Final:   true,
		Message: "function initialization exception, error: functions built with the platform's Go SDK have no initializer: unset RUNTIME_INITIALIZER_HANDLER",
	}
}

// PreStop implements Transport; it is never called.
func (l *rpcLink) PreStop(context.Context, *fncontext.Call, *logger.Request) error { return nil }

// Invoke implements Transport. The SDK refuses an empty event, which gob cannot carry: it is sent as {}.
func (l *rpcLink) Invoke(ctx context.Context, inv *fncontext.Call, event []byte, log *logger.Request) (Result, error) {
	if err := checkMeta(inv.Invocation); err != nil { // as over frames: a Go program may speak either
		return Result{}, err
	}
	c, _, err := l.begin(inv, log)
	if err != nil {
		return Result{}, err
	}
	if len(event) == 0 {
		event = []byte("{}")
	}
	// In a goroutine of its own, with an event of its own: a program that does not read would hold the caller beyond its
	// deadline.
	go l.exchange(c.id, &rpcRequest{Payload: bytes.Clone(event), Header: platformHeaders(inv.Invocation)})
	return l.await(ctx, c, inv, func(uint32) {})
}

// exchange makes one call to its end.
func (l *rpcLink) exchange(id uint32, request *rpcRequest) {
	response, refused, err := l.client.Load().call("Function.Invoke", request)
	switch {
	case err == nil:
		l.readOutput()
		l.answer(id, l.reply(response, refused))
	case errors.Is(err, errRPCEnded):
		l.unsent([]uint32{id}, 0)
	case l.conn.Load().over.Load():
		if errors.Is(err, errRPCBody) { // the message above the limit is this call's answer
			l.readOutput()
			l.answer(id, reply{err: tooLargeFault(-1, l.worker.cfg.Function.MaxResponse)})
		}
		l.kill(l.conn.Load().err)
	default:
		l.lost(err)
	}
}

// reply reads an answer; refused is the error's text, of which nothing else travels.
func (l *rpcLink) reply(response *rpcResponse, refused string) reply {
	limit := l.worker.cfg.Function.MaxResponse
	switch {
	case refused != "":
		return reply{err: sdkFault(refused)}
	case len(response.Payload) > limit:
		return reply{err: tooLargeFault(len(response.Payload), limit)}
	}
	return reply{result: Result{Body: response.Payload, Text: !isDocument(response.Payload)}}
}

// lost follows the end of the connection: the program ends too, if need be by force, and with it every call.
func (l *rpcLink) lost(err error) {
	select {
	case <-l.worker.gone:
		return
	case <-time.After(silentGrace):
	}
	l.kill(err)
}

// kill ends a program whose answers cannot be read any more.
func (l *rpcLink) kill(err error) {
	l.worker.distrust(err)
	if err := l.worker.proc.Kill(); err != nil {
		l.worker.cfg.Log.Error("worker not killed", zap.Error(err))
	}
}

// sdkFault reads the error text of the platform's Go SDK (spec in docs/COMPATIBILITY.md).
func sdkFault(text string) *fault.Error {
	f := &fault.Error{
		Kind:    fault.Function,
		Type:    "FunctionReturnError",
		Code:    fault.CodeEntry,
		Body:    []byte(text),
		Message: "the function answered an error",
	}
	var body struct {
		Type string `json:"errorType"`
	}
	if json.Unmarshal(f.Body, &body) == nil && body.Type != "" { // else it is plain text
		f.Type = body.Type
	}
	switch f.Type {
	case "panic":
		f.Code = fault.CodeInvocation
	case "FunctionResponseTooLarge":
		f.Code = fault.CodeResultSize
	}
	return f
}

// Close implements Transport: TERM follows, and ends the program.
func (l *rpcLink) Close() error { return nil }

func (l *rpcLink) drain() {
	l.end()
	l.served.Wait()
}

func (l *rpcLink) fail(death *fault.Error) {
	l.end()
	l.calls.fail(death) // first: calls that were sent do not count as unsent
	if client := l.client.Load(); client != nil {
		_ = client.Close() // an error says that the connection is closed already
	}
}

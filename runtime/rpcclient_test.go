package runtime

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Function is served by package net/rpc itself.
type Function struct{}

// SDKRequest and SDKResponse have the members of rpcRequest and rpcResponse: the package serves exported types only.
type (
	SDKRequest  rpcRequest
	SDKResponse rpcResponse
)

// Invoke answers with its payload, or refuses the call with it.
func (Function) Invoke(in *SDKRequest, out *SDKResponse) error {
	if in.Header["Fail"] != nil {
		return errors.New(string(in.Payload))
	}
	out.StatusCode, out.Payload = 200, append([]byte("got "), in.Payload...)
	return nil
}

func serveRPC(t *testing.T) (client *rpcClient, other net.Conn) {
	t.Helper()
	server := rpc.NewServer()
	require.NoError(t, server.Register(Function{}))
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = theirs.Close() })
	go server.ServeConn(theirs)
	client = newRPCClient(ours)
	t.Cleanup(func() { _ = client.Close() })
	return client, theirs
}

func TestRPCClientMatchesAnswersOfNetRPCToCallsAtTheSameTime(t *testing.T) {
	t.Parallel()
	client, _ := serveRPC(t)
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			text := fmt.Sprint("call ", i)
			request := &rpcRequest{Payload: []byte(text)}
			if i%3 == 0 {
				request.Header = map[string][]string{"Fail": {"yes"}}
			}
			response, refused, err := client.call("Function.Invoke", request)
			if err != nil {
				t.Error(err)
				return
			}
			if i%3 == 0 && refused != text || i%3 != 0 && (refused != "" || string(response.Payload) != "got "+text) {
				t.Errorf("call %d: answer %q, refused %q", i, response.Payload, refused)
			}
		})
	}
	calls.Wait()
}

func TestRPCClientReportsAnUnknownMethodOfNetRPC(t *testing.T) {
	t.Parallel()
	client, _ := serveRPC(t)
	_, refused, err := client.call("Function.Missing", &rpcRequest{Payload: []byte("x")})
	require.NoError(t, err)
	require.Contains(t, refused, "can't find method")
}

func TestRPCClientSendsNothingOnceItsConnectionHasEnded(t *testing.T) {
	t.Parallel()
	client, other := serveRPC(t)
	_, _, err := client.call("Function.Invoke", &rpcRequest{Payload: []byte("x")})
	require.NoError(t, err)
	require.NoError(t, other.Close())
	require.Eventually(t, func() bool {
		_, _, err = client.call("Function.Invoke", &rpcRequest{Payload: []byte("y")})
		return errors.Is(err, errRPCEnded)
	}, 10*time.Second, time.Millisecond, "calls after the end are not reported as unsent")
}

package runtime

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
)

// rpcClient makes calls as the client of net/rpc does. That package has a web page of templates, which would be linked
// with it, and parsed at every start.
type rpcClient struct {
	conn io.ReadWriteCloser

	sending sync.Mutex
	out     *bufio.Writer
	enc     *gob.Encoder

	mu      sync.Mutex
	pending map[uint64]*rpcCall // by sequence number
	seq     uint64
	end     error // why there are no more calls
}

// rpcCall is one that waits for its answer.
type rpcCall struct {
	response *rpcResponse
	refused  string
	done     chan error
}

// rpcRequest and rpcResponse are what travels; gob goes by the names of the members.
type rpcRequest struct {
	Payload []byte
	Header  map[string][]string
}

type rpcResponse struct {
	StatusCode int
	Payload    []byte
}

// rpcRequestHead and rpcResponseHead precede what belongs to a call.
type rpcRequestHead struct {
	ServiceMethod string
	Seq           uint64
}

type rpcResponseHead struct {
	ServiceMethod string
	Seq           uint64
	Error         string
}

// errRPCEnded says that a call was not sent, because the connection had ended.
var errRPCEnded = errors.New("the connection has ended")

// errRPCBody says that the head of an answer came, and that the rest cannot be read.
var errRPCBody = errors.New("read the body of an answer")

// newRPCClient returns a client over conn, which it closes when it cannot be read any more.
func newRPCClient(conn io.ReadWriteCloser) *rpcClient {
	c := &rpcClient{conn: conn, out: bufio.NewWriter(conn), pending: map[uint64]*rpcCall{}}
	c.enc = gob.NewEncoder(c.out)
	go c.read()
	return c
}

// call sends a request and waits for the answer. refused is the text of the function's error. The error is errRPCEnded
// if nothing was sent, errRPCBody if this call's answer is what cannot be read, or else why the connection ended.
func (c *rpcClient) call(method string, request *rpcRequest) (response *rpcResponse, refused string, err error) {
	call := &rpcCall{response: &rpcResponse{}, done: make(chan error, 1)}
	if err := c.send(method, request, call); err != nil {
		return nil, "", err
	}
	err = <-call.done
	return call.response, call.refused, err
}

func (c *rpcClient) send(method string, request *rpcRequest, call *rpcCall) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	if c.end != nil {
		c.mu.Unlock()
		return errRPCEnded
	}
	c.seq++
	head := rpcRequestHead{method, c.seq}
	c.pending[head.Seq] = call
	c.mu.Unlock()
	err := c.enc.Encode(&head)
	if err == nil {
		err = c.enc.Encode(request)
	}
	if err == nil {
		err = c.out.Flush()
	}
	if err != nil { // the stream is of no use any more: read ends, and with it every call
		_ = c.conn.Close()
	}
	return nil
}

// read takes answers until the connection ends.
func (c *rpcClient) read() {
	dec := gob.NewDecoder(bufio.NewReader(c.conn))
	var err error
	for err == nil {
		err = c.next(dec)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	c.mu.Lock()
	c.end = err
	waiting := c.pending
	c.pending = nil
	c.mu.Unlock()
	for _, call := range waiting {
		call.done <- err
	}
	_ = c.conn.Close() // an error says that it is closed already
}

// next takes one answer.
func (c *rpcClient) next(dec *gob.Decoder) error {
	var head rpcResponseHead
	if err := dec.Decode(&head); err != nil {
		return err
	}
	c.mu.Lock()
	call := c.pending[head.Seq]
	delete(c.pending, head.Seq)
	c.mu.Unlock()
	if call == nil {
		return fmt.Errorf("an answer to call %d, which does not wait for one", head.Seq)
	}
	var err error
	if call.refused = head.Error; head.Error != "" {
		err = dec.DecodeValue(reflect.Value{}) // an empty value stands for the answer
	} else {
		err = dec.Decode(call.response)
	}
	if err != nil { // which the other calls learn without the mark
		call.done <- fmt.Errorf("%w: %w", errRPCBody, err)
		return err
	}
	call.done <- nil
	return nil
}

// Close ends the connection, and with it every call.
func (c *rpcClient) Close() error { return c.conn.Close() }

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/jetstream/control"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// agentLink is the connection to the agent.
type agentLink struct {
	pid  int // the agent's
	file *os.File
	in   *bufio.Reader
}

// openControl takes descriptor 3. False if no parent has put a socket there.
func openAgentLink() (*agentLink, bool) {
	peer, err := unix.GetsockoptUcred(control.FD, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Pid) != os.Getppid() {
		return nil, false
	}
	file := os.NewFile(control.FD, "control")
	return &agentLink{pid: int(peer.Pid), file: file, in: bufio.NewReader(io.LimitReader(file, control.MaxLine))}, true
}

func (c *agentLink) config() (*control.Config, error) {
	line, err := c.in.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the agent's line cannot be read: %w", err)
	}
	var cfg control.Config
	if err := json.Unmarshal(line, &cfg); err != nil {
		return nil, errors.New("the agent's line is no JSON of ours") // its text would show the password
	}
	if cfg.Store == "" || cfg.Socket == "" || cfg.Password == "" {
		return nil, errors.New("the agent's line lacks store, socket or password")
	}
	return &cfg, nil
}

// answer reports to the agent that the store is ready, or why it is not. An error is ignored: the agent may be gone.
func (c *agentLink) answer(err error) {
	a := control.Answer{Ready: err == nil}
	if err != nil {
		a.Error = err.Error()
	}
	line, err := json.Marshal(a)
	if err == nil {
		_, _ = c.file.Write(append(line, '\n'))
	}
}

// gone is closed when the agent is.
func (c *agentLink) gone() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, c.file)
		close(ended)
	}()
	return ended
}

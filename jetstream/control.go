package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// controlFD is one end of a socket pair; the agent holds the other one for its whole life.
const controlFD = 3

// maxConfig bounds the line that is read, in bytes.
const maxConfig = 64 << 10

// config is the line that the agent sends.
type config struct {
	Store    string `json:"store"`    // the folder of the messages
	Socket   string `json:"socket"`   // the path to listen on
	Password string `json:"password"` // of the user "gantry"
	MaxBytes int64  `json:"maxBytes"` // of all messages; 0 means three quarters of what the disk has free
	Debug    bool   `json:"debug"`    // notices too
}

// answer is the line that the agent gets.
type answer struct {
	Ready bool   `json:"ready,omitempty"`
	Error string `json:"error,omitempty"`
}

// control is the connection to the agent.
type control struct {
	agent int // its process id
	file  *os.File
	in    *bufio.Reader
}

// openControl takes descriptor 3. False if no parent has put a socket there.
func openControl() (*control, bool) {
	peer, err := unix.GetsockoptUcred(controlFD, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Pid) != os.Getppid() {
		return nil, false
	}
	file := os.NewFile(controlFD, "control")
	return &control{agent: int(peer.Pid), file: file, in: bufio.NewReader(io.LimitReader(file, maxConfig))}, true
}

func (c *control) config() (*config, error) {
	line, err := c.in.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the agent's line cannot be read: %w", err)
	}
	var cfg config
	if err := json.Unmarshal(line, &cfg); err != nil {
		return nil, errors.New("the agent's line is no JSON of ours") // its text would show the password
	}
	if cfg.Store == "" || cfg.Socket == "" || cfg.Password == "" {
		return nil, errors.New("the agent's line lacks store, socket or password")
	}
	return &cfg, nil
}

// answer reports to the agent that the store is ready, or why it is not. An error is ignored: the agent may be gone.
func (c *control) answer(err error) {
	a := answer{Ready: err == nil}
	if err != nil {
		a.Error = err.Error()
	}
	line, err := json.Marshal(a)
	if err == nil {
		_, _ = c.file.Write(append(line, '\n'))
	}
}

// gone is closed when the agent is.
func (c *control) gone() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, c.file)
		close(ended)
	}()
	return ended
}

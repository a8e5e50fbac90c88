// Package control is the protocol between the agent and gantry-jetstream, its child: two lines of JSON over a socket
// pair, of which each side holds one end for its whole life. The end of the connection is the end of the other side.
package control

const (
	// FD is the child's end of the socket pair.
	FD = 3
	// MaxLine bounds either line, in bytes.
	MaxLine = 64 << 10
	// User is the one user of the child's server.
	User = "gantry"
)

// Config is the line that the agent sends when it has started the child.
type Config struct {
	// Store is the folder of the messages, Socket the path to listen on.
	Store  string `json:"store"`
	Socket string `json:"socket"`
	// Password is User's.
	Password string `json:"password"`
	// MaxBytes bounds all messages together; 0 means three quarters of what the disk has free.
	MaxBytes int64 `json:"maxBytes"`
	// Debug asks for notices in the log too.
	Debug bool `json:"debug,omitempty"`
}

// Answer is the line that the child sends once it is ready, or cannot be: then Error says why.
type Answer struct {
	Ready bool   `json:"ready,omitempty"`
	Error string `json:"error,omitempty"`
}

package runtime

import (
	"fmt"
	"net"
	"sync/atomic"
)

// gobSlack is what a message of net/rpc may have beside the answer itself, in bytes: types, names of members, lengths.
const gobSlack = 64 << 10

// boundedConn is a connection of net/rpc whose other side may not send messages above a limit. encoding/gob takes
// whatever size a message claims, up to 8 GiB.
type boundedConn struct {
	net.Conn
	limit uint64

	left   uint64 // bytes of the message that is being read
	length uint64 // of the next message, as far as it is known
	digits int    // of length that are missing
	err    error
	// over is set once a message was above the limit.
	over atomic.Bool
}

// tooLong ends a connection because of a message above the limit.
type tooLong struct{ size, limit uint64 }

func (e *tooLong) Error() string {
	return fmt.Sprintf("a message of %d bytes over net/rpc is above the limit of %d", e.size, e.limit)
}

// Read passes on what belongs to messages within the limit, and fails at the length of one above it.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.Conn.Read(p)
	if passed := c.follow(p[:n]); passed < n {
		return passed, c.err
	}
	return n, err
}

// follow goes over what was read, and returns how much of it may be passed on.
func (c *boundedConn) follow(p []byte) int {
	for i := 0; i < len(p); {
		switch {
		case c.left > 0:
			skip := min(c.left, uint64(len(p)-i))
			c.left -= skip
			i += int(skip)
			continue
		case c.digits > 0:
			c.length = c.length<<8 | uint64(p[i])
			c.digits--
		case p[i] < 0x80: // gob: a small number as it is, else the negated count of the digits to base 256 that follow
			c.length = uint64(p[i])
		default:
			digits := 0x100 - int(p[i])
			if digits > 8 {
				c.err = fmt.Errorf("what came over net/rpc is no message: its length has %d digits", digits)
				return i
			}
			c.length, c.digits = 0, digits
		}
		if c.digits == 0 && c.length > c.limit {
			c.err = &tooLong{c.length, c.limit}
			c.over.Store(true)
			return i
		}
		if c.digits == 0 {
			c.left = c.length
		}
		i++
	}
	return len(p)
}

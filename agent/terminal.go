package agent

import (
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// IsTerminal reports whether what is written to f is shown to a person.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// terminal is the controlling terminal that the program was started from. The zero value is none.
type terminal struct{ had bool }

// findTerminal looks for the controlling terminal; called before SIGHUP is asked for. Where SIGHUP is ignored, as by
// nohup, the program is meant to outlive its terminal, and none is found.
func findTerminal() terminal {
	return terminal{had: !signal.Ignored(unix.SIGHUP) && openTerminal() == nil}
}

// gone reports whether the terminal has been closed: its window, or the connection it came by. SIGHUP means the end
// then, and not a reload.
func (t terminal) gone() bool {
	if !t.had {
		return false
	}
	err := openTerminal()
	return errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EIO)
}

// openTerminal asks the kernel for the controlling terminal, which it takes away from every process of the session when
// the terminal hangs up.
func openTerminal() error {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

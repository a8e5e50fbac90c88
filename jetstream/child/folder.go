package child

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// maxSocketPath is the kernel's limit for the path of a socket, in bytes.
const maxSocketPath = 107

// prepare makes the folders and chooses the path of the socket.
func (c *Child) prepare() error {
	program, err := filepath.Abs(c.cfg.Program)
	if err != nil {
		return err
	}
	folder, err := filepath.Abs(c.cfg.Folder)
	if err != nil {
		return err
	}
	c.cfg.Program, c.cfg.Folder = program, folder
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist: put %s, which keeps asynchronous calls, beside bootstrap", program, name)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("the folder %s for asynchronous calls cannot be made: %w", folder, err)
	}
	if err := c.protected(c.store()); err != nil {
		return err
	}
	return c.place()
}

// protected makes a folder for the agent's user only. The one that it lies in may be others' too, like a volume's root.
func (c *Child) protected(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the folder %s for asynchronous calls cannot be written: %w", c.cfg.Folder, err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("the folder %s for asynchronous calls cannot be protected: %w", c.cfg.Folder, err)
	}
	return nil
}

// store is where the messages lie.
func (c *Child) store() string { return filepath.Join(c.cfg.Folder, "store") }

// place chooses the path of the socket: in the folder, or where its path is short enough.
func (c *Child) place() error {
	run := filepath.Join(c.cfg.Folder, "run")
	c.socket = filepath.Join(run, "socket")
	if len(c.socket) <= maxSocketPath {
		return c.protected(run)
	}
	c.displace() // of a former process; a job that tidies up temporary folders may have removed it
	own, err := os.MkdirTemp("", "gantry-")
	if err != nil {
		return fmt.Errorf("%s is too long for a socket, and a shorter folder cannot be made: %w", c.cfg.Folder, err)
	}
	c.own, c.socket = own, filepath.Join(own, "socket")
	if len(c.socket) > maxSocketPath {
		c.displace()
		return fmt.Errorf("%s is too long for a socket, and so is %s", c.cfg.Folder, own)
	}
	return nil
}

// displace removes the socket's own folder.
func (c *Child) displace() {
	if c.own == "" {
		return
	}
	if err := os.RemoveAll(c.own); err != nil {
		c.cfg.Log.Warn("the folder of the socket is left behind", zap.Error(err))
	}
	c.own = ""
}

// claim takes the lock of the folder. The process inherits it: after the agent is killed, the folder is free only when
// both are gone.
func (c *Child) claim() error {
	if c.lock != nil {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(c.cfg.Folder, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the folder %s for asynchronous calls cannot be written: %w", c.cfg.Folder, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf(
				"the folder %s for asynchronous calls is in use by another agent; each needs one of its own",
				c.cfg.Folder,
			)
		}
		return fmt.Errorf("the folder %s for asynchronous calls cannot be locked: %w", c.cfg.Folder, err)
	}
	c.lock = f
	return nil
}

// release removes everything but the messages, the lock's file and the socket's folder: the next owner may use them
// already.
func (c *Child) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lock == nil {
		c.displace()
		return
	}
	if err := os.Remove(c.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.cfg.Log.Warn("the socket is left behind", zap.Error(err))
	}
	c.displace()
	_ = unix.Flock(int(c.lock.Fd()), unix.LOCK_UN) // closing would do, unless a child that starts just now has a copy
	c.lock.Close()
	c.lock = nil
}

// Volatile reports whether what is stored in folder is gone with the next start of the container or machine: whether
// it, or the part of its path that exists, lies in memory (tmpfs, ramfs). The agent asks before it promises durability.
func Volatile(folder string) (bool, error) {
	path, err := filepath.Abs(folder)
	if err != nil {
		return false, err
	}
	for {
		var info unix.Statfs_t
		err := unix.Statfs(path, &info)
		if err == nil {
			return info.Type == unix.TMPFS_MAGIC || info.Type == unix.RAMFS_MAGIC, nil
		}
		missing := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
		if parent := filepath.Dir(path); missing && parent != path {
			path = parent
			continue
		}
		return false, fmt.Errorf("the file system of %s is not known: %w", folder, err)
	}
}

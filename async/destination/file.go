package destination

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// WriteFile is for destinations without an endpoint: a local user finds the outcome message under the data folder. A
// name that no file can have is final.
func (s *Sender) WriteFile(name string, text []byte) error {
	err := s.replaceFile(name, text)
	if errors.Is(err, unix.ENAMETOOLONG) {
		return &Refused{Text: err.Error(), Final: true}
	}
	return err
}

func (s *Sender) replaceFile(name string, text []byte) error {
	parts := strings.Split(path.Clean("/" + name)[1:], "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], "\x00", "")
	}
	file := filepath.Join(append([]string{s.Folder, "notifications"}, parts...)...)
	if err := s.makeFolder(filepath.Dir(file)); err != nil {
		return err
	}
	if err := writeSynced(file+".new", text); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(file)) // the queue forgets the outcome message then
}

// makeFolder makes a folder of outcome messages so that it survives a power cut.
func (s *Sender) makeFolder(folder string) error {
	if _, err := os.Stat(folder); err == nil {
		return nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	for folder != s.Folder && folder != filepath.Dir(folder) {
		folder = filepath.Dir(folder)
		if err := syncFolder(folder); err != nil {
			return err
		}
	}
	return nil
}

func writeSynced(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	// some file systems do not support it
	if err = f.Sync(); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

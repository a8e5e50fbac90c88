package main

import (
	"errors"
	"fmt"
	"gantry/junit"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// junitFile is where --junit wants the results; nil without it.
type junitFile struct {
	file     *os.File
	prepared bool
}

// openJUnit makes the file at once: a name that is wrong is no surprise at the end.
func openJUnit(name string) (*junitFile, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, &failure{exitUsage, fmt.Errorf("--junit: %w", err)}
	}
	return &junitFile{file: file}, nil
}

// prepare writes what is to be in the file if the command is killed: an empty one would stop the tools that read it. A
// pipe gets the results alone.
func (j *junitFile) prepare(s *junit.Suite) error {
	if j == nil {
		return nil
	}
	if info, err := j.file.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	j.prepared = true
	if err := junit.Write(j.file, s); err != nil {
		return &failure{exitUsage, fmt.Errorf("--junit: %w", err)}
	}
	return nil
}

// write writes the results, to the disk if the file is on one.
func (j *junitFile) write(s *junit.Suite) error {
	if j == nil {
		return nil
	}
	var err error
	if j.prepared {
		_, err = j.file.Seek(0, io.SeekStart)
		err = errors.Join(err, j.file.Truncate(0))
	}
	if err == nil {
		err = junit.Write(j.file, s)
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil && !errors.Is(err, unix.EINVAL) { // a pipe cannot be synced
		return fmt.Errorf("--junit: %w", err)
	}
	return nil
}

// Close closes the file.
func (j *junitFile) Close() {
	if j != nil {
		j.file.Close()
	}
}

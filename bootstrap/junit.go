package main

import (
	"errors"
	"fmt"
	"gantry/junit"
	"os"

	"golang.org/x/sys/unix"
)

// junitFile is where --junit wants the results; nil without it.
type junitFile struct{ file *os.File }

// openJUnit makes the file at once: a name that is wrong is no surprise at the end.
func openJUnit(name string) (*junitFile, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, &failure{exitUsage, fmt.Errorf("--junit: %w", err)}
	}
	return &junitFile{file}, nil
}

// write writes the results, to the disk if the file is on one.
func (j *junitFile) write(s *junit.Suite) error {
	if j == nil {
		return nil
	}
	err := junit.Write(j.file, s)
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

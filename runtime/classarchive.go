package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"gantry/process"
	"gantry/runtime/language"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// A class archive is what a Java machine writes at its end, with a line of ours behind it: the mark, the length of what
// the machine wrote, the hash of the worker, the version of Java.
const (
	archiveMark = "\nGANTRYJ1 "
	longestMark = 512 // bytes
)

// offerClassArchive has a Java machine read a class archive. The machine opens the file by the name of its descriptor,
// so that it is the one that was checked.
func (w *Worker) offerClassArchive(cmd *process.Command, file *os.File) {
	cmd.Args = slices.Insert(cmd.Args, 1, w.cfg.Language.QuietSharing(cmd)...)
	cmd.Args = append(cmd.Args, "cache="+addClassArchive(cmd, file, "-XX:SharedArchiveFile="))
}

// addClassArchive hands over a file as the last descriptor, in an option of the machine, and returns its name there.
func addClassArchive(cmd *process.Command, file *os.File, option string) (name string) {
	name = fmt.Sprintf("/proc/self/fd/%d", 3+len(cmd.Files))
	cmd.Files = append(cmd.Files, file)
	cmd.Args = slices.Insert(cmd.Args, 1, option+name)
	return name
}

// checkClassArchive reports whether an archive is whole, and made by this Java with this worker. What else it depends
// on, the machine checks.
func (w *Worker) checkClassArchive(cmd *process.Command, file *os.File) error {
	now, err := w.cfg.Language.ClassArchive(cmd)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	tail := make([]byte, min(info.Size(), longestMark))
	if _, err = file.ReadAt(tail, info.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var length int64
	var worker, version string
	at := bytes.LastIndex(tail, []byte(archiveMark))
	if at < 0 || !bytes.HasSuffix(tail, []byte("\n")) {
		return errors.New("it is no complete class archive of this version for Java; run bootstrap warm again")
	}
	_, err = fmt.Sscan(string(tail[at+len(archiveMark):]), &length, &worker, &version)
	switch {
	case err != nil || length != info.Size()-int64(len(tail)-at):
		return errors.New("it is not complete; run bootstrap warm again")
	case version != now.Version:
		return fmt.Errorf("it was made by Java %s, and this is Java %s; run bootstrap warm with this one",
			version, now.Version)
	case worker != now.Worker:
		return fmt.Errorf("it was made with another %s; run bootstrap warm again", w.cfg.Language.Archive)
	}
	return nil
}

// FinishClassArchive completes the class archive that a machine has written to file at its end.
func FinishClassArchive(file *os.File, of *language.ClassArchive) (*CodeCache, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	// The machine writes its header last.
	begin := make([]byte, 4)
	if _, err = file.ReadAt(begin, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if bytes.Equal(begin, make([]byte, 4)) {
		return nil, errors.New(
			"the Java machine wrote no class archive when it ended: the log has its reason, if it gave one")
	}
	if err = unix.Fchown(int(file.Fd()), os.Geteuid(), -1); err != nil { // GiveCodeCache may have given it away
		return nil, err
	}
	mark := fmt.Sprintf("%s%d %s %s\n", archiveMark, info.Size(), of.Worker, of.Version)
	if _, err = file.WriteAt([]byte(mark), info.Size()); err != nil {
		return nil, err
	}
	return &CodeCache{Files: 1, Bytes: info.Size() + int64(len(mark))}, nil
}

// GiveCodeCache makes the file of a new class archive the worker's, who opens it by name; uid is -1 for the agent's.
func GiveCodeCache(file *os.File, uid int) error {
	if uid < 0 || uid == os.Geteuid() {
		return nil
	}
	return unix.Fchown(int(file.Fd()), uid, -1)
}

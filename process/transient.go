package process

import (
	"errors"

	"golang.org/x/sys/unix"
)

// transient are the errors by which the kernel reports a lack that another process, or the end of one, can remedy: of
// process ids or of threads (EAGAIN), of memory (ENOMEM, ENOBUFS), of descriptors (EMFILE, ENFILE), a program that is
// still open for writing (ETXTBSY), and a system call that a signal cut off (EINTR). errSlowExec is storage that does
// not answer.
var transient = []error{
	unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ETXTBSY, unix.EINTR, errSlowExec,
}

// Transient reports whether err, or an error that it wraps, says that a resource was short at that moment: the same
// fork, exec, pipe, socket pair, memory file or listener may succeed later, with no change to any setting. A nil error
// and every other error, such as a program that does not exist, is not transient. The restart policy retries transient
// errors without an end.
func Transient(err error) bool {
	for _, t := range transient {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

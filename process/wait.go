package process

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfo is the kernel's siginfo_t as waitid fills it; x/sys does not name these members.
type siginfo struct {
	_   [3]int32 // signo, errno, code
	_   int32
	pid int32
	_   [128 - 20]byte
}

// peek returns the id of an ended child without collecting it, or 0 if there is none, or -1 if there are no children.
func peek(idType, id int) int {
	var info siginfo
	for {
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, uintptr(idType), uintptr(id), uintptr(unsafe.Pointer(&info)),
			unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
		switch errno {
		case 0:
			return int(info.pid)
		case unix.EINTR:
		default:
			return -1
		}
	}
}

package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// syscall.ForkExec suspends its thread until exec, and the garbage collector waits for that thread: one exec that
// hangs, because storage does not answer, would stop the whole agent (ADR 3). Here the parent goes on at once. As with
// ForkExec, the child shares the agent's memory until exec; it has a stack of its own, and touches nothing but its
// spawn. What it does before exec is what ForkExec's does, and it enters control groups.

// cloneChild is the system call trap, clone or clone3, with two arguments that give the child a stack of its own. The
// child calls the function at code with c.
//
//go:noescape
func cloneChild(trap, a1, a2, code uintptr, c *spawn) (pid, errno uintptr)

// childStack is the size of that stack in bytes; system calls are all that happens on it.
const childStack = 16 << 10

// execLimit bounds the wait for an exec; storage that takes longer for the first page of a program does not answer.
const execLimit = 10 * time.Second

// stage is what the child does when it fails.
type stage uint32

const (
	stageFork stage = iota // in the parent
	stageProcessGroup
	stageControlGroup
	stageUser
	stageFolder
	stageParent
	stageFiles
	stageExec
)

var stageNames = [...]string{
	"fork", "set the process group", "enter the control group", "set user and group", "enter the working directory",
	"bind to the agent", "pass descriptors on", "exec",
}

// stageError is an error of the kernel with the step that failed.
type stageError struct {
	at  stage
	err error
}

func (e *stageError) Error() string {
	if e.at == stageExec || e.at == stageFolder { // startError names both
		return e.err.Error()
	}
	return stageNames[e.at] + ": " + e.err.Error()
}

func (e *stageError) Unwrap() error { return e.err }

// cloneArgs is the kernel's struct clone_args of Linux 5.7, the first that has cgroup.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// spawn is everything that a fork and its child need, made before it: the child may neither allocate nor take a lock.
// What the child reads stays as it is until the child has ended or runs its program.
type spawn struct {
	path, dir  *byte // dir may be nil
	argv, envv []*byte
	fds        []int // become descriptors 0, 1, 2, …; like report and enter, all are above len(fds)
	report     int   // pipe that the child writes a failure to, and that exec closes
	enter      []int // files of control groups that the child writes its id to
	into       int   // folder of a control group of version 2 to be born in, -1 for none
	identity   bool
	uid, gid   int
	parent     int
	stack      []byte
	signals    unix.Sigset_t // the mask of before the fork
	nofile     *unix.Rlimit  // nil to leave it

	// What follows is the agent's alone.
	copies   []int    // closed by close
	reports  *os.File // the other end of report
	unsealed bool     // report is open
}

// newSpawn prepares a command whose first three descriptors are std, and which enters groups. Its close must be called.
func newSpawn(cmd *Command, std []*os.File, groups []*groupEntry) (*spawn, error) {
	c := &spawn{
		into:     -1,
		stack:    make([]byte, childStack),
		identity: cmd.UID >= 0 || cmd.GID >= 0,
		uid:      cmd.UID,
		gid:      cmd.GID,
		parent:   os.Getpid(),
		nofile:   childNofile(),
	}
	if c.uid < 0 {
		c.uid = os.Getuid()
	}
	if c.gid < 0 {
		c.gid = os.Getgid()
	}
	if err := c.texts(cmd); err != nil {
		return nil, err
	}
	if err := c.descriptors(slices.Concat(std, cmd.Files), groups); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// texts converts what execve takes.
func (c *spawn) texts(cmd *Command) (err error) {
	if c.path, err = syscall.BytePtrFromString(cmd.Path); err != nil {
		return err
	}
	if cmd.Dir != "" {
		if c.dir, err = syscall.BytePtrFromString(cmd.Dir); err != nil {
			return err
		}
	}
	if c.argv, err = syscall.SlicePtrFromStrings(cmd.Args); err != nil {
		return err
	}
	c.envv, err = syscall.SlicePtrFromStrings(cmd.Env)
	return err
}

// descriptors opens the report and takes note of what the child needs open.
func (c *spawn) descriptors(files []*os.File, groups []*groupEntry) error {
	above := len(files) + 1
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	c.report, c.unsealed = ends[1], true
	err := unix.SetNonblock(ends[0], true) // for the read's deadline
	c.reports = os.NewFile(uintptr(ends[0]), "exec report")
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if c.report < above {
		lifted, err := unix.FcntlInt(uintptr(c.report), unix.F_DUPFD_CLOEXEC, above)
		_ = unix.Close(c.report)
		c.report, c.unsealed = lifted, err == nil
		if err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	for _, f := range files {
		fd, err := c.lift(int(f.Fd()), above)
		if err != nil {
			return err
		}
		c.fds = append(c.fds, fd)
	}
	for _, g := range groups {
		fd, err := c.lift(int(g.file.Fd()), above)
		if err != nil {
			return err
		}
		c.enter = append(c.enter, fd)
		if g.folder != nil {
			c.into = int(g.folder.Fd())
		}
	}
	return nil
}

// lift returns fd, or a copy that lies above the places where the child puts its descriptors.
func (c *spawn) lift(fd, above int) (int, error) {
	if fd >= above {
		return fd, nil
	}
	lifted, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above)
	if err != nil {
		return fd, os.NewSyscallError("fcntl", err)
	}
	c.copies = append(c.copies, lifted)
	return lifted, nil
}

// seal closes the agent's end of the report: else its reader would wait for the agent, not for exec.
func (c *spawn) seal() {
	if c.unsealed {
		_ = unix.Close(c.report)
		c.unsealed = false
	}
}

// close gives back what newSpawn has opened.
func (c *spawn) close() {
	c.seal()
	for _, fd := range c.copies {
		_ = unix.Close(fd)
	}
	c.copies = nil
	if c.reports != nil {
		_ = c.reports.Close()
	}
}

// fork creates the child and returns at once; awaitExec returns whether exec succeeded. It runs on the thread that the
// child is bound to.
func (c *spawn) fork() (pid int, err error) {
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	// The child begins with every signal blocked: the agent's handlers are not to run there.
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &c.signals); err != nil {
		return 0, &stageError{stageFork, err}
	}
	pid, errno := c.clone()
	err = unix.PthreadSigmask(unix.SIG_SETMASK, &c.signals, nil)
	c.seal()
	if errno != 0 {
		return 0, &stageError{stageFork, errno}
	}
	return pid, err
}

// clone forks, in the best way that the kernel knows.
func (c *spawn) clone() (int, syscall.Errno) {
	child := becomeChild
	code := **(**uintptr)(unsafe.Pointer(&child)) // of a function that is no closure
	bottom := uintptr(unsafe.Pointer(&c.stack[0]))
	args := cloneArgs{
		flags: unix.CLONE_VM | unix.CLONE_INTO_CGROUP, exitSignal: uint64(unix.SIGCHLD),
		stack: uint64(bottom), stackSize: uint64(len(c.stack)), cgroup: uint64(c.into),
	}
	if c.into >= 0 {
		enter := c.enter
		c.enter = nil
		pid, errno := cloneChild(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), code, c)
		if errno == 0 {
			return int(pid), 0
		}
		c.enter = enter // an old kernel, or a seccomp filter: the child enters the group by itself
	}
	top := bottom + uintptr(len(c.stack))
	pid, errno := cloneChild(unix.SYS_CLONE, unix.CLONE_VM|uintptr(unix.SIGCHLD), top, code, c)
	// An emulator of another processor supports threads and copies, and nothing in between.
	if syscall.Errno(errno) == unix.EINVAL {
		pid, errno = cloneChild(unix.SYS_CLONE, uintptr(unix.SIGCHLD), top, code, c)
	}
	return int(pid), syscall.Errno(errno)
}

// becomeChild is the new process until exec.
//
//go:nosplit
//go:norace
//go:nocheckptr
func becomeChild(c *spawn) {
	var report [2]uint32
	at, errno := c.become()
	report[0], report[1] = uint32(at), uint32(errno)
	_, _, _ = syscall.RawSyscall(
		unix.SYS_WRITE,
		uintptr(len(c.fds)),
		uintptr(unsafe.Pointer(&report)),
		unsafe.Sizeof(report),
	)
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 253, 0, 0)
	}
}

// become turns the child into the program. It returns only if that fails. The order matters: control groups are entered
// before the right to do so is given up, and the kernel forgets PDEATHSIG when the user changes.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (c *spawn) become() (stage, syscall.Errno) {
	n := uintptr(len(c.fds))
	if _, _, errno := syscall.RawSyscall(unix.SYS_DUP3, uintptr(c.report), n, unix.O_CLOEXEC); errno != 0 {
		return stageFiles, errno
	}
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETPGID, 0, 0, 0); errno != 0 {
		return stageProcessGroup, errno
	}
	c.resetSignals()
	self := byte('0')
	for i := 0; i < len(c.enter); i++ {
		if _, _, errno := syscall.RawSyscall(
			unix.SYS_WRITE,
			uintptr(c.enter[i]),
			uintptr(unsafe.Pointer(&self)),
			1,
		); errno != 0 {
			return stageControlGroup, errno
		}
	}
	for i := uintptr(0); i < n; i++ {
		if _, _, errno := syscall.RawSyscall(unix.SYS_DUP3, uintptr(c.fds[i]), i, 0); errno != 0 {
			return stageFiles, errno
		}
	}
	// What may hang comes last: until exec, this process would keep the agent's connections open. ENOSYS before Linux 5.9.
	_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE_RANGE, n+1, uintptr(^uint32(0)), 0)
	if c.identity {
		if errno := c.identify(); errno != 0 {
			return stageUser, errno
		}
	}
	if c.dir != nil {
		if _, _, errno := syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(c.dir)), 0, 0); errno != 0 {
			return stageFolder, errno
		}
	}
	if errno := c.bind(); errno != 0 {
		return stageParent, errno
	}
	if c.nofile != nil {
		_, _, _ = syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(c.nofile)), 0, 0, 0)
	}
	_, _, errno := syscall.RawSyscall(
		unix.SYS_EXECVE,
		uintptr(unsafe.Pointer(c.path)),
		uintptr(unsafe.Pointer(&c.argv[0])),
		uintptr(unsafe.Pointer(&c.envv[0])),
	)
	return stageExec, errno
}

// sigaction is the kernel's; handlers of 0 and 1 are the default and to ignore.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// resetSignals takes the agent's handlers away, then lets signals through as before the fork.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (c *spawn) resetSignals() {
	const last = 64
	var byDefault, now sigaction
	for sig := uintptr(1); sig <= last; sig++ {
		_, _, errno := syscall.RawSyscall6(
			unix.SYS_RT_SIGACTION,
			sig,
			0,
			uintptr(unsafe.Pointer(&now)),
			unsafe.Sizeof(now.mask),
			0,
			0,
		)
		if errno == 0 && now.handler > 1 {
			_, _, _ = syscall.RawSyscall6(
				unix.SYS_RT_SIGACTION,
				sig,
				uintptr(unsafe.Pointer(&byDefault)),
				0,
				unsafe.Sizeof(now.mask),
				0,
				0,
			)
		}
	}
	_, _, _ = syscall.RawSyscall6(
		unix.SYS_RT_SIGPROCMASK,
		unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(&c.signals)),
		0,
		unsafe.Sizeof(now.mask),
		0,
		0,
	)
}

// identify sets user and group, and gives up the agent's other groups.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (c *spawn) identify() syscall.Errno {
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return errno
	}
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETGID, uintptr(c.gid), 0, 0); errno != 0 {
		return errno
	}
	_, _, errno := syscall.RawSyscall(unix.SYS_SETUID, uintptr(c.uid), 0, 0)
	return errno
}

// bind has the kernel kill the child when the agent ends, and ends it if that has happened already.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (c *spawn) bind() syscall.Errno {
	if _, _, errno := syscall.RawSyscall6(
		unix.SYS_PRCTL,
		unix.PR_SET_PDEATHSIG,
		uintptr(unix.SIGKILL),
		0,
		0,
		0,
		0,
	); errno != 0 {
		return errno
	}
	if parent, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); parent != uintptr(c.parent) {
		return unix.ESRCH
	}
	return 0
}

// errSlowExec says that the kernel has not begun the program in time. It is transient: storage may answer again.
var errSlowExec = fmt.Errorf("its storage has not answered within %s", execLimit)

// awaitExec waits until the child runs its program, for limit at most.
func (c *spawn) awaitExec(limit time.Duration) error {
	if err := c.reports.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	var report [8]byte
	n, err := c.reports.Read(report[:])
	switch {
	case n == len(report):
		at := stage(binary.NativeEndian.Uint32(report[:]))
		return &stageError{at, syscall.Errno(binary.NativeEndian.Uint32(report[4:]))}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlowExec
	default: // the end of the pipe: exec has closed it
		return nil
	}
}

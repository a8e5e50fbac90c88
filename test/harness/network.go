// Package harness is what the tests of several packages and modules share: programs under test, their output,
// networks. The test modules below test import it by a replace, and nothing else of this module: they test what users
// get.
package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// entered is set in the environment of a test program that runs in a network namespace of its own.
const entered = "GANTRY_TEST_NETWORK"

// hidden are the folders outside a test's own ones that the agent looks into by default.
var hidden = []string{"/opt/function", "/opt/extension"}

// refusal is why OwnNetwork left the test program where it was.
var refusal error

// OwnNetwork moves the test program into network and mount namespaces of its own: the fixed ports of extensions, 8081
// to 8090, are free there whatever else runs on the machine, and the platform's folders below /opt are empty. TestMain
// calls it before it starts anything that the tests talk to. It executes the test program again under the same pid, as
// namespaces belong to threads. Without the right to make namespaces the program stays where it is, and FixedPorts
// skips tests.
//
// suffix is how the program's name ends, such as ".test": OwnNetwork does nothing in a command that a test program
// stands in for.
func OwnNetwork(suffix string) {
	if os.Getenv(entered) != "" || !strings.HasSuffix(filepath.Base(os.Args[0]), suffix) {
		return
	}
	runtime.LockOSThread()
	if refusal = unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); refusal != nil {
		runtime.UnlockOSThread()
		return
	}
	err := errors.Join(loopbackUp(), hide(), os.Setenv(entered, "1"))
	if err == nil {
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	panic(fmt.Sprintf("the test program cannot go on in its namespaces: %v", err)) // this thread is in them already
}

func loopbackUp() (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		return err
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

func hide() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, dir := range hidden {
		if _, err := os.Stat(dir); err != nil {
			continue // there is nothing to hide
		}
		if err := unix.Mount("empty", dir, "tmpfs", unix.MS_RDONLY, "size=4k"); err != nil {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	return nil
}

// fixedPorts lets one test of the program at a time use the ports.
var fixedPorts sync.Mutex

// FixedPorts takes the ports of extensions, 8081 to 8090, for this test until it ends. It skips the test where the
// program has no network of its own: another program may use these ports.
func FixedPorts(t testing.TB) {
	t.Helper()
	if os.Getenv(entered) == "" {
		t.Skipf(
			"needs a network namespace of its own for the fixed ports 8081 to 8090: %v; run the tests as root or with CAP_SYS_ADMIN",
			refusal,
		)
	}
	fixedPorts.Lock()
	t.Cleanup(fixedPorts.Unlock)
}

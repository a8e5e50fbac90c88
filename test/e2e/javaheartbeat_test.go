package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// javaBeats calls the heartbeat of the worker with seconds of 10 ms, and prints what becomes of each hook.
const javaBeats = `package gantry.worker;
import java.util.concurrent.atomic.*;
public class Beats {
    static final class Ended extends RuntimeException { Ended(String why) { super(why); } }
    static void print(String name, Heartbeat.Hook hook, int frozen) {
        AtomicInteger readings = new AtomicInteger();
        AtomicLong ahead = new AtomicLong();
        Heartbeat beat = new Heartbeat(hook, 10, () -> {
            // Each wait reads the clock at its begin and at its end: those of a frozen process are an hour apart.
            return readings.incrementAndGet() <= 2 * frozen ? ahead.addAndGet(3600_000_000_000L) : ahead.get();
        }, why -> { throw new Ended(why); });
        try { beat.run(); } catch (Ended e) { System.out.println(name + ": " + e.getMessage().split("\n")[0] + " after " + readings.get() / 2); }
    }
    public static void main(String[] none) {
        Heartbeat.Hook hangs = () -> { Thread.sleep(1000000); return true; };
        print("hangs", hangs, 0);
        print("frozen", hangs, 20);
        AtomicInteger calls = new AtomicInteger();
        print("late", () -> {
            if (calls.incrementAndGet() == 2) { return false; }
            Thread.sleep(150); // two or three beats: fewer than six, and then an answer
            return true;
        }, 0);
        print("throws", () -> { throw new IllegalStateException("ill"); }, 0);
    }
}
`

// TestJavaHeartbeatMissesSixTimes: in a row, and not for waits that took long because the process was frozen. The late
// one, whose beats depend on the machine, only has to end by its own answer.
func TestJavaHeartbeatMissesSixTimes(t *testing.T) {
	t.Parallel()
	needJava(t)
	classes := t.TempDir()
	compileJava(t, writeFiles(t, map[string]string{"Beats.java": javaBeats}), classes)
	out, err := exec.Command("java", "-cp", filepath.Join(programs, javaWorker)+":"+classes, "gantry.worker.Beats").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Regexp(t, `^hangs: did not answer within 3 s, 6 times after 6
frozen: did not answer within 3 s, 6 times after 26
late: returned false after \d+
throws: threw java.lang.IllegalStateException: ill after 0
$`, string(out))
}

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// javaLogs writes lines in every way, on its own thread, on threads of a pool of its own, and on those of one pool.
const javaLogs = `package com.demo;
import com.google.gson.JsonObject;
import com.huawei.services.runtime.Context;
import java.util.*;
import java.util.concurrent.*;
import java.util.logging.*;
public class Logs {
    static final Logger LOG = Logger.getLogger(Logs.class.getName());
    static final CyclicBarrier TOGETHER = new CyclicBarrier(4);
    static final ExecutorService SHARED = Executors.newFixedThreadPool(1);
    public String alone(JsonObject event, Context context) throws Exception {
        String id = context.getRequestID();
        SHARED.submit(() -> System.out.println("shared " + id)).get();
        return id;
    }
    public String handler(JsonObject event, Context context) throws Exception {
        String id = context.getRequestID();
        TOGETHER.await(60, TimeUnit.SECONDS);
        ExecutorService pool = Executors.newFixedThreadPool(2);
        try {
            List<Future<?>> all = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                final int n = i;
                all.add(pool.submit(() -> {
                    System.out.println("pooled " + n + " " + id);
                    LOG.warning("logged " + n + " " + id);
                    context.getLogger().info("context " + n + " " + id);
                }));
            }
            for (Future<?> f : all) { f.get(); }
        } finally {
            pool.shutdown();
        }
        System.err.printf("own %s%n", id);
        LOG.log(Level.SEVERE, "severe {0}", id);
        LOG.fine("too fine");
        System.out.print("part " + id);
        TOGETHER.await(60, TimeUnit.SECONDS);
        return id;
    }
}
`

// TestJavaLinesBelongToTheirCalls: also on threads that a call has started, while others run.
func TestJavaLinesBelongToTheirCalls(t *testing.T) {
	t.Parallel()
	dir := javaFunction(t, map[string]string{"Logs.java": javaLogs})
	r := start(t, dir, "RUNTIME_HANDLER=com.demo.Logs.handler", "GANTRY_CONCURRENCY=4", "RUNTIME_TIMEOUT=100", "GANTRY_LOG_FORMAT=json")
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if a := r.try("{}"); a.status != 200 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	calls.Wait()
	r.signal(syscall.SIGTERM) // all lines are there at its end
	require.Equal(t, 0, r.wait())
	text := r.stdout.String()
	lines := 0
	for line := range strings.SplitSeq(text, "\n") {
		for _, word := range []string{"pooled ", "logged ", "context ", "own ", "severe ", "part "} {
			if _, rest, found := strings.Cut(line, `"`+word); found {
				lines++
				id := rest[:strings.IndexByte(rest, '"')]
				id = id[strings.LastIndexByte(id, ' ')+1:]
				require.Equal(t, 2, strings.Count(line, id), line)
			}
		}
	}
	require.Equal(t, 8*(3*4+3), lines, text)
	require.NotContains(t, text, "too fine")
	require.Contains(t, text, `"level":"warn"`)
	require.Contains(t, text, `"level":"error"`)
}

// TestJavaPoolWritesForTheCallThatRuns: a thread of a pool outlives the call that started it.
func TestJavaPoolWritesForTheCallThatRuns(t *testing.T) {
	t.Parallel()
	dir := javaFunction(t, map[string]string{"Logs.java": javaLogs})
	r := start(t, dir, "RUNTIME_HANDLER=com.demo.Logs.alone", "RUNTIME_TIMEOUT=100", "GANTRY_LOG_FORMAT=json")
	for range 3 {
		id := r.invoke("{}").body
		wait(t, func() bool { return strings.Contains(r.stdout.String(), "shared "+id) })
		for line := range strings.SplitSeq(r.stdout.String(), "\n") {
			if strings.Contains(line, "shared "+id) {
				require.Equal(t, 2, strings.Count(line, id), line)
			}
		}
	}
}

const javaLife = `package com.demo;
import com.opentelekomcloud.services.runtime.Context;
import java.io.File;
public class Life {
    static { System.out.println("static"); Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("shutdown hook"))); }
    private int calls;
    private volatile boolean well = true;
    public Life() { System.out.println("constructor"); new Thread(() -> { for (;;) { try { Thread.sleep(1000000); } catch (InterruptedException e) { } } }).start(); }
    public void init(Context c) { System.out.println("init " + c.getRequestID()); calls = 100; }
    public void stop(Context c) { System.out.println("stop " + calls); }
    public boolean heartbeat() { System.out.println("beat"); return well; }
    public Object handler(String event, Context c) throws Exception {
        switch (event) {
            case "\"ill\"": well = false; return "ill";
            case "\"exit\"": System.exit(3);
            case "\"hang\"": for (;;) { Thread.sleep(1000); }
            default: return Integer.parseInt(new File("/proc/self").getCanonicalFile().getName()) + " " + (++calls) + " " + c.getUserData("secret");
        }
    }
}
`

func javaLifeOf(t *testing.T, env ...string) *running {
	t.Helper()
	dir := javaFunction(t, map[string]string{"Life.java": javaLife})
	return start(t, dir, append([]string{"RUNTIME_HANDLER=com.demo.Life.handler", "RUNTIME_TIMEOUT=20"}, env...)...)
}

// TestJavaHooksRunInOrder: static initialisers, constructor, initializer; at the end the pre-stop hook and shutdown
// hooks, although a thread of the user's that is no daemon is left.
func TestJavaHooksRunInOrder(t *testing.T) {
	t.Parallel()
	r := javaLifeOf(t, "RUNTIME_INITIALIZER_HANDLER=com.demo.Life.init", "RUNTIME_INITIALIZER_TIMEOUT=20",
		"RUNTIME_PRESTOP_HANDLER=com.demo.Life.stop", "RUNTIME_PRESTOP_TIMEOUT=5", "GANTRY_SHUTDOWN_TIMEOUT=60",
		`GANTRY_ENCRYPTED_USERDATA={"secret":"x"}`)
	for i := range 3 {
		require.Contains(t, r.invoke("{}").body, fmt.Sprintf(" %d x", 101+i))
	}
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.wait())
	text := r.stdout.String()
	at := -1
	for _, line := range []string{"static\n", "constructor\n", "init ", "stop 103\n", "shutdown hook\n"} {
		require.Equal(t, 1, strings.Count(text, line), "%s in %s", line, text)
		require.Greater(t, strings.Index(text, line), at, text)
		at = strings.Index(text, line)
	}
}

// TestJavaHeartbeatEndsAWorkerThatIsIll: and a new one takes the next call.
func TestJavaHeartbeatEndsAWorkerThatIsIll(t *testing.T) {
	t.Parallel()
	r := javaLifeOf(t, "RUNTIME_HEARTBEAT_HANDLER=com.demo.Life.heartbeat")
	first, _, _ := strings.Cut(r.invoke("{}").body, " ")
	wait(t, func() bool { return strings.Contains(r.stdout.String(), "beat\n") })
	require.Equal(t, "ill", r.invoke(`"ill"`).body)
	wait(t, func() bool {
		return strings.Contains(r.stdout.String(), "the heartbeat hook returned false: this worker ends, and a new one starts")
	})
	wait(t, func() bool {
		next, _, _ := strings.Cut(r.try("{}").body, " ")
		return next != first
	})
}

// TestJavaSpareTakesTheNextCall: a machine that waited loads the code when the one before it has ended.
func TestJavaSpareTakesTheNextCall(t *testing.T) {
	t.Parallel()
	r := javaLifeOf(t, "GANTRY_SPARE=1", "RUNTIME_TIMEOUT=3")
	pid := func() string {
		found, _, _ := strings.Cut(r.invoke("{}").body, " ")
		return found
	}
	worker := pid()
	for _, event := range []string{"hang", "exit"} {
		r.waitMetric("gantry_spare_interpreters", "1")
		var spare string
		wait(t, func() bool {
			for _, child := range r.children() {
				if itoa(child) != worker {
					spare = itoa(child)
				}
			}
			return spare != ""
		})
		require.NotEqual(t, 200, r.invoke(`"`+event+`"`).status)
		worker = pid()
		require.Equal(t, spare, worker)
	}
}

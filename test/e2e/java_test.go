package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// javaTypes has a handler for each type of event and of result.
const javaTypes = `package com.demo;
import com.google.gson.*;
import com.huawei.services.runtime.Context;
import java.util.*;
public class Types {
    public static class Item { private String name; private int n; private transient int left = 1; Item(String name, int n) { this.name = name; this.n = n; } }
    public class Inner { private String name; public String getName() { return "the getter"; } }
    public String text(String event, Context c) { return event; }
    public Object object(Object event, Context c) { return event; }
    public Map<String, Object> map(Map<String, Object> event, Context c) { event.put("more", 1); return event; }
    public Item pojo(Item event, Context c) { return new Item(event.name + "!", event.n + 1); }
    public Inner inner(Inner event, Context c) { return event; }
    public String generic(List<Item> event, Context c) { return event.get(1).name; }
    public String number(int event, Context c) { return "n" + event; }
    public int count(JsonObject event, Context c) { return event.size(); }
    public void nothing(JsonObject event, Context c) { }
    public byte[] bytes(JsonObject event, Context c) { return new byte[] {1, 2}; }
    public static String fixed(JsonElement event, Context c) { return event.toString(); }
    public Object anonymous(Object event, Context c) { return new HashMap<String, String>() {{ put("a", "b"); }}; }
    public String twin(String event, com.opentelekomcloud.services.runtime.Context c) {
        c.getLogger().warn("twin " + c.getTraceID().equals(c.getRequestID()));
        return c.getFunctionName() + c.getMemorySize() + c.getUserData("none") + c.getInvokeID();
    }
    public Object circle(Object event, Context c) { Map<String, Object> m = new HashMap<>(); m.put("m", m); return m; }
    public String json(Object event, Context c) { return null; }
}
`

// TestJavaHandlersTakeAndGiveEveryType: events become the type of the first parameter, results their fields.
func TestJavaHandlersTakeAndGiveEveryType(t *testing.T) {
	t.Parallel()
	dir := javaFunction(t, map[string]string{"Types.java": javaTypes})
	cases := []struct{ method, event, want, says string }{
		{"text", `{"a" : 1}`, `{"a" : 1}`, ""},
		{"object", `{"a":["x",true,null]}`, `{"a":["x",true,null]}`, ""},
		{"map", `{"a":1}`, `{"a":1.0,"more":1}`, ""},
		{"pojo", `{"name":"x","n":2,"unknown":[]}`, `{"name":"x!","n":3}`, ""},
		{"inner", `{"name":"x"}`, `{"name":"x"}`, ""},
		{"generic", `[{"name":"x"},{"name":"y"}]`, `y`, ""},
		{"number", `7`, `n7`, ""},
		{"count", `{"a":1,"b":2}`, `2`, ""},
		{"nothing", `{}`, ``, ""},
		{"bytes", `{}`, `[1,2]`, ""},
		{"fixed", `[1]`, `[1]`, ""},
		{"anonymous", `{}`, `{"a":"b"}`, ""},
		{"twin", `{}`, `fn512null`, "WARN twin true"},
		{"json", `{}`, ``, ""},
		{"number", `"text"`, `the event does not fit int: `, "com.google.gson.JsonSyntaxException"},
		{"count", `[1]`, `the event does not fit com.google.gson.JsonObject`, ""},
		{"count", `{a:1}`, `not JSON: expected a name in quotes at character 1, found "a"`, ""},
		{"circle", `{}`, `function result is invalid, error: it refers to itself, or is nested too deeply`, "4007 java.lang.StackOverflowError"},
	}
	for _, c := range cases {
		t.Run(c.method+c.event, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "event.json")
			require.NoError(t, os.WriteFile(file, []byte(c.event), 0o600))
			got := runInvoke(t, dir, []string{"--handler", "com.demo.Types." + c.method, "--event", file, "--name", "fn", "--timeout", "30"})
			if got.code == 0 {
				require.Equal(t, c.want, got.stdout, got.stderr)
			} else {
				require.Contains(t, got.stdout, c.want)
			}
			require.Contains(t, got.stderr, c.says)
		})
	}
}

// javaFaults fails in every way.
const javaFaults = `package com.demo;
import com.huawei.services.runtime.Context;
import java.util.*;
import java.util.concurrent.*;
public class Faults {
    static final List<byte[]> KEPT = new ArrayList<>();
    public String cause(String e, Context c) { try { return deep(); } catch (IllegalStateException x) { throw new RuntimeException("outer", x); } }
    private static String deep() { throw new IllegalStateException("inner"); }
    public String checked(String e, Context c) throws Exception { throw new java.io.IOException(); }
    public String pooled(String e, Context c) throws Exception {
        ExecutorService pool = Executors.newSingleThreadExecutor();
        try { return pool.submit(() -> deep()).get(); } finally { pool.shutdown(); }
    }
    public String endless(String e, Context c) { return endless(e, c); }
    public String fills(String e, Context c) { for (;;) { KEPT.add(new byte[1 << 20]); } }
    public String large(String e, Context c) { return "" + new byte[Integer.MAX_VALUE - 8].length; }
    public String exits(String e, Context c) { System.out.print("half a line"); System.exit(3); return ""; }
    public String sleeps(String e, Context c) throws Exception { Thread.sleep(60000); return ""; }
    public String one(String e) { return ""; }
    String hidden(String e, Context c) { return ""; }
    public String foreign(String e, Other.Context c) { return ""; }
    public String twice(String e, Context c) { return ""; }
    public String twice(Object e, Context c) { return ""; }
    public String ok(String e, Context c) { return "ok"; }
    public boolean wrong(Context c) { return true; }
}
class Other { interface Context { } }
`

const javaLoadFaults = `package com.demo;
import com.huawei.services.runtime.Context;
class NoConstructor { NoConstructor(int n) { } public String handler(String e, Context c) { return ""; } }
class Static { static int n = Integer.parseInt("x"); public String handler(String e, Context c) { return ""; } }
class Throws { Throws() { throw new IllegalStateException("from the constructor"); } public String handler(String e, Context c) { return ""; } }
class Needs { Missing m = new Missing(); public String handler(String e, Context c) { return ""; } }
class Missing { }
class Newer { public String handler(String e, Context c) { return ""; } }
`

// faultyFunction is a function with both, one of its classes missing, and one that was compiled for Java 55.
func faultyFunction(t *testing.T) string {
	t.Helper()
	needJava(t)
	dir := t.TempDir()
	compileJava(t, writeFiles(t, map[string]string{"Faults.java": javaFaults, "LoadFaults.java": javaLoadFaults}), dir)
	require.NoError(t, os.Remove(filepath.Join(dir, "com/demo/Missing.class")))
	newer := filepath.Join(dir, "com/demo/Newer.class")
	code, err := os.ReadFile(newer)
	require.NoError(t, err)
	code[7] = 99
	require.NoError(t, os.WriteFile(newer, code, 0o600))
	return dir
}

// TestJavaFaultsAreExplained: each has the platform's code, the error of the function, its stack without what calls it,
// and a hint where there is one.
func TestJavaFaultsAreExplained(t *testing.T) {
	t.Parallel()
	dir := faultyFunction(t)
	const entry, invocation = "function entry exception, error: ", "function invocation exception, error: "
	cases := []struct {
		handler  string
		body     []string
		says     string
		lacks    string
		settings []string
	}{
		{"Faults.cause", []string{
			invocation + "outer", `"errorType": "java.lang.RuntimeException"`,
			"\"stackTrace\": [\n    \"at com.demo.Faults.cause(Faults.java:7)\",\n    \"Caused by: java.lang.IllegalStateException: inner\",\n    \"at com.demo.Faults.deep(Faults.java:8)\",\n    \"... 1 more\"\n  ]",
		}, "ERROR java.lang.RuntimeException: outer\n\tat com.demo.Faults.cause", "gantry.worker", nil},
		{"Faults.checked", []string{invocation + "java.io.IOException", `"errorType": "java.io.IOException"`}, "", "gantry.worker", nil},
		{"Faults.pooled", []string{`"errorType": "java.util.concurrent.ExecutionException"`, "Caused by: java.lang.IllegalStateException: inner"}, "", "gantry.worker", nil},
		{"Faults.endless", []string{`"errorType": "java.lang.StackOverflowError"`, " more\""}, "4002", "", nil},
		{"Faults.fills", []string{"runtime process is exited"}, "the heap is full, also after a collection", "", nil},
		{"Faults.large", []string{`"errorType": "java.lang.OutOfMemoryError"`}, "raise RUNTIME_MEMORY (--memory)", "", nil},
		{"Faults.exits", []string{"runtime process is exited: exit code 3"}, "half a line", "", nil},
		{"Faults.sleeps", []string{"call invoke timeout 4s"}, "the handler was at com.demo.Faults.sleeps(Faults.java:", "", []string{"--timeout", "4"}},
		{"Faults.one", []string{entry + "handler 'one' has a wrong signature: public java.lang.String com.demo.Faults.one(java.lang.String); it has to be public R method(T event, Context context)"}, "4001", "", nil},
		{"Faults.hidden", []string{entry + "handler 'hidden' has a wrong signature"}, "", "", nil},
		{"Faults.foreign", []string{entry + "handler 'foreign' has a wrong signature"}, "com.demo.Other$Context is another Context: import com.huawei.services.runtime.Context", "", nil},
		{"Faults.twice", []string{entry + "class 'com.demo.Faults' has 2 methods 'twice'"}, "", "", nil},
		{"Faults.none", []string{entry + "handler 'none' not found in class 'com.demo.Faults'"}, "the class has: ", "", nil},
		{"Nowhere.none", []string{entry + "class 'com.demo.Nowhere' not found in the code folder", "java.lang.ClassNotFoundException"}, "", "", []string{"--runtime", "java"}},
		{"NoConstructor.handler", []string{entry + "class 'com.demo.NoConstructor' cannot be instantiated: it needs a public constructor without parameters"}, "", "", nil},
		{"Static.handler", []string{entry + "java.lang.NumberFormatException: For input string", "Caused by: "}, "", "gantry.worker", nil},
		{"Throws.handler", []string{entry + "from the constructor", "at com.demo.Throws.<init>"}, "", "gantry.worker", nil},
		{"Needs.handler", []string{`"errorType": "java.lang.NoClassDefFoundError"`}, "the class com.demo.Missing is in no jar of the code folder: put the jar that has it into lib/", "", nil},
		{"Newer.handler", []string{`"errorType": "java.lang.UnsupportedClassVersionError"`}, "it was compiled for Java 55, and this is Java ", "", nil},
		{"Faults.ok", []string{"function initialization exception, error: initializer 'no' not found in class 'com.demo.Faults'"}, "write public void no(Context context)", "", []string{"--initializer", "com.demo.Faults.no"}},
		{"Faults.ok", []string{"RUNTIME_INITIALIZER_HANDLER 'no' is no package.Class.method"}, "4009", "", []string{"--initializer", "no"}},
		{"Faults.ok", []string{entry + "heartbeat hook 'wrong' has a wrong signature in class 'com.demo.Faults'"}, "write public boolean wrong()", "", []string{"--heartbeat", "com.demo.Faults.wrong"}},
	}
	for _, c := range cases {
		t.Run(c.handler+strings.Join(c.settings, " "), func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--timeout", "40", "--init-timeout", "40", "--memory", "256", "--handler", "com.demo." + c.handler}, c.settings...)
			got := runInvoke(t, dir, args)
			require.Equal(t, 1, got.code, got.stderr)
			for _, part := range c.body {
				require.Contains(t, got.stdout, part)
			}
			require.Contains(t, got.stderr, c.says)
			if c.lacks != "" {
				require.NotContains(t, got.stdout+got.stderr, c.lacks)
			}
		})
	}
}

// TestJavaJarThatIsNoneIsNamed: in the log, and in the hint.
func TestJavaJarThatIsNoneIsNamed(t *testing.T) {
	t.Parallel()
	needJava(t)
	got := runInvoke(t, writeFiles(t, map[string]string{"app.jar": "junk"}), []string{"--handler", "com.demo.Hello.handler"})
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "app.jar cannot be read as a jar: ")
	require.Contains(t, got.stderr, "Hint: this is no jar: app.jar; build it again")
	got = runInvoke(t, writeFiles(t, map[string]string{"src/com/demo/Hello.java": ""}), []string{"--handler", "com.demo.Hello.handler"})
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "Hint: the code folder has no jar, neither in itself nor in lib/: build one (mvn package, gradle jar)")
}

// javaPlaces says where classes come from, and what the machine was started with.
const javaPlaces = `package com.demo;
import com.google.gson.*;
import com.huawei.services.runtime.Context;
public class Places {
    static String of(Class<?> c) { String s = c.getProtectionDomain().getCodeSource().getLocation().getPath(); return s.substring(s.lastIndexOf('/') + 1); }
    public JsonObject handler(JsonObject event, Context context) throws Exception {
        JsonObject seen = new JsonObject();
        seen.addProperty("gson", of(JsonObject.class));
        seen.addProperty("context", of(Context.class));
        seen.addProperty("heap", Runtime.getRuntime().maxMemory() >> 20);
        seen.addProperty("encoding", System.getProperty("file.encoding"));
        seen.addProperty("user", System.getProperty("user.option"));
        seen.addProperty("parked", System.getenv("GANTRY_PARKED"));
        seen.addProperty("resource", Thread.currentThread().getContextClassLoader().getResource("com/demo/Places.class") != null);
        try { Class.forName("gantry.worker.Worker"); } catch (ClassNotFoundException e) { seen.addProperty("hidden", true); }
        return seen;
    }
}
`

// TestJavaFunctionSeesItsOwnClasses: its own Gson if it brings one, else that of the worker; the interfaces of the
// platform always from the worker, and nothing else of it.
func TestJavaFunctionSeesItsOwnClasses(t *testing.T) {
	t.Parallel()
	plain := javaFunction(t, map[string]string{"Places.java": javaPlaces})
	gson, err := os.ReadFile("/usr/share/java/gson.jar")
	require.NoError(t, err)
	own := t.TempDir()
	classes := t.TempDir()
	compileJava(t, writeFiles(t, map[string]string{"Places.java": javaPlaces}), classes)
	jarOf(t, classes, filepath.Join(own, "lib/app.jar"))
	require.NoError(t, os.WriteFile(filepath.Join(own, "lib/gson.jar"), gson, 0o600))
	for folder, want := range map[string]string{plain: javaWorker, own: "gson.jar"} {
		got := runInvoke(t, folder, []string{"--handler", "com.demo.Places.handler", "--timeout", "30"})
		require.Equal(t, 0, got.code, got.stderr)
		var seen map[string]any
		require.NoError(t, json.Unmarshal([]byte(got.stdout), &seen))
		require.Equal(t, want, seen["gson"])
		require.Equal(t, javaWorker, seen["context"])
		require.Equal(t, "UTF-8", seen["encoding"])
		require.Equal(t, true, seen["hidden"])
		require.Equal(t, true, seen["resource"])
		require.InDelta(t, 384, seen["heap"], 16, "three quarters of the memory limit")
	}
}

// TestJavaFunctionRunsBesideTheWorkersJar: as in a ZIP with the agent in it, in lib/, and in a jar that has all of it.
func TestJavaFunctionRunsBesideTheWorkersJar(t *testing.T) {
	t.Parallel()
	needJava(t)
	classes, whole := t.TempDir(), t.TempDir()
	compileJava(t, writeFiles(t, map[string]string{"Places.java": javaPlaces}), classes)
	worker, err := os.ReadFile(filepath.Join(programs, javaWorker))
	require.NoError(t, err)
	folders := map[string]string{} // and the file that has Gson there
	for _, place := range []string{javaWorker, "lib/" + javaWorker} {
		dir := t.TempDir()
		jarOf(t, classes, filepath.Join(dir, "app.jar"))
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, place)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, place), worker, 0o600))
		folders[dir] = javaWorker
	}
	require.NoError(t, os.WriteFile(filepath.Join(whole, "app.jar"), worker, 0o600))
	out, err := exec.Command("jar", "uf", filepath.Join(whole, "app.jar"), "-C", classes, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	folders[whole] = "app.jar"
	for folder, want := range folders {
		got := runInvoke(t, folder, []string{"--handler", "com.demo.Places.handler", "--timeout", "30"})
		require.Equal(t, 0, got.code, got.stderr)
		var seen map[string]any
		require.NoError(t, json.Unmarshal([]byte(got.stdout), &seen), got.stdout)
		require.Equal(t, want, seen["gson"])
		require.Equal(t, javaWorker, seen["context"])
	}
}

// TestJavaToolOptionsAreTheUsers: they beat the options of the agent.
func TestJavaToolOptionsAreTheUsers(t *testing.T) {
	t.Parallel()
	dir := javaFunction(t, map[string]string{"Places.java": javaPlaces})
	got := runInvoke(t, dir, []string{"--handler", "com.demo.Places.handler", "--timeout", "30"},
		`RUNTIME_USERDATA={"JAVA_TOOL_OPTIONS":"-Xmx100m -XX:+UseParallelGC -Dfile.encoding=ISO-8859-1 -Duser.option=given"}`)
	require.Equal(t, 0, got.code, got.stderr)
	var seen map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &seen))
	require.InDelta(t, 100, seen["heap"], 16)
	require.Equal(t, "ISO-8859-1", seen["encoding"])
	require.Equal(t, "given", seen["user"])
	got = runInvoke(t, dir, []string{"--handler", "com.demo.Places.handler"}, "JAVA_TOOL_OPTIONS=-XX:+NoSuchOption")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "an option in JAVA_TOOL_OPTIONS is not known to this Java: correct it")
}

// TestJavaExampleRuns builds and calls the example, as its comment says.
func TestJavaExampleRuns(t *testing.T) {
	t.Parallel()
	needJava(t)
	dir := t.TempDir()
	cmd := exec.Command(root+"/examples/java/hello/build.sh", dir)
	cmd.Env = append(os.Environ(), "GANTRY_JAVA_JAR="+filepath.Join(programs, javaWorker))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	got := runInvoke(t, dir, []string{
		"--handler", "com.demo.Hello.handler", "--initializer", "com.demo.Hello.initializer", "--init-timeout", "30",
		"--timeout", "30", "--event", `{"name":"you"}`,
	})
	require.Equal(t, 0, got.code, got.stderr)
	require.JSONEq(t, `{"statusCode":200,"headers":{"Content-Type":"text/plain"},"body":"Hello, you","isBase64Encoded":false}`, got.stdout)
	require.Contains(t, got.stderr, "INFO ready for ")
}

// TestJavaWithoutItsWorkerIsExplained: at the start, with the file that is missing and what builds it.
func TestJavaWithoutItsWorkerIsExplained(t *testing.T) {
	t.Parallel()
	dir, alone := writeFiles(t, map[string]string{"app.jar": ""}), filepath.Join(t.TempDir(), "bootstrap")
	text, err := os.ReadFile(program(t))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(alone, text, 0o755))
	out, err := exec.Command(alone, "invoke", "--code", dir, "--handler", "com.demo.Hello.handler").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "Java: the worker "+filepath.Join(filepath.Dir(alone), javaWorker)+" is not there: take it from Gantry's archive or build it (make java), and put it beside bootstrap")
}

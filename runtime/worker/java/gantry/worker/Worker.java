package gantry.worker;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.util.Arrays;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** The Java worker: loads the function, speaks frames with the agent, answers as docs/COMPATIBILITY.md says. */
public final class Worker {
    private static final String ENTRY = "function entry exception, error: ";
    private static final String TEXT = "{\"text\":true}";
    private static final int LONGEST_TYPE = 1000; // characters: meta has a limit, classes may have any name
    private static final long TICK = 10; // milliseconds

    private static int maxResponse = 6291456;
    private static Function function;
    private static Throwable loadError;
    private static ExecutorService pool;

    private Worker() {}

    /**
     * With the argument "parked" it waits for the agent before it loads user code. After "cache=" comes the file of the
     * class archive that the machine was to read.
     */
    public static void main(String[] arguments) throws Exception {
        Frames.open();
        Frames.send(Frames.HELLO, 0, "{\"version\":1,\"runtime\":\"java\",\"runtimeVersion\":" + Json.quote(version())
            + ",\"concurrency\":true,\"prestop\":true,\"bye\":true,\"userdata\":true}", Frames.NONE);
        Output.replace();
        LogConfiguration.offer();
        String limit = FunctionContext.setting("RUNTIME_MAX_RESP_BODY_SIZE");
        maxResponse = limit.isEmpty() ? maxResponse : Integer.parseInt(limit);
        for (String argument : arguments) {
            if (argument.startsWith("cache=")) {
                reportCache(argument.substring("cache=".length()));
            }
        }
        if (arguments.length > 0 && arguments[0].equals("parked")) {
            park();
        }
        load();
        serve();
    }

    /** 8.0.392 for 1.8.0_392. */
    private static String version() {
        String version = System.getProperty("java.version");
        return version.startsWith("1.") ? version.substring(2).replace('_', '.') : version;
    }

    /** Says whether the machine has mapped its class archive: it does not say so, and ignores one that does not fit. */
    private static void reportCache(String descriptor) {
        String refused = "the Java machine did not take it, as when gantry-java.jar has another place or time, or Java"
            + " other options; run bootstrap warm again";
        try (FileInputStream in = new FileInputStream("/proc/self/maps")) {
            byte[] text = new byte[1 << 16];
            int size = 0;
            for (int n = in.read(text); n > 0; n = in.read(text, size, text.length - size)) {
                size += n;
                text = size == text.length ? Arrays.copyOf(text, 2 * size) : text;
            }
            if (new String(text, 0, size, Frames.UTF8).contains(" " + new File(descriptor).getCanonicalPath() + "\n")) {
                refused = "";
            }
        } catch (IOException e) {
            refused = "whether it is used cannot be found out: " + Errors.message(e);
        }
        Frames.send(Frames.LOG, 0, "{\"codeCache\":{\"refused\":" + Json.quote(refused) + ",\"files\":1,\"hits\":"
            + (refused.isEmpty() ? "1,\"misses\":0}}" : "0,\"misses\":1}}"), Frames.NONE);
    }

    private static void park() throws IOException {
        Frames.Frame frame = Frames.read();
        if (frame == null || frame.type != Frames.LOAD) {
            Runtime.getRuntime().halt(0);
        }
    }

    private static void load() {
        try {
            function = Function.load();
            if (!FunctionContext.setting("RUNTIME_HEARTBEAT_HANDLER").isEmpty()) {
                Function.Hook hook = function.hook("heartbeat hook", "RUNTIME_HEARTBEAT_HANDLER", boolean.class);
                new Heartbeat(() -> hook.call(null)).start();
            }
        } catch (Throwable e) {
            loadError = e;
        }
        pool = threads();
        Output.flushReplaced();
        if (loadError == null) {
            synchronized (Frames.WIRE) {
                Output.flushHeld(Call.NONE);
                Frames.send(Frames.RESULT, 0, "", Frames.NONE);
            }
            return;
        }
        boolean own = loadError instanceof FunctionError;
        fail(Call.NONE, 4001, ENTRY, loadError, own || loadError instanceof LinkageError
            && !(loadError instanceof ExceptionInInitializerError));
    }

    private static ExecutorService threads() {
        AtomicInteger count = new AtomicInteger();
        ClassLoader loader = function == null ? null : function.loader();
        return new ThreadPoolExecutor(0, Integer.MAX_VALUE, 60, TimeUnit.SECONDS, new SynchronousQueue<>(), task -> {
            Thread thread = new Thread(task, "RuntimeThreadPool-1-thread-" + count.incrementAndGet());
            thread.setDaemon(true);
            thread.setContextClassLoader(loader);
            return thread;
        });
    }

    /** Reads the agent's frames until it says Bye or is gone. */
    private static void serve() throws Exception {
        while (true) {
            Frames.Frame frame = Frames.read();
            if (frame == null) {
                Runtime.getRuntime().halt(0); // the agent is gone
            }
            switch (frame.type) {
                case Frames.INIT:
                case Frames.INVOKE:
                case Frames.PRESTOP:
                    begin(Call.of(frame));
                    break;
                case Frames.CANCEL:
                    Call call = Call.RUNNING.get(frame.id);
                    if (call != null) {
                        call.cancel();
                    }
                    break;
                case Frames.USERDATA:
                    FunctionContext.add(FunctionContext.ENCRYPTED, new String(frame.payload, Frames.UTF8));
                    break;
                case Frames.BYE:
                    while (!Call.RUNNING.isEmpty()) {
                        Thread.sleep(TICK);
                    }
                    System.exit(0); // runs the user's shutdown hooks, whatever threads are left
                    break;
                default: // of a version to come
            }
        }
    }

    private static void begin(Call call) {
        try {
            Watch.follow(call);
            pool.execute(() -> perform(call));
        } catch (OutOfMemoryError e) { // also for want of threads
            raised(call, e);
        }
    }

    private static void perform(Call call) {
        call.enter();
        try {
            if (call.payload == null) {
                throw new OutOfMemoryError("the event does not fit into the heap");
            }
            FunctionContext context = new FunctionContext(call);
            if (call.kind == Frames.INVOKE) {
                byte[] payload = call.payload;
                call.payload = Frames.NONE;
                answer(call, function.invoke(payload, context));
            } else {
                boolean init = call.kind == Frames.INIT;
                String setting = init ? "RUNTIME_INITIALIZER_HANDLER" : "RUNTIME_PRESTOP_HANDLER";
                function.hook(init ? "initializer" : "pre-stop hook", setting, null).call(context);
                call.settle(Frames.RESULT, "", Frames.NONE);
            }
        } catch (Function.EventError e) {
            String text = Errors.message(e);
            Output.log(call, Output.ERROR, text);
            call.settle(Frames.FAILURE, failure(4002, e.getCause().getClass().getName(), ",\"event\":true"),
                text.getBytes(Frames.UTF8));
        } catch (Throwable e) {
            raised(call, e);
        } finally {
            Call.leave();
            Thread.currentThread().setContextClassLoader(function.loader()); // user code may have set another one
        }
    }

    private static void answer(Call call, Object value) {
        byte[] body;
        String meta = "";
        if (value == null) {
            body = Frames.NONE;
        } else if (value instanceof String) {
            body = ((String) value).getBytes(Frames.UTF8);
            meta = TEXT;
        } else {
            try {
                body = function.json(value).getBytes(Frames.UTF8);
                meta = "{[\"n".indexOf(body[0]) < 0 ? TEXT : ""; // a number or a truth value, whatever its class
            } catch (OutOfMemoryError e) {
                throw e;
            } catch (Throwable e) { // of Gson, whose classes may be the function's; of a circle; of what cannot be read
                String why = e instanceof StackOverflowError ? "it refers to itself, or is nested too deeply"
                    : Errors.message(e);
                String text = "function result is invalid, error: " + why;
                Output.log(call, Output.ERROR, text);
                String type = e.getClass().getName();
                send(call, 4007, type, Errors.body(text, type, null), "");
                return;
            }
        }
        if (body.length > maxResponse) {
            tooLarge(call, body.length);
            return;
        }
        call.settle(Frames.RESULT, meta, body);
    }

    private static void tooLarge(Call call, int size) {
        String text = "response body size " + size + " exceeds the limit of " + maxResponse;
        Output.log(call, Output.ERROR, text);
        call.settle(Frames.FAILURE, failure(4004, "ResponseTooLarge", ""), text.getBytes(Frames.UTF8));
    }

    private static void raised(Call call, Throwable e) {
        if (e instanceof OutOfMemoryError && heapIsFull()) {
            // Every call to come would fail like this one.
            System.err.println(Errors.text(e) + "\nthe heap is full, also after a collection: the worker ends");
            System.err.flush();
            Runtime.getRuntime().halt(1);
        }
        boolean init = call.kind == Frames.INIT;
        String what = call.kind == Frames.INVOKE ? "invocation" : init ? "initialization" : "prestop";
        int code = call.kind == Frames.INVOKE ? 4002 : init ? 4009 : 4001;
        fail(call, code, "function " + what + " exception, error: ", e, init && e instanceof FunctionError);
    }

    private static boolean heapIsFull() {
        System.gc();
        Runtime r = Runtime.getRuntime();
        return r.totalMemory() - r.freeMemory() > r.maxMemory() / 10 * 9;
    }

    /** Writes the error to the log, then answers with it. */
    private static void fail(Call call, int code, String prefix, Throwable e, boolean isFinal) {
        boolean own = e instanceof FunctionError;
        String type = own ? ((FunctionError) e).type : e.getClass().getName();
        String message = prefix + Errors.message(e);
        Output.log(call, Output.ERROR, own ? message : Errors.text(e));
        String hint = Errors.hint(e);
        String more = (isFinal ? ",\"final\":true" : "") + (hint == null ? "" : ",\"hint\":" + Json.quote(hint));
        send(call, code, type, Errors.body(message, type, own ? null : Errors.stack(e)), more);
    }

    private static void send(Call call, int code, String type, String text, String more) {
        byte[] body = text.getBytes(Frames.UTF8);
        if (body.length > maxResponse) {
            tooLarge(call, body.length);
            return;
        }
        call.settle(Frames.FAILURE, failure(code, type, more), body);
    }

    /** The meta of a failure. */
    private static String failure(int code, String type, String more) {
        String shown = type.length() > LONGEST_TYPE ? type.substring(0, LONGEST_TYPE) : type;
        return "{\"code\":" + code + ",\"type\":" + Json.quote(shown) + more + "}";
    }
}

package gantry.worker;

/** Tells the agent shortly before a call's deadline where it is. */
final class Watch extends Thread {
    private static Watch watch;
    private static final String[] BUILT_IN = {"java.", "javax.", "jdk.", "sun.", "com.sun."};

    private long next = Long.MAX_VALUE; // when it looks by itself

    private Watch() {
        super("gantry-watch");
        setDaemon(true);
    }

    static synchronized void follow(Call call) {
        if (watch == null) {
            watch = new Watch();
            watch.start();
        }
        watch.ring(call.hintAt());
    }

    private synchronized void ring(long at) {
        if (next == Long.MAX_VALUE || at - next < 0) {
            next = at;
            notifyAll();
        }
    }

    @Override
    public void run() {
        try {
            while (true) {
                await();
                look();
            }
        } catch (InterruptedException e) {
            // user code ends all threads; calls go on without hints
        }
    }

    private synchronized void await() throws InterruptedException {
        while (true) {
            if (next == Long.MAX_VALUE) {
                wait();
                continue;
            }
            long left = next - System.nanoTime();
            if (left <= 0) {
                next = Long.MAX_VALUE;
                return;
            }
            wait(left / 1_000_000 + 1);
        }
    }

    private void look() {
        for (Call call : Call.RUNNING.values()) {
            if (call.hinted) {
                continue;
            }
            long at = call.hintAt();
            if (at - System.nanoTime() > 0) {
                ring(at);
                continue;
            }
            call.hinted = true;
            String hint = hint(call);
            synchronized (Frames.WIRE) {
                if (!call.answered) {
                    Output.flushHeld(call);
                    if (hint != null) {
                        Frames.send(Frames.LOG, call.id, "{\"hint\":" + Json.quote(hint) + "}", Frames.NONE);
                    }
                }
            }
        }
    }

    private static String hint(Call call) {
        Thread thread = call.thread;
        if (thread == null) {
            return null;
        }
        StackTraceElement top = null, user = null;
        for (StackTraceElement frame : thread.getStackTrace()) {
            if (frame.getClassName().startsWith("gantry.worker.")) {
                break;
            }
            top = top == null ? frame : top;
            if (user == null && !builtIn(frame.getClassName())) {
                user = frame;
            }
        }
        if (user == null) {
            return null;
        }
        String what = call.kind == Frames.INVOKE ? "handler" : call.kind == Frames.INIT ? "initializer" : "pre-stop hook";
        return "shortly before the deadline the " + what + " was at " + user
            + (top.equals(user) ? "" : " (and below that at " + top + ")")
            + ": limit that wait, or raise the " + what + "'s timeout";
    }

    private static boolean builtIn(String name) {
        for (String prefix : BUILT_IN) {
            if (name.startsWith(prefix)) {
                return true;
            }
        }
        return false;
    }
}

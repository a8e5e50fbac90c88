package gantry.worker;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;

/** An Init, Invoke or PreStop on its way, and which call a piece of output belongs to. */
final class Call {
    /** The calls that have no answer yet. */
    static final ConcurrentMap<Integer, Call> RUNNING = new ConcurrentHashMap<>();
    /** Owns the output that belongs to no call, and that of the load. */
    static final Call NONE = new Call(0, 0, "", 0, null, Frames.NONE);
    /** Threads that user code starts inherit the call of the thread that starts them. */
    private static final InheritableThreadLocal<Call> CURRENT = new InheritableThreadLocal<>();

    final int id, kind;
    final String requestId;
    /** Unix time in milliseconds. */
    final double deadline;
    final long began = System.nanoTime();
    final Map<?, ?> meta;
    byte[] payload;
    volatile Thread thread;
    /** Changed with Frames.WIRE held, like held. */
    volatile boolean answered;
    /** Whether another call has run beside it. */
    volatile boolean company;
    /** Whether the agent knows where it is; only the watch uses it. */
    boolean hinted;
    /** The beginnings of lines, of stdout and stderr. */
    final byte[][] held = new byte[2][];

    Call(int id, int kind, String requestId, double deadline, Map<?, ?> meta, byte[] payload) {
        this.id = id;
        this.kind = kind;
        this.requestId = requestId;
        this.deadline = deadline;
        this.meta = meta;
        this.payload = payload;
    }

    static Call of(Frames.Frame frame) {
        Map<?, ?> meta = (Map<?, ?>) Json.parse(frame.meta);
        double deadline = ((Number) meta.get("deadline")).doubleValue();
        Call call = new Call(frame.id, frame.type, (String) meta.get("requestId"), deadline, meta, frame.payload);
        RUNNING.put(call.id, call);
        if (RUNNING.size() > 1) {
            for (Call other : RUNNING.values()) {
                other.company = true;
            }
        }
        return call;
    }

    String text(String name) {
        Object value = meta == null ? null : meta.get(name);
        return value instanceof String ? (String) value : "";
    }

    void enter() {
        thread = Thread.currentThread();
        CURRENT.set(this);
    }

    static void leave() {
        CURRENT.remove();
    }

    /**
     * The call whose output this thread writes: its own, or the one whose thread started it. A pool's thread may outlive
     * the call that started it; its output belongs to the call that runs then, if no other has run beside that one.
     */
    static Call owner() {
        Call call = CURRENT.get();
        if (call != null && !call.answered) {
            return call;
        }
        Call only = null;
        for (Call running : RUNNING.values()) {
            if (only != null || running.company) {
                return call == null ? NONE : call;
            }
            only = running;
        }
        return only != null ? only : call == null ? NONE : call;
    }

    /** The call of this thread if it has no answer yet, else other. */
    static Call currentOr(Call other) {
        Call call = CURRENT.get();
        return call == null || call.answered ? other : call;
    }

    /** Answers the call, once. */
    void settle(int type, String meta, byte[] body) {
        Output.flushReplaced();
        synchronized (Frames.WIRE) {
            if (answered) {
                return;
            }
            Output.flushHeld(this);
            answered = true;
            RUNNING.remove(id);
            Frames.send(type, id, meta, body);
        }
        payload = null;
    }

    /** The agent no longer waits for the answer. */
    void cancel() {
        synchronized (Frames.WIRE) {
            Output.flushHeld(this);
            answered = true;
            RUNNING.remove(id);
        }
    }

    /** When to tell the agent where the call is, shortly before its deadline: System.nanoTime(). */
    long hintAt() {
        long now = System.nanoTime();
        long left = (long) ((deadline - System.currentTimeMillis()) * 1e6);
        return now + left - Math.min(500_000_000L, (left + now - began) / 5);
    }
}

package gantry.worker;

import java.io.OutputStream;
import java.io.PrintStream;
import java.io.UnsupportedEncodingException;
import java.util.Arrays;

/**
 * Stands in for standard output and standard error: lines become Log frames of the call that writes them. The beginning
 * of a line waits for its end, for flush() or for the end of the call.
 */
final class Output extends OutputStream {
    static final String DEBUG = "\"level\":\"DEBUG\"", INFO = "\"level\":\"INFO\"", WARN = "\"level\":\"WARN\"";
    static final String ERROR = "\"level\":\"ERROR\"";
    private static final String[] STREAMS = {"\"stream\":\"stdout\"", "\"stream\":\"stderr\""};
    private static final int PIECE = 48 * 1024; // bytes of one Log frame
    private static final int LONGEST_HELD = 4096; // bytes
    private static PrintStream out, err;

    private final int stream;

    private Output(int stream) {
        this.stream = stream;
    }

    static void replace() throws UnsupportedEncodingException {
        out = new PrintStream(new Output(0), true, "UTF-8");
        err = new PrintStream(new Output(1), true, "UTF-8");
        System.setOut(out);
        System.setErr(err);
        Runtime.getRuntime().addShutdownHook(new Thread(Output::flushAll, "gantry-output"));
    }

    @Override
    public void write(int b) {
        write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] data, int at, int length) {
        if (length == 0) {
            return;
        }
        synchronized (Frames.WIRE) {
            Call call = Call.owner();
            byte[] before = call.held[stream];
            int had = before == null ? 0 : before.length;
            byte[] all = new byte[had + length];
            if (had > 0) {
                System.arraycopy(before, 0, all, 0, had);
            }
            System.arraycopy(data, at, all, had, length);
            int cut = all.length > LONGEST_HELD ? all.length : afterLastLine(all);
            call.held[stream] = cut == all.length ? null : Arrays.copyOfRange(all, cut, all.length);
            if (cut > 0) {
                log(call, STREAMS[stream], cut == all.length ? all : Arrays.copyOf(all, cut));
            }
        }
    }

    private static int afterLastLine(byte[] text) {
        for (int i = text.length; i > 0; i--) {
            if (text[i - 1] == '\n') {
                return i;
            }
        }
        return 0;
    }

    @Override
    public void flush() {
        synchronized (Frames.WIRE) {
            Call call = Call.owner();
            byte[] text = call.held[stream];
            call.held[stream] = null;
            if (text != null) {
                log(call, STREAMS[stream], text);
            }
        }
    }

    /** Goes on all the same: what user code closes is there for the next call. */
    @Override
    public void close() {
        flush();
    }

    /** Flushes streams that user code has put in the place of ours. */
    static void flushReplaced() {
        flush(System.out, out);
        flush(System.err, err);
    }

    private static void flush(PrintStream shown, PrintStream ours) {
        if (shown != ours && shown != null) {
            try {
                shown.flush();
            } catch (RuntimeException e) {
                err.println("System.out or System.err, as user code has set it, cannot be flushed: " + e);
            }
        }
    }

    /** Called with Frames.WIRE held. */
    static void flushHeld(Call call) {
        for (int i = 0; i < call.held.length; i++) {
            byte[] text = call.held[i];
            call.held[i] = null;
            if (text != null) {
                log(call, STREAMS[i], text);
            }
        }
    }

    private static void flushAll() {
        flushReplaced();
        synchronized (Frames.WIRE) {
            flushHeld(Call.NONE);
            for (Call call : Call.RUNNING.values()) {
                flushHeld(call);
            }
        }
    }

    /** Writes at once: what was logged before a crash, an endless loop or System.exit() is not lost. */
    static void log(Call call, String kind, byte[] text) {
        synchronized (Frames.WIRE) { // whether the call is answered may not change meanwhile
            String meta = "{" + kind;
            if (call.answered && !call.requestId.isEmpty()) {
                meta += ",\"requestId\":" + Json.quote(call.requestId);
            }
            if (text.length <= PIECE) {
                Frames.send(Frames.LOG, call.id, meta + "}", text);
                return;
            }
            boolean record = kind.startsWith("\"level\"");
            for (int at = 0; at < text.length; at += PIECE) {
                int end = Math.min(text.length, at + PIECE);
                String more = record && end < text.length ? ",\"more\":true}" : "}";
                Frames.send(Frames.LOG, call.id, meta + more, Arrays.copyOfRange(text, at, end));
            }
        }
    }

    static void log(Call call, String kind, String text) {
        log(call, kind, text.getBytes(Frames.UTF8));
    }
}

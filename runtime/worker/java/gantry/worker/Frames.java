package gantry.worker;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.lang.reflect.Field;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;

/** The frames between agent and worker, docs/PROTOCOL.md. */
final class Frames {
    static final int HELLO = 1, INIT = 2, INVOKE = 3, RESULT = 4, FAILURE = 5, LOG = 6, CANCEL = 7, BYE = 8;
    static final int PRESTOP = 9, USERDATA = 10, LOAD = 12;
    static final Charset UTF8 = StandardCharsets.UTF_8;
    static final byte[] NONE = new byte[0];

    /** Guards descriptor 4, and what decides what is written there. */
    static final Object WIRE = new Object();

    private static final int HEADER = 13;
    private static final int PIECE = 1 << 16; // bytes of one write: the JVM copies each
    private static DataInputStream events;
    private static FileOutputStream answers;

    private Frames() {}

    /**
     * Opens descriptors 3 and 4. They are sockets, which have no name that could be opened; the archive's manifest opens
     * java.io to this.
     */
    static void open() throws ReflectiveOperationException {
        events = new DataInputStream(new BufferedInputStream(new FileInputStream(descriptor(3)), PIECE));
        answers = new FileOutputStream(descriptor(4));
    }

    private static FileDescriptor descriptor(int number) throws ReflectiveOperationException {
        FileDescriptor descriptor = new FileDescriptor();
        Field field = FileDescriptor.class.getDeclaredField("fd");
        field.setAccessible(true);
        field.setInt(descriptor, number);
        return descriptor;
    }

    /** One frame from the agent. */
    static final class Frame {
        int type, id;
        String meta;
        /** null if the heap has no room for it. */
        byte[] payload;
    }

    /** Waits for a frame; null at the end of the stream. Only the main thread reads. */
    static Frame read() throws IOException {
        int length;
        try {
            length = events.readInt();
        } catch (EOFException e) {
            return null;
        }
        Frame frame = new Frame();
        frame.type = events.readUnsignedByte();
        frame.id = events.readInt();
        byte[] meta = new byte[events.readInt()];
        events.readFully(meta);
        frame.meta = new String(meta, UTF8);
        int size = length - (HEADER - 4) - meta.length;
        try {
            frame.payload = size == 0 ? NONE : new byte[size];
        } catch (OutOfMemoryError e) {
            for (int left = size; left > 0; left--) {
                events.readByte();
            }
            return frame;
        }
        events.readFully(frame.payload);
        return frame;
    }

    /** Writes a frame whole. The agent always reads, so that this does not block for long. */
    static void send(int type, int id, String meta, byte[] payload) {
        byte[] m = meta.isEmpty() ? NONE : meta.getBytes(UTF8);
        int small = payload.length <= PIECE ? payload.length : 0;
        byte[] head = new byte[HEADER + m.length + small];
        put(head, 0, HEADER - 4 + m.length + payload.length);
        head[4] = (byte) type;
        put(head, 5, id);
        put(head, 9, m.length);
        System.arraycopy(m, 0, head, HEADER, m.length);
        System.arraycopy(payload, 0, head, HEADER + m.length, small);
        synchronized (WIRE) {
            try {
                answers.write(head);
                for (int at = small; at < payload.length; at += PIECE) {
                    answers.write(payload, at, Math.min(PIECE, payload.length - at));
                }
            } catch (IOException e) {
                Runtime.getRuntime().halt(1); // the agent is gone
            }
        }
    }

    private static void put(byte[] to, int at, int value) {
        to[at] = (byte) (value >>> 24);
        to[at + 1] = (byte) (value >>> 16);
        to[at + 2] = (byte) (value >>> 8);
        to[at + 3] = (byte) value;
    }
}

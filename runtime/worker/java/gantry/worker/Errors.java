package gantry.worker;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Errors as texts: bodies of answers, stacks that end with the user's frames, hints. */
final class Errors {
    private static final int MOST_FRAMES = 100;

    /** Frames below the user's, by the beginnings of their classes: what calls user code. */
    private static final String[] CALLERS = {
        "gantry.worker.", "java.lang.reflect.", "jdk.internal.reflect.", "sun.reflect.", "java.lang.Thread",
        "java.util.concurrent.ThreadPoolExecutor", "java.util.concurrent.FutureTask",
        "java.util.concurrent.Executors$", "java.lang.Class",
    };

    private Errors() {}

    /** The error body of the platform: JSON with two blanks of indentation. stack is null for an error without one. */
    static String body(String message, String type, List<String> stack) {
        StringBuilder out = new StringBuilder("{\n  \"errorMessage\": ").append(Json.quote(message));
        out.append(",\n  \"errorType\": ").append(Json.quote(type));
        if (stack != null && stack.isEmpty()) {
            out.append(",\n  \"stackTrace\": []");
        } else if (stack != null) {
            out.append(",\n  \"stackTrace\": [");
            for (int i = 0; i < stack.size(); i++) {
                out.append(i == 0 ? "\n    " : ",\n    ").append(Json.quote(stack.get(i)));
            }
            out.append("\n  ]");
        }
        return out.append("\n}").toString();
    }

    /** The message of an error, or its class's name where it has none. */
    static String message(Throwable e) {
        try {
            String message = e instanceof ExceptionInInitializerError && e.getCause() != null
                ? e.getCause().toString() : e.getMessage();
            return message == null ? e.getClass().getName() : message;
        } catch (Throwable thrown) {
            return "an error that cannot be shown";
        }
    }

    /** The stack as lines like those of printStackTrace(), without the first and without frames below the user's. */
    static List<String> stack(Throwable e) {
        List<String> lines = new ArrayList<>();
        Set<Throwable> seen = Collections.newSetFromMap(new IdentityHashMap<Throwable, Boolean>());
        try {
            render(e, null, lines, seen);
        } catch (RuntimeException thrown) { // user code may override what is called here
            lines.add("an error without a readable stack: " + thrown.getClass().getName());
        }
        return lines;
    }

    private static void render(Throwable e, StackTraceElement[] outer, List<String> lines, Set<Throwable> seen) {
        seen.add(e);
        StackTraceElement[] frames = users(e.getStackTrace());
        int common = 0;
        while (outer != null && common < frames.length && common < outer.length
            && frames[frames.length - 1 - common].equals(outer[outer.length - 1 - common])) {
            common++;
        }
        int own = frames.length - common;
        for (int i = 0; i < own; i++) {
            if (own > MOST_FRAMES && i == MOST_FRAMES / 2) { // a recursion that had no end
                lines.add("... " + (own - MOST_FRAMES) + " more");
                i = own - MOST_FRAMES / 2;
            }
            lines.add("at " + frames[i]);
        }
        if (common > 0) {
            lines.add("... " + common + " more");
        }
        for (Throwable suppressed : e.getSuppressed()) {
            if (!seen.contains(suppressed)) {
                lines.add("Suppressed: " + suppressed);
                render(suppressed, frames, lines, seen);
            }
        }
        Throwable cause = e.getCause();
        if (cause != null && !seen.contains(cause)) {
            lines.add("Caused by: " + cause);
            render(cause, frames, lines, seen);
        }
    }

    private static StackTraceElement[] users(StackTraceElement[] frames) {
        int end = 0;
        while (end < frames.length && !frames[end].getClassName().startsWith("gantry.worker.")) {
            end++;
        }
        while (end > 0 && calls(frames[end - 1].getClassName())) {
            end--;
        }
        return Arrays.copyOf(frames, end);
    }

    private static boolean calls(String name) {
        for (String caller : CALLERS) {
            if (name.startsWith(caller)) {
                return true;
            }
        }
        return false;
    }

    /** An error with its stack, for the log. */
    static String text(Throwable e) {
        StringBuilder out = new StringBuilder();
        try {
            out.append(e);
        } catch (Throwable thrown) { // user code may override what is called here
            out.append(e.getClass().getName());
        }
        for (String line : stack(e)) {
            boolean indented = line.startsWith("at ") || line.startsWith("... ");
            out.append(indented ? "\n\t" : "\n").append(line);
        }
        return out.toString();
    }

    /** What to do about an error, or null. */
    static String hint(Throwable e) {
        if (e instanceof FunctionError) {
            return ((FunctionError) e).hint;
        }
        if (e instanceof UnsupportedClassVersionError) {
            Matcher version = Pattern.compile("class file version (\\d+)").matcher(message(e));
            String here = System.getProperty("java.specification.version");
            here = here.startsWith("1.") ? here.substring(2) : here;
            return !version.find() ? null : "it was compiled for Java " + (Integer.parseInt(version.group(1)) - 44)
                + ", and this is Java " + here + ": compile it with --release " + here
                + " (maven.compiler.release), or start the agent with a newer Java first in PATH";
        }
        if (e instanceof NoClassDefFoundError && e.getMessage() != null && !e.getMessage().contains(" ")) {
            return "the class " + e.getMessage().replace('/', '.') + " is in no jar of the code folder: "
                + "put the jar that has it into lib/, or build one jar with all dependencies (maven-shade-plugin)";
        }
        if (e instanceof OutOfMemoryError) {
            return "the heap has at most " + (Runtime.getRuntime().maxMemory() >> 20)
                + " MB: raise RUNTIME_MEMORY (--memory), or use less memory";
        }
        return null;
    }
}

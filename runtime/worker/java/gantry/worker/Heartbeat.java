package gantry.worker;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.function.LongSupplier;

/** Asks the function every 5 seconds whether it is well, and ends the worker if it is not. */
final class Heartbeat extends Thread {
    private static final int INTERVAL = 5, LIMIT = 3; // seconds
    private static final int MOST_MISSED = 6;
    private static final int FROZEN = 1; // seconds by which a wait may be late before it does not count

    /** The user's hook. */
    interface Hook {
        Object call() throws Throwable;
    }

    private final Hook hook;
    private final long second; // in milliseconds; another number in tests
    private final LongSupplier clock; // in nanoseconds
    private final Consumer<String> end;
    private FutureTask<Object> running;
    private int missed;

    Heartbeat(Hook hook) {
        this(hook, 1000, System::nanoTime, Heartbeat::end);
    }

    /** end gets what is wrong with the hook, and ends the worker: it must not return. */
    Heartbeat(Hook hook, long second, LongSupplier clock, Consumer<String> end) {
        super("gantry-heartbeat");
        setDaemon(true);
        this.hook = hook;
        this.second = second;
        this.clock = clock;
        this.end = end;
    }

    @Override
    public void run() {
        try {
            while (true) {
                Thread.sleep(INTERVAL * second);
                beat();
            }
        } catch (InterruptedException e) {
            end.accept("was interrupted");
        }
    }

    private void beat() throws InterruptedException {
        if (running == null) {
            running = new FutureTask<>(() -> {
                try {
                    return hook.call();
                } catch (Throwable e) {
                    return e;
                }
            });
            Thread thread = new Thread(running, "gantry-heartbeat-call");
            thread.setDaemon(true);
            thread.start();
        }
        long began = clock.getAsLong();
        try {
            Object answer = running.get(LIMIT * second, TimeUnit.MILLISECONDS);
            running = null;
            missed = 0;
            if (answer instanceof Throwable) {
                end.accept("threw " + Errors.text((Throwable) answer));
            } else if (!Boolean.TRUE.equals(answer)) {
                end.accept("returned false");
            }
        } catch (TimeoutException e) {
            boolean frozen = clock.getAsLong() - began > (LIMIT + FROZEN) * second * 1_000_000;
            missed += frozen ? 0 : 1;
            if (missed >= MOST_MISSED) {
                end.accept("did not answer within " + LIMIT + " s, " + missed + " times");
            }
        } catch (ExecutionException e) {
            end.accept("threw " + e.getCause());
        }
    }

    private static void end(String why) {
        Output.log(Call.NONE, Output.ERROR, "the heartbeat hook " + why + ": this worker ends, and a new one starts");
        Runtime.getRuntime().halt(1);
    }
}

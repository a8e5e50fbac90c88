package gantry.worker;

import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Asks the function every 5 seconds whether it is well, and ends the worker if it is not. */
final class Heartbeat extends Thread {
    private static final long INTERVAL = 5, LIMIT = 3; // seconds
    private static final int MOST_MISSED = 6;
    private static final long FROZEN = 1; // seconds by which a wait may be late before it does not count

    private final Function.Hook hook;
    private FutureTask<Object> running;
    private int missed;

    Heartbeat(Function.Hook hook) {
        super("gantry-heartbeat");
        setDaemon(true);
        this.hook = hook;
    }

    @Override
    public void run() {
        try {
            while (true) {
                Thread.sleep(INTERVAL * 1000);
                beat();
            }
        } catch (InterruptedException e) {
            end("was interrupted");
        }
    }

    private void beat() throws InterruptedException {
        if (running == null) {
            running = new FutureTask<>(() -> {
                try {
                    return hook.call(null);
                } catch (Throwable e) {
                    return e;
                }
            });
            Thread thread = new Thread(running, "gantry-heartbeat-call");
            thread.setDaemon(true);
            thread.start();
        }
        long began = System.nanoTime();
        try {
            Object answer = running.get(LIMIT, TimeUnit.SECONDS);
            running = null;
            missed = 0;
            if (answer instanceof Throwable) {
                end("threw " + Errors.text((Throwable) answer));
            } else if (!Boolean.TRUE.equals(answer)) {
                end("returned false");
            }
        } catch (TimeoutException e) {
            boolean frozen = System.nanoTime() - began > (LIMIT + FROZEN) * 1_000_000_000L;
            missed += frozen ? 0 : 1;
            if (missed >= MOST_MISSED) {
                end("did not answer within " + LIMIT + " s, " + missed + " times");
            }
        } catch (java.util.concurrent.ExecutionException e) {
            end("threw " + e.getCause());
        }
    }

    private static void end(String why) {
        Output.log(Call.NONE, Output.ERROR, "the heartbeat hook " + why + ": this worker ends, and a new one starts");
        Runtime.getRuntime().halt(1);
    }
}

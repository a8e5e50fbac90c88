package gantry.worker;

/** The context's logger, under both names of its interface. */
final class FunctionLogger
    implements com.huawei.services.runtime.RuntimeLogger, com.opentelekomcloud.services.runtime.RuntimeLogger {
    private static final String[] LEVELS = {"DEBUG", "INFO", "WARN", "ERROR"};
    private static volatile int least = 1; // INFO

    private final Call call;

    FunctionLogger(Call call) {
        this.call = call;
    }

    private void write(int level, String kind, String text) {
        if (level >= least) { // a logger that a static field keeps belongs to the call that uses it
            Output.log(Call.currentOr(call), kind, String.valueOf(text));
        }
    }

    @Override
    public void log(String text) {
        info(text);
    }

    @Override
    public void debug(String text) {
        write(0, Output.DEBUG, text);
    }

    @Override
    public void info(String text) {
        write(1, Output.INFO, text);
    }

    @Override
    public void warn(String text) {
        write(2, Output.WARN, text);
    }

    @Override
    public void error(String text) {
        write(3, Output.ERROR, text);
    }

    @Override
    public void setLevel(String level) {
        for (int i = 0; i < LEVELS.length; i++) {
            if (LEVELS[i].equals(level)) {
                least = i;
            }
        }
    }
}

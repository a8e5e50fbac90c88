package gantry.worker;

import java.util.logging.ErrorManager;
import java.util.logging.Formatter;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.SimpleFormatter;

/** Writes records of java.util.logging to the log of the call that logs them. */
public final class LogHandler extends Handler {
    private final Formatter messages = new SimpleFormatter();

    @Override
    public void publish(LogRecord record) {
        if (!isLoggable(record)) {
            return;
        }
        try {
            String text = String.valueOf(messages.formatMessage(record));
            if (record.getThrown() != null) {
                text += "\n" + Errors.text(record.getThrown());
            }
            Output.log(Call.owner(), level(record.getLevel().intValue()), text);
        } catch (RuntimeException e) {
            reportError(null, e, ErrorManager.FORMAT_FAILURE);
        }
    }

    private static String level(int value) {
        if (value >= Level.SEVERE.intValue()) {
            return Output.ERROR;
        }
        if (value >= Level.WARNING.intValue()) {
            return Output.WARN;
        }
        return value >= Level.INFO.intValue() ? Output.INFO : Output.DEBUG;
    }

    @Override
    public void flush() {}

    @Override
    public void close() {}
}

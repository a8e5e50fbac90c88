package gantry.worker;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.logging.LogManager;

/** Configures java.util.logging when user code uses it first; LogManager finds it by a system property. */
public final class LogConfiguration {
    private static final String PROPERTY = "java.util.logging.config.class";
    private static final String SETTINGS = "handlers = gantry.worker.LogHandler\n.level = INFO\n";

    /** Called by LogManager. */
    public LogConfiguration() throws IOException {
        LogManager.getLogManager().readConfiguration(new ByteArrayInputStream(SETTINGS.getBytes(Frames.UTF8)));
    }

    /** Leaves a configuration alone that the user has set. */
    static void offer() {
        if (System.getProperty(PROPERTY) == null && System.getProperty("java.util.logging.config.file") == null) {
            System.setProperty(PROPERTY, LogConfiguration.class.getName());
        }
    }
}

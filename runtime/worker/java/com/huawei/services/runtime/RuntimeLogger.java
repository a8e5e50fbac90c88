package com.huawei.services.runtime;

/** The logger of a call. Records below the level that setLevel set are dropped; it is INFO at first. */
public interface RuntimeLogger {
    /** Writes a record of the level INFO. */
    void log(String text);

    void debug(String text);

    void info(String text);

    void warn(String text);

    void error(String text);

    /** Sets the level of all contexts: DEBUG, INFO, WARN or ERROR. Any other value is ignored. */
    void setLevel(String level);
}

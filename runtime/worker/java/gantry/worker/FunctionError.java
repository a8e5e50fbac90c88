package gantry.worker;

/** What is wrong with the function itself: another attempt to load it cannot succeed. */
final class FunctionError extends Exception {
    private static final long serialVersionUID = 1;

    /** The error's name in the answer. */
    final String type;
    /** What to do about it, for the log and local callers; may be null. */
    final String hint;

    FunctionError(String type, String message, String hint) {
        super(message);
        this.type = type;
        this.hint = hint;
    }
}

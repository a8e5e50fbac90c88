package gantry.worker;

import java.lang.reflect.Type;

/** Converts events and results with the Gson that the function's classes see. */
public interface Converter {
    /** Returns the value of that type. What Gson refuses it throws. */
    Object read(String json, Type type);

    /** Returns the JSON text of a value, by its fields. */
    String write(Object value);
}

package gantry.worker;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads and writes JSON without Gson, which not every function needs and which is lenient: what it takes for JSON need
 * not be any.
 */
final class Json {
    private final String text;
    private final boolean build;
    private int at;

    private Json(String text, boolean build) {
        this.text = text;
        this.build = build;
    }

    /** Returns maps, lists, strings, doubles, Booleans and null; throws IllegalArgumentException for what is no JSON. */
    static Object parse(String text) {
        return new Json(text, true).document();
    }

    /** Throws IllegalArgumentException, with the place, for what is no JSON. */
    static void check(String text) {
        new Json(text, false).document();
    }

    private Object document() {
        Object value = value();
        blanks();
        if (at < text.length()) {
            throw wrong("expected the end");
        }
        return value;
    }

    private IllegalArgumentException wrong(String what) {
        String found = at < text.length() ? "found " + quote(text.substring(at, at + 1)) : "the text ends there";
        return new IllegalArgumentException("not JSON: " + what + " at character " + at + ", " + found);
    }

    private void blanks() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private char next() {
        return at < text.length() ? text.charAt(at) : 0;
    }

    private Object value() {
        blanks();
        switch (next()) {
            case '{':
                return object();
            case '[':
                return array();
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw wrong("expected a value");
        }
        at += word.length();
        return value;
    }

    private Object object() {
        Map<String, Object> map = build ? new LinkedHashMap<String, Object>() : null;
        at++;
        blanks();
        if (next() == '}') {
            at++;
            return map;
        }
        while (true) {
            blanks();
            if (next() != '"') {
                throw wrong("expected a name in quotes");
            }
            String name = string();
            blanks();
            if (next() != ':') {
                throw wrong("expected a colon");
            }
            at++;
            Object value = value();
            if (build) {
                map.put(name, value);
            }
            if (ends('}')) {
                return map;
            }
        }
    }

    private Object array() {
        List<Object> list = build ? new ArrayList<Object>() : null;
        at++;
        blanks();
        if (next() == ']') {
            at++;
            return list;
        }
        while (true) {
            Object value = value();
            if (build) {
                list.add(value);
            }
            if (ends(']')) {
                return list;
            }
        }
    }

    private boolean ends(char end) {
        blanks();
        char c = next();
        if (c != ',' && c != end) {
            throw wrong("expected a comma or " + end);
        }
        at++;
        return c == end;
    }

    private String string() {
        StringBuilder out = build ? new StringBuilder() : null;
        at++;
        while (true) {
            char c = next();
            if (at >= text.length() || c < ' ') {
                throw wrong("expected the end of a string");
            }
            at++;
            if (c == '"') {
                return build ? out.toString() : "";
            }
            if (c == '\\') {
                c = escape();
            }
            if (build) {
                out.append(c);
            }
        }
    }

    private char escape() {
        int known = "\"\\/bfnrt".indexOf(next());
        if (at < text.length() && known >= 0) {
            at++;
            return "\"\\/\b\f\n\r\t".charAt(known);
        }
        if (next() != 'u') {
            throw wrong("expected an escape");
        }
        int code = 0;
        for (int i = 1; i <= 4; i++) {
            int digit = at + i < text.length() ? "0123456789abcdef".indexOf(Character.toLowerCase(text.charAt(at + i))) : -1;
            if (digit < 0) {
                throw wrong("expected four hexadecimal digits");
            }
            code = code << 4 | digit;
        }
        at += 5;
        return (char) code;
    }

    private Object number() {
        int begin = at;
        if (next() == '-') {
            at++;
        }
        if (next() == '0') {
            at++;
        } else {
            digits(begin);
        }
        if (next() == '.') {
            at++;
            digits(begin);
        }
        if (next() == 'e' || next() == 'E') {
            at++;
            if (next() == '+' || next() == '-') {
                at++;
            }
            digits(begin);
        }
        return build ? Double.valueOf(text.substring(begin, at)) : null;
    }

    private void digits(int begin) {
        int first = at;
        while (next() >= '0' && next() <= '9') {
            at++;
        }
        if (at == first) {
            throw wrong(begin == at ? "expected a value" : "expected a digit");
        }
    }

    /** The text as a JSON string. */
    static String quote(String text) {
        StringBuilder out = new StringBuilder(text.length() + 16).append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            int known = "\"\\\n\r\t".indexOf(c);
            if (known >= 0) {
                out.append('\\').append("\"\\nrt".charAt(known));
            } else if (c < ' ' || Character.isSurrogate(c) && !paired(text, i)) {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }

    private static boolean paired(String text, int i) {
        return Character.isHighSurrogate(text.charAt(i))
            ? i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))
            : i > 0 && Character.isHighSurrogate(text.charAt(i - 1));
    }
}

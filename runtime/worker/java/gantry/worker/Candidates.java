package gantry.worker;

import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;

/** What may have been meant by the name of a class that is not there. */
final class Candidates {
    private static final int MOST_LISTED = 10;
    private static final int MOST_ENTRIES = 20000;

    private final List<File> jars;
    private final List<String> broken = new ArrayList<>();

    Candidates(List<File> jars) {
        this.jars = jars;
    }

    String hint(String wanted, String method) {
        if (jars.isEmpty()) {
            return "the code folder has no jar, neither in itself nor in lib/: build one (mvn package, gradle jar), and "
                + "put it there";
        }
        String simple = wanted.substring(wanted.lastIndexOf('.') + 1);
        List<String> classes = new ArrayList<>();
        List<String> near = new ArrayList<>();
        for (File jar : jars) {
            for (String name : classesIn(jar)) {
                classes.add(name);
                String last = name.substring(Math.max(name.lastIndexOf('.'), name.lastIndexOf('$')) + 1);
                if (last.equalsIgnoreCase(simple)) {
                    near.add(name);
                }
            }
        }
        if (!near.isEmpty()) {
            return "there is " + String.join(", ", near.subList(0, Math.min(near.size(), MOST_LISTED)))
                + ": set RUNTIME_HANDLER (--handler) to " + near.get(0) + "." + method;
        }
        if (!broken.isEmpty()) {
            return "this is no jar: " + String.join(", ", broken) + "; build it again, or copy it again, in binary mode";
        }
        classes.removeIf(name -> name.indexOf('$') >= 0);
        Collections.sort(classes);
        return classes.isEmpty() || classes.size() > MOST_LISTED
            ? "no jar in the code folder and in its lib/ has it"
            : "the classes there are: " + String.join(", ", classes);
    }

    private List<String> classesIn(File jar) {
        List<String> found = new ArrayList<>();
        try (JarFile file = new JarFile(jar)) {
            for (JarEntry entry : Collections.list(file.entries())) {
                String name = entry.getName();
                if (name.endsWith(".class") && !name.startsWith("META-INF/") && found.size() < MOST_ENTRIES) {
                    found.add(name.substring(0, name.length() - 6).replace('/', '.'));
                }
            }
        } catch (IOException e) {
            broken.add(jar.getName());
            Output.log(Call.NONE, Output.ERROR, jar + " cannot be read as a jar: " + Errors.message(e));
        }
        return found;
    }
}

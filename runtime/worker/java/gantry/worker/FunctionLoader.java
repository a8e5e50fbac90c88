package gantry.worker;

import java.io.File;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Loads the function's classes: the code folder, the jars in it and in its lib folder. Of the worker's own classes user
 * code sees the interfaces of the platform, which always come from here, and Gson and the classes of events unless the
 * function brings its own.
 */
final class FunctionLoader extends URLClassLoader {
    private static final Set<String> SHARED = new HashSet<>(Arrays.asList(
        "com.huawei.services.runtime.Context", "com.huawei.services.runtime.RuntimeLogger",
        "com.opentelekomcloud.services.runtime.Context", "com.opentelekomcloud.services.runtime.RuntimeLogger"));

    /** The worker's own jar: it lies beside the function in a ZIP with the agent in it, or in lib/. */
    private static final String WORKER_JAR = "gantry-java.jar";

    private static final String EVENTS = "com.huawei.services.runtime.entity.";

    static {
        registerAsParallelCapable();
    }

    /** The jars, those of the code folder first. */
    final List<File> jars;
    private final boolean ownGson;

    private FunctionLoader(URL[] urls, List<File> jars) {
        super(urls, ClassLoader.getSystemClassLoader().getParent());
        this.jars = jars;
        this.ownGson = findResource("com/google/gson/Gson.class") != null;
    }

    static FunctionLoader of(File folder) throws MalformedURLException {
        List<File> jars = new ArrayList<>();
        addJars(folder, jars);
        addJars(new File(folder, "lib"), jars);
        List<URL> urls = new ArrayList<>();
        urls.add(folder.toURI().toURL());
        for (File jar : jars) {
            urls.add(jar.toURI().toURL());
        }
        return new FunctionLoader(urls.toArray(new URL[0]), jars);
    }

    private static void addJars(File folder, List<File> jars) {
        File[] found = folder.listFiles((dir, name) -> name.endsWith(".jar") && !name.equals(WORKER_JAR));
        if (found != null) {
            Arrays.sort(found); // the same order everywhere
            jars.addAll(Arrays.asList(found));
        }
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        if (SHARED.contains(name) || !ownGson && name.startsWith("com.google.gson.")) {
            return FunctionLoader.class.getClassLoader().loadClass(name);
        }
        try {
            return super.loadClass(name, resolve);
        } catch (ClassNotFoundException e) {
            if (name.startsWith(EVENTS)) {
                return FunctionLoader.class.getClassLoader().loadClass(name);
            }
            throw e;
        }
    }
}

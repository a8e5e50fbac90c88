package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
)

// compiles is how many seconds a JVM gets, on its one CPU, to compile what runs often.
const compiles = 12

// java compares functions in Java with the JDK's own HTTP server around the same handler, and with those in Node.js.
func (b *bench) java(ctx context.Context) error {
	if missing := lacks("java", "javac"); missing != "" {
		b.table.add(&row{section: "java", figure: missing + " is not installed: NOT measured"})
		return nil
	}
	folder, err := b.javaClasses(ctx)
	if err != nil {
		return err
	}
	path, handler := folder+":"+b.javaWorker(), []string{"RUNTIME_HANDLER=Handler.handle"}
	all := byName(
		// One collector for both: what the JVM chooses depends on the machine.
		&candidate{
			name: "com.sun.net.httpserver", warmups: compiles,
			plain: []string{"java", "-XX:+UseSerialGC", "-cp", path, "Plain", portOf},
		},
		&candidate{name: "java", code: folder, runtime: "java", warmups: compiles, env: handler},
		&candidate{
			name: "java, one call at a time", code: folder, runtime: "java", concurrency: "1", warmups: compiles, env: handler,
		},
		&candidate{name: "nodejs", code: b.testdata("function"), runtime: "nodejs"},
	)
	err = b.rates(ctx, "java", all, []pair{
		{"com.sun.net.httpserver", "java", target{}},
		{"com.sun.net.httpserver", "java, one call at a time", target{}},
		{"nodejs", "java", atLeast(0.8)},
	})
	if err != nil {
		return err
	}
	ends := map[string][]string{"an empty main": {"java", "-cp", folder, "Empty"}}
	return b.firstAnswers(ctx, "java", all, ends, []pair{
		{"com.sun.net.httpserver", "java", target{}},
		{"an empty main", "java", target{}},
	})
}

// javaWorker is the worker's jar, which lies beside the agent.
func (b *bench) javaWorker() string {
	return filepath.Join(filepath.Dir(b.bootstrap), "gantry-java.jar")
}

// javaClasses builds the worker beside the agent, and compiles the function and the plain server into a folder.
func (b *bench) javaClasses(ctx context.Context) (string, error) {
	if !b.given { // another build has its own
		build := exec.CommandContext(ctx, filepath.Join(b.root, "runtime", "worker", "java", "build.sh"), b.javaWorker())
		if _, err := output(ctx, build); err != nil {
			return "", err
		}
	}
	folder, err := b.folder("java")
	if err != nil {
		return "", err
	}
	args := []string{"--release", "8", "-Xlint:-options", "-cp", b.javaWorker(), "-d", folder}
	for _, name := range []string{"Handler", "Plain", "Empty"} {
		args = append(args, filepath.Join(b.testdata("java"), name+".java"))
	}
	_, err = output(ctx, exec.CommandContext(ctx, "javac", args...))
	return folder, err
}

// php compares functions in PHP with PHP's built-in server around the same handler, both with opcache.
func (b *bench) php(ctx context.Context) error {
	if missing := lacks("php"); missing != "" {
		b.table.add(&row{section: "php", figure: missing + " is not installed: NOT measured"})
		return nil
	}
	plain := []string{
		"php", "-d", "opcache.enable_cli=1", "-S", "127.0.0.1:" + portOf, filepath.Join(b.testdata("php"), "plain.php"),
	}
	quiet := slices.Insert(slices.Clone(plain), 1, "-q") // without its log, while the agent writes its own
	all := byName(
		&candidate{name: "php -S", plain: plain},
		&candidate{name: "php -q -S", plain: quiet},
		&candidate{name: "php", code: b.testdata("php"), runtime: "php", concurrency: "1"},
		&candidate{
			name: "php, two workers", code: b.testdata("php"), runtime: "php", concurrency: "1",
			env: []string{"GANTRY_WORKERS=2"},
		},
	)
	if err := b.rates(ctx, "php", all, []pair{
		{"php -S", "php", atLeast(2)},
		{"php -q -S", "php", target{}},
		{"php -S", "php, two workers", target{}},
	}); err != nil {
		return err
	}
	ends := map[string][]string{"php -r 0": {"php", "-r", "0;"}}
	return b.firstAnswers(ctx, "php", all, ends, []pair{
		{"php -S", "php", target{}},
		{"php -r 0", "php", target{}},
	})
}

// lacks names the first of the programs that PATH has not.
func lacks(programs ...string) string {
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Sprintf("%q", name)
		}
	}
	return ""
}

package e2e

import (
	"bytes"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const sharedJava = `package com.demo;
public class Shared {
    public String handler(com.google.gson.JsonObject event, com.huawei.services.runtime.Context context) {
        try {
            return event.get("n").getAsInt() + Shared.class.getClassLoader().getClass().getName();
        } catch (RuntimeException e) {
            return e + " at " + e.getStackTrace()[0];
        }
    }
}
`

const (
	sharedHandler = "RUNTIME_HANDLER=com.demo.Shared.handler"
	archiveUsed   = `INFO code cache {"hits": 1, "misses": 0`
)

// warmedJava is the folder of a function in Java with an archive of classes.
func warmedJava(t *testing.T) string {
	t.Helper()
	dir := javaFunction(t, map[string]string{"Shared.java": sharedJava})
	got := runCommand(t, dir, []string{"warm", "--event", `{"n":1}`}, sharedHandler)
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, "code cache of 1 file, ")
	return dir
}

// TestWarmJavaFunctionAnswersAsBefore: with the archive and without it, where it was warmed and elsewhere, and when the
// function has changed.
func TestWarmJavaFunctionAnswersAsBefore(t *testing.T) {
	t.Parallel()
	dir := warmedJava(t)
	moved := filepath.Join(t.TempDir(), "moved")
	require.NoError(t, os.Rename(dir, moved))
	with, without := answered(t, moved, sharedHandler)
	require.Equal(t, without.stdout, with.stdout)
	require.Contains(t, with.stdout, "NullPointerException")
	require.Contains(t, with.stderr, archiveUsed)
	changed := javaFunction(t, map[string]string{"Shared.java": strings.Replace(sharedJava, `" at "`, `" in "`, 1)})
	require.NoError(t, os.Rename(filepath.Join(changed, "app.jar"), filepath.Join(moved, "app.jar")))
	with, without = answered(t, moved, sharedHandler)
	require.Equal(t, without.stdout, with.stdout)
	require.Contains(t, with.stdout, " in com.demo.Shared")
	require.Contains(t, with.stderr, archiveUsed)
}

// TestClassArchiveThatDoesNotFitIsIgnored: with one line that says why, and the answer is the same.
func TestClassArchiveThatDoesNotFitIsIgnored(t *testing.T) {
	t.Parallel()
	dir := warmedJava(t)
	file := filepath.Join(dir, ".gantry/code-cache")
	good, err := os.ReadFile(file)
	require.NoError(t, err)
	at := bytes.LastIndex(good, []byte("\nGANTRYJ1 "))
	require.Positive(t, at)
	fields := strings.Fields(string(good[at:]))
	write := func(text []byte) { require.NoError(t, os.WriteFile(file, text, 0o644)) }
	change := func(from, to string) { write([]byte(strings.Replace(string(good), from, to, 1))) }
	nothing := func() {}
	cases := map[string]struct {
		spoil   func()
		options string
		want    string
	}{
		"others may write it": {func() { require.NoError(t, os.Chmod(file, 0o622)) }, "", "users other than its owner may write it (mode 0622)"},
		"another Java":        {func() { change(" "+fields[3]+"\n", " 13.0.1+9\n") }, "", "it was made by Java 13.0.1+9, and this is Java " + fields[3]},
		"another worker":      {func() { change(fields[2], strings.Repeat("0", 64)) }, "", "it was made with another gantry-java.jar"},
		"cut off":             {func() { write(good[:len(good)-1]) }, "", "it is no complete class archive of this version for Java"},
		"a part is missing":   {func() { write(append(bytes.Clone(good[:at/2]), good[at:]...)) }, "", "it is not complete; run bootstrap warm again"},
		"empty":               {func() { write(nil) }, "", "it is no complete class archive of this version for Java"},
		"no archive":          {func() { write(append(make([]byte, at), good[at:]...)) }, "", "the Java machine did not take it"},
		"another layout":      {nothing, "-XX:-UseCompressedOops", "the Java machine did not take it"},
		"another class path":  {nothing, "-Xbootclasspath/a:" + filepath.Join(dir, "none.jar"), "the Java machine did not take it"},
		"the user's own":      {nothing, "-Xshare:off", "-Xshare in JAVA_TOOL_OPTIONS stands in its place"},
	}
	for name, c := range cases {
		require.NoError(t, os.Remove(file))
		write(good)
		require.NoError(t, os.Chmod(file, 0o644))
		c.spoil()
		with, without := answered(t, dir, sharedHandler, "JAVA_TOOL_OPTIONS="+c.options)
		require.Equal(t, 0, with.code, "%s: %s", name, with.stderr)
		require.Equal(t, without.stdout, with.stdout, name)
		require.Equal(t, 1, strings.Count(with.stderr, "code cache"+" is not used: "), "%s: %s", name, with.stderr)
		require.Contains(t, with.stderr, "the code cache is not used: "+c.want, name)
		require.NotContains(t, with.stderr, "[cds", name)
	}
}

// TestClassArchiveOfAChangedWorkerIsIgnored: the program has a copy of the worker beside it, which changes.
func TestClassArchiveOfAChangedWorkerIsIgnored(t *testing.T) {
	t.Parallel()
	dir := javaFunction(t, map[string]string{"Shared.java": sharedJava})
	place := t.TempDir()
	jar, agent := filepath.Join(place, javaWorker), filepath.Join(place, "bootstrap")
	for from, to := range map[string]string{program(t): agent, filepath.Join(programs, javaWorker): jar} {
		out, err := exec.Command("cp", "-p", from, to).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	run := func(command ...string) string {
		cmd := exec.Command(agent, append(command, "--code", dir)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), sharedHandler, "GANTRY_LOG_FORMAT=text", "GANTRY_EXTENSION_DIRS=" + filepath.Join(place, "none")}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	run("warm", "--event", "{}")
	require.Contains(t, run("invoke"), archiveUsed)
	info, err := os.Stat(jar)
	require.NoError(t, err)
	later := info.ModTime().AddDate(0, 0, 1)
	require.NoError(t, os.Chtimes(jar, later, later))
	require.Contains(t, run("invoke"), "the code cache is not used: the Java machine did not take it")
	text, err := os.ReadFile(jar)
	require.NoError(t, err)
	// Of the same size and time: a byte of the first entry's time, which a Java machine does not look at.
	text[10] ^= 1
	require.NoError(t, os.WriteFile(jar, text, 0o644))
	require.NoError(t, os.Chtimes(jar, info.ModTime(), info.ModTime()))
	require.Contains(t, run("invoke"), "the code cache is not used: it was made with another gantry-java.jar")
}

// TestWarmNeedsAJavaThatCanShareClasses: nothing is written, and nothing started.
func TestWarmNeedsAJavaThatCanShareClasses(t *testing.T) {
	t.Parallel()
	dir := javaFunction(t, map[string]string{"Shared.java": sharedJava})
	old := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(old, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(old, "bin/java"), []byte("#!/bin/sh\nexit 1\n"), 0o755))
	path := "PATH=" + filepath.Join(old, "bin") + ":" + os.Getenv("PATH")
	for release, want := range map[string]string{
		"JAVA_VERSION=\"11.0.2\"\n":  "no class archive can be written: this is Java 11.0.2, and it takes Java 13 or later",
		"JAVA_VERSION=\"1.8.0_9\"\n": "no class archive can be written: this is Java 1.8.0_9, and it takes Java 13 or later",
		"":                           "the file release in " + old + " has no JAVA_VERSION",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(old, "release"), []byte(release), 0o644))
		got := runCommand(t, dir, []string{"warm"}, sharedHandler, path)
		require.Equal(t, 2, got.code, got.stderr)
		require.Contains(t, got.stderr, want)
	}
	got := runCommand(t, dir, []string{"warm"}, sharedHandler, "JAVA_TOOL_OPTIONS=-Xshare:off")
	require.Equal(t, 2, got.code, got.stderr)
	require.Contains(t, got.stderr, "-Xshare in JAVA_TOOL_OPTIONS stands in its place")
	left, err := filepath.Glob(filepath.Join(dir, ".gantry/.code*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestClassArchiveIsCounted: in /metrics, for each load, those of machines that were started in advance as well.
func TestClassArchiveIsCounted(t *testing.T) {
	t.Parallel()
	r := start(t, warmedJava(t), sharedHandler, "GANTRY_SPARE=1")
	r.waitMetric("gantry_spare_interpreters", "1")
	r.waitMetric(`gantry_code_cache_files_total{result="hit"}`, "1")
	require.NoError(t, exec.Command("kill", "-9", r.worker()).Run())
	r.waitMetric(`gantry_code_cache_files_total{result="hit"}`, "2")
	harness.Eventually(t, func() bool { return r.try("{}").status == 200 }, "an answer")
}

// TestSpareWithAClassArchiveWaitsWithTheLoad: until it takes the place of a worker it has not run the function's code.
func TestSpareWithAClassArchiveWaitsWithTheLoad(t *testing.T) {
	t.Parallel()
	note := filepath.Join(t.TempDir(), "loads")
	dir := javaFunction(t, map[string]string{"Shared.java": strings.Replace(sharedJava, "public class Shared {", `public class Shared {
    static {
        try (java.io.FileWriter out = new java.io.FileWriter("`+note+`", true)) {
            out.write("x");
        } catch (java.io.IOException e) {
            throw new RuntimeException(e);
        }
    }`, 1)})
	got := runCommand(t, dir, []string{"warm"}, sharedHandler)
	require.Equal(t, 0, got.code, got.stderr)
	require.NoError(t, os.Remove(note))
	r := start(t, dir, sharedHandler, "GANTRY_SPARE=1")
	r.waitMetric("gantry_spare_interpreters", "1")
	loads := func() string {
		text, err := os.ReadFile(note)
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, 200, r.try("{}").status)
	require.Equal(t, "x", loads())
	require.NoError(t, exec.Command("kill", "-9", r.worker()).Run())
	r.waitMetric(`gantry_code_cache_files_total{result="hit"}`, "2")
	require.Equal(t, "xx", loads())
}

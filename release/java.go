package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	bill "github.com/CycloneDX/cyclonedx-go"
)

// javaWorker is the name of the worker of functions in Java. It lies beside the agent, or where packages have it.
const javaWorker = "gantry-java.jar"

// Files of that archive which say what Gson it contains.
const (
	gsonProperties = "META-INF/maven/com.google.code.gson/gson/pom.properties"
	gsonLicence    = "META-INF/LICENSE-gson"
)

// worker is that archive, the same for every architecture, and what it contains of others.
type worker struct {
	file
	gson    string // the version
	licence string // the text that came with Gson
}

// buildJava makes the worker with the script of "make java". Its bytes also depend on the JDK and on Gson.
func (r *release) buildJava() error {
	to := filepath.Join(r.work, javaWorker)
	cmd := exec.Command(filepath.Join(r.root, "runtime", "worker", "java", "build.sh"), to)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.time.Unix()))
	if _, err := output(cmd); err != nil {
		return err
	}
	data, err := os.ReadFile(to)
	if err != nil {
		return err
	}
	r.java = worker{file: file{path: javaWorker, mode: 0o644, data: data}}
	return r.java.readGson()
}

// readGson reads the version and the licence of Gson from the archive.
func (w *worker) readGson() error {
	archive, err := zip.NewReader(bytes.NewReader(w.data), int64(len(w.data)))
	if err != nil {
		return err
	}
	properties, err := fs.ReadFile(archive, gsonProperties)
	if err != nil {
		return fmt.Errorf("%s: %w", javaWorker, err)
	}
	licence, err := fs.ReadFile(archive, gsonLicence)
	if err != nil {
		return fmt.Errorf("%s: %w", javaWorker, err)
	}
	w.licence = string(licence)
	for line := range strings.Lines(string(properties)) {
		if version, found := strings.CutPrefix(line, "version="); found {
			w.gson = strings.TrimSpace(version)
		}
	}
	if w.gson == "" {
		return fmt.Errorf("%s: %s names no version", javaWorker, gsonProperties)
	}
	return nil
}

// title introduces the licence of Gson.
func (w *worker) title() string { return "Gson " + w.gson + ", in " + javaWorker + ": copyright" }

// gsonURL is Gson's reference in the bill of materials.
func (w *worker) gsonURL() string { return "pkg:maven/com.google.code.gson/gson@" + w.gson }

// components are the worker and Gson, for the bill of materials.
func (w *worker) components(version string) []bill.Component {
	return []bill.Component{
		{
			BOMRef: w.path, Type: bill.ComponentTypeFile, Name: w.path, Version: version, Hashes: hashes(digest(w.data)),
			Licenses: apache(),
		},
		{
			BOMRef: w.gsonURL(), PackageURL: w.gsonURL(), Type: bill.ComponentTypeLibrary, Group: "com.google.code.gson",
			Name: "gson", Version: w.gson, Licenses: apache(),
		},
	}
}

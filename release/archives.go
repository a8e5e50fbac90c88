package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// sumsName is the file with the checksums of all others, in the format of sha256sum.
const sumsName = "SHA256SUMS"

// writeArchives makes one archive for each architecture: a folder with the programs, ready to run.
func (r *release) writeArchives() error {
	for _, arch := range r.arches {
		name := fmt.Sprintf("gantry-%s-linux-%s", r.version, arch)
		files := slices.Concat(r.programs[arch], r.texts, r.extras, r.shared)
		files = append(files, r.java.file, file{path: "bootstrap", link: "gantry"})
		data, err := archive(withFolders(below(name, files)), r.time)
		if err != nil {
			return err
		}
		if data, err = zipped(data); err != nil {
			return err
		}
		if err := r.write(name+".tar.gz", data); err != nil {
			return err
		}
	}
	return nil
}

// writeSums is the last step.
func (r *release) writeSums() error {
	entries, err := os.ReadDir(r.out) // sorted
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), e.Name())
	}
	return r.write(sumsName, sums.Bytes())
}

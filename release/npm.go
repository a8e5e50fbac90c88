package main

import (
	_ "embed"
	"encoding/json"
	"slices"
)

// launcher replaces itself by the program for the machine, so that signals and the exit code are the program's own.
//
//go:embed launcher.sh
var launcher []byte

// manifest is the package.json. There is no "os" and no "cpu": npm's refusal would be an error of many lines, and would
// stop the install of a project that is shared with other systems.
type manifest struct {
	Name        string            `json:"name"`
	Version     string            `json:"version"`
	Description string            `json:"description"`
	License     string            `json:"license"`
	Bin         map[string]string `json:"bin"`
}

// writeNPM makes a package as "npm pack" would, with the programs in it: nothing is downloaded or run at the install.
func (r *release) writeNPM() error {
	description, err := json.MarshalIndent(manifest{
		Name: "gantry", Version: r.version, Description: summary, License: "Apache-2.0",
		Bin: map[string]string{"gantry": "bin/gantry"},
	}, "", "  ")
	if err != nil {
		return err
	}
	files := append(slices.Clone(r.texts),
		file{path: "package.json", mode: 0o644, data: append(description, '\n')},
		file{path: "bin/gantry", mode: 0o755, data: launcher})
	for _, arch := range r.arches {
		files = append(files, below("lib/linux-"+arch, append(slices.Clone(r.programs[arch]), r.java.file))...)
	}
	data, err := archive(below("package", files), r.time)
	if err != nil {
		return err
	}
	if data, err = zipped(data); err != nil {
		return err
	}
	return r.write("gantry-"+r.version+".tgz", data)
}

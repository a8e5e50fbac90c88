package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	bill "github.com/CycloneDX/cyclonedx-go"
)

// writeBill makes the bill of materials: both programs, the modules in each with their versions and hashes, Go, and the
// files of ours that are embedded, such as the sources of the workers; and the worker for Java with Gson.
func (r *release) writeBill() error {
	top := bill.Component{
		BOMRef: "gantry-release", Type: bill.ComponentTypeApplication, Name: "gantry", Version: r.version,
		Description: summary, Licenses: apache(),
	}
	b := bill.NewBOM()
	b.Metadata = &bill.Metadata{Timestamp: r.time.Format(time.RFC3339), Component: &top}
	var components []bill.Component
	var dependencies []bill.Dependency
	var names []string
	for _, p := range programs {
		components = append(components, r.programComponent(p.name))
		dependencies = append(dependencies, bill.Dependency{Ref: p.name, Dependencies: r.uses(p.name)})
		names = append(names, p.name)
	}
	names = append(names, r.java.path)
	dependencies = append(dependencies,
		bill.Dependency{Ref: r.java.path, Dependencies: &[]string{r.java.gsonURL()}},
		bill.Dependency{Ref: top.BOMRef, Dependencies: &names})
	components = append(components, r.java.components(r.version)...)
	components = append(components, bill.Component{
		BOMRef: purl("std", r.modules.golang), PackageURL: purl("std", r.modules.golang), Type: bill.ComponentTypeLibrary,
		Name: "std", Version: r.modules.golang, Description: "the Go standard library",
	})
	for _, m := range r.modules.foreign {
		c, err := m.component()
		if err != nil {
			return err
		}
		components = append(components, c)
	}
	for _, f := range r.modules.embedded {
		components = append(components, bill.Component{
			BOMRef: f.path, Type: bill.ComponentTypeFile, Name: f.path, Version: r.version,
			Hashes: hashes(digest(f.data)), Licenses: apache(),
		})
	}
	b.Components, b.Dependencies = &components, &dependencies
	var out bytes.Buffer
	if err := bill.NewBOMEncoder(&out, bill.BOMFileFormatJSON).SetPretty(true).Encode(b); err != nil {
		return err
	}
	return r.write(fmt.Sprintf("gantry-%s.cdx.json", r.version), out.Bytes())
}

// programComponent is one of ours, with the hash for each architecture.
func (r *release) programComponent(name string) bill.Component {
	var properties []bill.Property
	for _, arch := range r.arches {
		properties = append(properties, bill.Property{
			Name:  "gantry:sha256:linux-" + arch,
			Value: digest(find(r.programs[arch], name).data),
		})
	}
	return bill.Component{
		BOMRef: name, Type: bill.ComponentTypeApplication, Name: name, Version: r.version,
		Licenses: apache(), Properties: &properties,
	}
}

// uses are the references of what is in a program. The embedded files are the agent's.
func (r *release) uses(program string) *[]string {
	refs := []string{purl("std", r.modules.golang)}
	for _, m := range r.modules.foreign {
		if m.users[program] {
			refs = append(refs, purl(m.Path, m.Version))
		}
	}
	for _, f := range r.modules.embedded {
		if program == programs[0].name {
			refs = append(refs, f.path)
		}
	}
	slices.Sort(refs)
	return &refs
}

// component has the hash of go.sum: the SHA-256 of the list of the module's files and their hashes.
func (m *module) component() (bill.Component, error) {
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
	if err != nil || len(sum) != sha256.Size {
		return bill.Component{}, fmt.Errorf("module %s %s has the checksum %q, want h1: and 32 bytes",
			m.Path, m.Version, m.Sum)
	}
	return bill.Component{
		BOMRef: purl(m.Path, m.Version), PackageURL: purl(m.Path, m.Version), Type: bill.ComponentTypeLibrary,
		Name: m.Path, Version: m.Version, Hashes: hashes(fmt.Sprintf("%x", sum)),
	}, nil
}

func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.TrimPrefix(version, "go")
}

// digest is the SHA-256 of data in hexadecimal digits.
func digest(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func hashes(sha256 string) *[]bill.Hash {
	return &[]bill.Hash{{Algorithm: bill.HashAlgoSHA256, Value: sha256}}
}

func apache() *bill.Licenses { return &bill.Licenses{{License: &bill.License{ID: "Apache-2.0"}}} }

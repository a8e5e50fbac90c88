package destination

import (
	"encoding/json"
	"errors"
	"fmt"
	"gantry/files"
	"io"
	"net/url"
	"os"
	"strings"

	fncontext "gantry/context"
)

// Endpoint is where a service is, and a pair of keys for it; without a URL its outcome messages go to files.
type Endpoint struct {
	URL    string `json:"url"`
	Access string `json:"access"`
	Secret string `json:"secret"`
	// Region is for OBS; empty means us-east-1, as of S3.
	Region string `json:"region"`
	// ProjectID is for SMN and DIS; empty means the function's own project.
	ProjectID string `json:"project_id"`
}

// Endpoints is the file of endpoints.
type Endpoints struct {
	OBS Endpoint `json:"obs"`
	SMN Endpoint `json:"smn"`
	DIS Endpoint `json:"dis"`
	// Functions are other functions' platform APIs, by URN in any of its forms, with or without its version.
	Functions map[string]Endpoint `json:"functions"`
}

// maxEndpoints bounds the file of endpoints, in bytes.
const maxEndpoints = 4 << 20

// ReadEndpoints reads the file. Errors never show what may be a key.
func ReadEndpoints(name string) (*Endpoints, error) {
	text, err := files.Within(name, func() ([]byte, error) {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if mode := info.Mode().Perm(); mode&0o022 != 0 { // its author gets what functions answer
			return nil, fmt.Errorf("%s may be written by others (mode %04o); chmod 600 %s", name, mode, name)
		}
		return files.Load(name, maxEndpoints)
	})
	if err != nil {
		return nil, err
	}
	e := &Endpoints{}
	// editors on Windows put a byte order mark there
	decoder := json.NewDecoder(strings.NewReader(strings.TrimPrefix(string(text), "\ufeff")))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(e); err != nil {
		return nil, fmt.Errorf(
			`%s is not JSON of the form {"obs": {"url", "access", "secret", "region"}, "smn": {…}, "dis": {…}, "functions": {"urn:fss:…": {…}}}`,
			name,
		)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: something follows the JSON object; want nothing behind it", name)
	}
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return e, nil
}

// check says what is wrong with the endpoints; those of services may be missing.
func (e *Endpoints) check() error {
	for member, endpoint := range map[string]Endpoint{"obs": e.OBS, "smn": e.SMN, "dis": e.DIS} {
		if endpoint == (Endpoint{}) {
			continue
		}
		if err := endpoint.check(member); err != nil {
			return err
		}
	}
	for urn, endpoint := range e.Functions {
		if _, err := fncontext.ParseURN(urn); err != nil {
			return fmt.Errorf("functions: %w", err)
		}
		if err := endpoint.check(urn); err != nil {
			return err
		}
	}
	return nil
}

func (e *Endpoint) check(member string) error {
	if u, err := url.Parse(e.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf(`%s needs "url", like https://host`, member)
	}
	if (e.Access == "") != (e.Secret == "") {
		return fmt.Errorf(`%s has one of "access" and "secret"; give both, or none if nothing is to be signed`, member)
	}
	return nil
}

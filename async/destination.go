package async

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	fncontext "gantry/context"
)

// The kinds of destinations (page functiongraph_06_0142).
const (
	kindOBS      = "OBS"
	kindSMN      = "SMN"
	kindDIS      = "DIS"
	kindFunction = "FunctionGraph"
)

// param is what a destination needs; which members depends on its kind.
type param struct {
	Bucket      string `json:"bucket"`
	Prefix      string `json:"prefix"`
	Expires     int    `json:"expires"`
	TopicURN    string `json:"topic_urn"`
	StreamName  string `json:"stream_name"`
	FunctionURN string `json:"func_urn"`
}

// check reports what is wrong with a destination; none is fine.
func (d *Destination) check(member string) error {
	if d == nil {
		return nil
	}
	if !slices.Contains([]string{kindOBS, kindSMN, kindDIS, kindFunction}, d.Kind) {
		return badConfiguration(fmt.Sprintf("%s.destination is %.50q, want OBS, SMN, DIS or FunctionGraph", member, d.Kind))
	}
	var p param
	var typ *json.UnmarshalTypeError
	switch err := json.Unmarshal([]byte(d.Param), &p); {
	case errors.As(err, &typ) && typ.Field != "":
		return badConfiguration(fmt.Sprintf("%s.param: %s has the wrong type, want %s", member, typ.Field, inJSON(typ.Type)))
	case err != nil || !strings.HasPrefix(strings.TrimSpace(d.Param), "{"):
		return badConfiguration(fmt.Sprintf("%s.param of %s is needed: a JSON object in a string", member, d.Kind))
	}
	if err := p.check(d.Kind); err != nil {
		return badConfiguration(member + ".param" + err.Error())
	}
	return nil
}

// Limits of the names in a param, in bytes. Names are parts of paths: of a service's, or of files.
const (
	maxBucket = 63 // of OBS
	maxTopic  = 512
	maxStream = 255
	// maxPrefix leaves room for the rest of an object's name, of which OBS takes 1,024 bytes.
	maxPrefix = 1024 - 256
	// maxFileName is the kernel's.
	maxFileName = 255
)

// check reports what is wrong with what a kind needs; the text goes behind the word param.
func (p *param) check(kind string) error {
	needs := func(name, value string) error {
		if value == "" {
			return fmt.Errorf(" of %s needs %q", kind, name)
		}
		return nil
	}
	switch kind {
	case kindOBS:
		if p.Expires < 0 || p.Expires > 365 {
			return fmt.Errorf(": expires is %d, want 0 to 365 days", p.Expires)
		}
		return cmp.Or(needs("bucket", p.Bucket), checkName("bucket", p.Bucket, maxBucket), checkPrefix(p.Prefix))
	case kindSMN:
		return cmp.Or(needs("topic_urn", p.TopicURN), checkName("topic_urn", p.TopicURN, maxTopic))
	case kindDIS:
		return cmp.Or(needs("stream_name", p.StreamName), checkName("stream_name", p.StreamName, maxStream))
	}
	if err := needs("func_urn", p.FunctionURN); err != nil {
		return err
	}
	u, err := fncontext.ParseURN(p.FunctionURN)
	if err == nil && dots(u.Name) {
		err = fmt.Errorf("%q names no function", p.FunctionURN)
	}
	if err != nil {
		return fmt.Errorf(": func_urn: %w", err)
	}
	return nil
}

const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-"

// checkName takes the characters that names and URNs of the services have.
func checkName(name, value string, most int) error {
	switch {
	case len(value) > most:
		return fmt.Errorf(": %s has %d bytes, want at most %d", name, len(value), most)
	case dots(value) || strings.Trim(value, nameCharacters) != "":
		return fmt.Errorf(": %s is %.80q, want letters, digits, dots, colons, hyphens and underscores", name, value)
	}
	return nil
}

// dots reports whether a name means the folder itself or the one above.
func dots(name string) bool { return name == "." || name == ".." }

// checkPrefix takes what may begin the name of an object: slashes at either end or doubled are left out there.
func checkPrefix(prefix string) error {
	switch {
	case len(prefix) > maxPrefix:
		return fmt.Errorf(": prefix has %d bytes, want at most %d", len(prefix), maxPrefix)
	case strings.ContainsFunc(prefix, unicode.IsControl):
		return fmt.Errorf(": prefix is %.80q, want no control characters", prefix)
	case slices.ContainsFunc(strings.Split(prefix, "/"), dots):
		return fmt.Errorf(": prefix is %.80q, want neither . nor .. between slashes", prefix)
	}
	return nil
}

// checkFiles reports destinations whose notifications would become files with names that no file can have: those
// without an endpoint. The API asks it before a configuration is stored.
func (e *Endpoints) checkFiles(c *Configuration) error {
	for member, d := range map[string]*Destination{"on_success": c.Destinations.OnSuccess, "on_failure": c.Destinations.OnFailure} {
		if d == nil {
			continue
		}
		var p param
		if err := json.Unmarshal([]byte(d.Param), &p); err != nil {
			return badConfiguration(fmt.Sprintf("%s.param: %v", member, err))
		}
		names := ""
		switch {
		case d.Kind == kindOBS && e.OBS.URL == "":
			names = p.Prefix
		case d.Kind == kindSMN && e.SMN.URL == "":
			names = p.TopicURN
		}
		for name := range strings.SplitSeq(names, "/") {
			if len(name) > maxFileName {
				return badConfiguration(fmt.Sprintf("%s.param of %s: without an endpoint notifications are files, and %.40q… has %d bytes, more than the %d of a file's name",
					member, d.Kind, name, len(name), maxFileName))
			}
		}
	}
	return nil
}

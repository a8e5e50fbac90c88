package async

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

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
	needs := func(name, value string) error {
		if value == "" {
			return badConfiguration(fmt.Sprintf("%s.param of %s needs %q", member, d.Kind, name))
		}
		return nil
	}
	switch d.Kind {
	case kindOBS:
		if p.Expires < 0 || p.Expires > 365 {
			return badConfiguration(fmt.Sprintf("%s.param: expires is %d, want 0 to 365 days", member, p.Expires))
		}
		return needs("bucket", p.Bucket)
	case kindSMN:
		return needs("topic_urn", p.TopicURN)
	case kindDIS:
		return needs("stream_name", p.StreamName)
	}
	if err := needs("func_urn", p.FunctionURN); err != nil {
		return err
	}
	if _, err := fncontext.ParseURN(p.FunctionURN); err != nil {
		return badConfiguration(fmt.Sprintf("%s.param: func_urn: %v", member, err))
	}
	return nil
}

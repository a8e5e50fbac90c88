package destination

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// kinds is the table. names has its keys in the order of the platform's page.
var (
	kinds = map[string]kind{OBS: bucket{}, SMN: topic{}, DIS: stream{}, Function: function{}}
	names = []string{OBS, SMN, DIS, Function}
)

// Check reports what is wrong with a destination of the given kind and param, the JSON text of an object. The error
// begins with member, the name of the destination in the configuration.
func Check(member, name, text string) error {
	k, ok := kinds[name]
	if !ok {
		last := len(names) - 1
		return fmt.Errorf(
			"%s.destination is %.50q, want %s or %s",
			member,
			name,
			strings.Join(names[:last], ", "),
			names[last],
		)
	}
	var p param
	var typ *json.UnmarshalTypeError
	switch err := json.Unmarshal([]byte(text), &p); {
	case errors.As(err, &typ) && typ.Field != "":
		return fmt.Errorf("%s.param: %s has the wrong type, want %s", member, typ.Field, InJSON(typ.Type))
	case err != nil || !strings.HasPrefix(strings.TrimSpace(text), "{"):
		return fmt.Errorf("%s.param of %s is needed: a JSON object in a string", member, name)
	}
	if err := k.check(&p); err != nil {
		return fmt.Errorf("%s.param%w", member, err)
	}
	return nil
}

// CheckFile reports a destination whose outcome messages would become files with names that no file can have: one
// without an endpoint. It comes after Check.
func (e *Endpoints) CheckFile(member, name, text string) error {
	k, ok := kinds[name]
	if !ok {
		return nil // Check says it
	}
	var p param
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return fmt.Errorf("%s.param: %w", member, err)
	}
	if !filed(k, e) {
		return nil
	}
	for part := range strings.SplitSeq(k.chosen(&p), "/") {
		if len(part) > maxFileName {
			return fmt.Errorf(
				"%s.param of %s: without an endpoint the outcome messages are files, and %.40q… has %d bytes, more than the %d of a file's name",
				member,
				name,
				part,
				len(part),
				maxFileName,
			)
		}
	}
	return nil
}

// Send takes an outcome message to its destination. The deadline of ctx bounds it. It may be called again for the same
// outcome message: the second one replaces the first where the service has names.
func (s *Sender) Send(ctx context.Context, name, text string, m *Message) error {
	var p param
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return &Refused{Text: "the stored param cannot be read: " + err.Error(), Final: true}
	}
	k, ok := kinds[name]
	if !ok {
		return &Refused{Text: "unknown destination " + name, Final: true}
	}
	if filed(k, s.Endpoints) {
		return s.WriteFile(path.Join(name, k.file(s, &p, m)), m.Text)
	}
	return k.deliver(ctx, s, k.endpoint(s.Endpoints), &p, m)
}

// filed reports whether outcome messages of the kind become files.
func filed(k kind, e *Endpoints) bool {
	endpoint := k.endpoint(e)
	return endpoint != nil && endpoint.URL == ""
}

package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	fncontext "gantry/context"
)

// maxVariable is the most bytes that the kernel takes for one variable NAME=value of a new process, with the NUL at its
// end (MAX_ARG_STRLEN).
const maxVariable = 128 << 10

// userData reads RUNTIME_USERDATA.
func userData(c *Config, v string) error {
	values, others, err := parseUserData("RUNTIME_USERDATA", v)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		c.Remarks = append(
			c.Remarks,
			fmt.Sprintf(
				"RUNTIME_USERDATA: %s is no string; the platform has strings only: write it in quotes",
				strings.Join(others, ", "),
			),
		)
	}
	c.Function.UserData, c.Function.UserDataJSON = values, v
	return nil
}

// encryptedUserData reads GANTRY_ENCRYPTED_USERDATA, whose values no error shows.
func encryptedUserData(c *Config, v string) error {
	values, others, err := parseUserData("GANTRY_ENCRYPTED_USERDATA", v)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return problem(strings.Join(others, ", ") + " is no string: write it in quotes")
	}
	c.Encrypted = fncontext.NewEncryptedData(values)
	return nil
}

// parseUserData reads a JSON object of user variables. Values that are no strings are taken as their JSON, and named in
// others.
func parseUserData(setting, text string) (values map[string]string, others []string, err error) {
	const want = `want a JSON object of strings, like {"name": "value"}`
	if len(setting)+len(text)+2 > maxVariable {
		return nil, nil, problem(
			fmt.Sprintf(
				"%d bytes are too many: the kernel takes at most %d in one variable; put large values into a file",
				len(text),
				maxVariable-len(setting)-2,
			),
		)
	}
	var raw map[string]json.RawMessage
	var syntax *json.SyntaxError
	switch err := json.Unmarshal([]byte(text), &raw); {
	case errors.As(err, &syntax):
		return nil, nil, problem(fmt.Sprintf("%s; this is no JSON from byte %d on", want, syntax.Offset))
	case err != nil:
		return nil, nil, problem(want + "; this is " + kindOfJSON(text))
	}
	values = make(map[string]string, len(raw))
	for name, value := range raw {
		var s string
		if value[0] != '"' {
			s = string(value)
			others = append(others, name)
		} else if err := json.Unmarshal(value, &s); err != nil {
			return nil, nil, err
		}
		values[name] = s
	}
	slices.Sort(others)
	return values, others, nil
}

// kindOfJSON names the kind of a JSON value.
func kindOfJSON(text string) string {
	text = strings.TrimLeft(text, " \t\r\n")
	switch text[0] {
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a truth value"
	}
	return "a number"
}

// checkUserData refuses a user variable that is set twice, and says which ones are not exported as variables of their
// own.
func (c *Config) checkUserData() error {
	var kept []string
	for name := range c.Encrypted.Reveal() {
		if _, twice := c.Function.UserData[name]; twice {
			return fmt.Errorf("GANTRY_ENCRYPTED_USERDATA: %q is in RUNTIME_USERDATA as well: remove it from one of them", name)
		}
	}
	for name, value := range c.Function.UserData {
		if !exportable(name, value, c.presetForWorker) {
			kept = append(kept, name)
		}
	}
	if len(kept) > 0 {
		slices.Sort(kept)
		c.Remarks = append(
			c.Remarks,
			fmt.Sprintf(
				"RUNTIME_USERDATA: %s has a name that the agent sets itself, or that no variable can have: only the context's getUserData has it, not the environment",
				strings.Join(kept, ", "),
			),
		)
	}
	return nil
}

// presetNames are the variables that the platform or the agent sets, beside RUNTIME_* and GANTRY_*; a user variable of
// such a name is not exported. docs/CONFIGURATION.md lists them.
var presetNames = []string{
	"EXTENSION_API_ADDR",
	"EXTENSION_ROOT",
	"PATH",
	"HOME",
	"HOSTNAME",
	"USER",
	"LOGNAME",
	"TMPDIR",
	"LD_LIBRARY_PATH",
	"PAAS_POD_ID",
}

// preset reports whether a user variable may not have this name.
func preset(name string) bool {
	return Reserved(name) || slices.Contains(presetNames, name)
}

// presetForWorker is preset for the function. A custom runtime may be an agent itself, whose settings are the user
// variables.
func (c *Config) presetForWorker(name string) bool {
	return preset(name) && (!c.Language.Foreign() || !strings.HasPrefix(name, "GANTRY_"))
}

// exportable reports whether a user variable can be a variable of its own.
func exportable(name, value string, preset func(string) bool) bool {
	return name != "" && !preset(name) && !strings.ContainsAny(name, "=\x00") && !strings.Contains(value, "\x00") &&
		len(name)+len(value)+2 <= maxVariable
}

// userVariables are the user variables in the form of an environment, without those that may not be set.
func userVariables(values map[string]string, preset func(name string) bool) []string {
	var env []string
	for name, value := range values {
		if exportable(name, value, preset) {
			env = append(env, name+"="+value)
		}
	}
	slices.Sort(env)
	return env
}

// layered joins environments into one in which each name occurs once: the last one wins. Which of two a program would
// take differs from language to language.
func layered(layers ...[]string) []string {
	var env []string
	at := map[string]int{}
	for _, layer := range layers {
		for _, kv := range layer {
			name, _, _ := strings.Cut(kv, "=")
			if i, there := at[name]; there {
				env[i] = kv
				continue
			}
			at[name] = len(env)
			env = append(env, kv)
		}
	}
	return env
}

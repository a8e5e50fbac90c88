package settings

import (
	"fmt"
	"strings"
)

// groups are the sections of the list of settings, by what the variables begin with; the first that fits counts.
var groups = []struct {
	title    string
	prefixes []string
}{
	{"Log", []string{"GANTRY_LOG_", "NO_COLOR"}},
	{"Extensions", []string{"GANTRY_EXTENSION_", "EXTENSION_API_ADDR"}},
	{"Platform API", []string{"GANTRY_API_"}},
	{"API Gateway", []string{"GANTRY_APIG_"}},
	{"Asynchronous requests", []string{"GANTRY_ASYNC_", "GANTRY_NATS_", "GANTRY_DATA_DIR"}},
	{"Timers", []string{"GANTRY_TIMER"}},
	{"Credentials and variables that functions get", []string{
		"GANTRY_ACCESS_KEY", "GANTRY_SECRET_KEY", "GANTRY_SECURITY_", "GANTRY_AUTH_TOKEN", "GANTRY_ENCRYPTED_USERDATA",
		"RUNTIME_USERDATA", "GANTRY_WORKER_ENV", "GANTRY_INCLUDE_KEYS",
	}},
	{"Listeners", []string{
		"GANTRY_ADDR", "GANTRY_OPS_ADDR", "RUNTIME_API_ADDR", "GANTRY_BODY_MEMORY", "GANTRY_TRUST_", "GANTRY_UPSTREAM",
		"GANTRY_HTTP_",
	}},
	{"Workers", []string{
		"GANTRY_RUNTIME", "GANTRY_CONCURRENCY", "GANTRY_WORKERS", "GANTRY_SPARE", "GANTRY_CODE_CACHE", "GANTRY_QUEUE",
		"GANTRY_FREEZE", "GANTRY_UID", "GANTRY_GID", "GANTRY_SHUTDOWN_TIMEOUT", "GANTRY_EXIT_ON_FAILURE",
	}},
	{"Function", []string{"RUNTIME_", "GANTRY_REGION"}},
}

// groupOf is the title of the section that a setting is in.
func groupOf(env string) string {
	for _, g := range groups {
		for _, prefix := range g.prefixes {
			if strings.HasPrefix(env, prefix) {
				return g.title
			}
		}
	}
	return "Others"
}

// Group is a section of the list of settings.
type Group struct {
	Title    string
	Settings []Setting
}

// Groups are all settings in sections, the function's first.
func Groups() []Group {
	table := Table()
	var all []Group
	for i := len(groups) - 1; i >= 0; i-- {
		g := Group{Title: groups[i].title}
		for _, s := range table {
			if groupOf(s.Env) == g.Title {
				g.Settings = append(g.Settings, s)
			}
		}
		all = append(all, g)
	}
	return all
}

// Help is the list of all settings for a terminal, in sections, with lines of at most width columns.
func Help(width int) string {
	var b strings.Builder
	b.WriteString(Wrap("Every setting is a variable, and a flag unless it is a secret. A flag beats the variable. "+
		"A secret may stand in a file instead: NAME_FILE has its path. docs/CONFIGURATION.md explains each one.", "", width))
	for _, g := range Groups() {
		fmt.Fprintf(&b, "\n%s\n", g.Title)
		for _, s := range g.Settings {
			b.WriteString(s.describe(width))
		}
	}
	return b.String()
}

// describe is one setting: its names, and below them what it means.
func (s *Setting) describe(width int) string {
	names := "  " + s.Env
	if s.flag != "" {
		names += ", --" + s.flag
	}
	if s.fallback != "" {
		names += " (" + s.fallback + ")"
	}
	return names + "\n" + Wrap(s.help, "      ", width)
}

// Flags are the flags of the settings with these variables, each with its help.
func Flags(width int, variables ...string) string {
	const indent = 20
	var b strings.Builder
	for _, name := range variables {
		for _, s := range Table() {
			if s.Env == name {
				text := strings.TrimLeft(Wrap(s.help, strings.Repeat(" ", indent), width), " ")
				name := fmt.Sprintf("  %-*s", indent-2, "--"+s.flag)
				if len(name) > indent || !strings.HasSuffix(name, " ") { // a long name has a line of its own
					text = strings.Repeat(" ", indent) + text
					name += "\n"
				}
				b.WriteString(name + text)
			}
		}
	}
	return b.String()
}

// Wrap breaks a text into lines of at most width columns, each behind the indent; a longer
// piece without a blank stays whole.
func Wrap(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > width && line != indent {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	return b.String()
}

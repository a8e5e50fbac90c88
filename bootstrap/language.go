package main

import (
	"fmt"
	"gantry/explain"
	"gantry/settings"
	"strings"
)

// language is what --lang says, else what the environment does.
func (p *program) language(flag string) (explain.Language, error) {
	switch strings.ToLower(flag) {
	case "en":
		return explain.English, nil
	case "zh":
		return explain.Chinese, nil
	case "":
	default:
		return 0, fmt.Errorf("--lang is %.20q, want en or zh", flag)
	}
	env := settings.Variables(p.environ)
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} { // in the order of setlocale(3)
		if env[name] != "" {
			return explain.LanguageOf(env[name]), nil
		}
	}
	return explain.English, nil
}

// noColor reports whether the environment forbids colours; see https://no-color.org.
func (p *program) noColor() bool { return settings.Variables(p.environ)["NO_COLOR"] != "" }

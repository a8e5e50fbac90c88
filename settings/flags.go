package settings

import (
	"strings"

	"github.com/spf13/pflag"
)

// AddSettings makes a flag of every setting that is no secret.
func AddSettings(flags *pflag.FlagSet) {
	flags.SortFlags = false
	for _, s := range Table() {
		switch {
		case s.Secret:
		case s.toggle:
			flags.Bool(s.flag, s.fallback == "true", s.usage())
		default:
			flags.String(s.flag, s.fallback, s.usage())
		}
	}
}

// ChangedSettings returns the settings that were given as flags.
func ChangedSettings(flags *pflag.FlagSet) map[string]string {
	given := map[string]string{}
	flags.Visit(func(f *pflag.Flag) {
		for _, s := range Table() {
			if s.flag == f.Name && s.flag != "" {
				given[f.Name] = strings.TrimSpace(f.Value.String())
			}
		}
	})
	return given
}

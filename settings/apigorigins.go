package settings

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// apigOrigins takes a list of origins, in the form that browsers send.
func apigOrigins(c *Config, v string) error {
	c.APIG.Origins = nil
	for part := range strings.SplitSeq(v, ",") {
		origin := strings.ToLower(strings.TrimSpace(part))
		if origin == "" {
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || origin != u.Scheme+"://"+u.Host || strings.Contains(u.Host, "*") {
			return problem(fmt.Sprintf("%.100q is no origin: want scheme://host or scheme://host:port, without a path and without *",
				origin))
		}
		if !slices.Contains(c.APIG.Origins, origin) {
			c.APIG.Origins = append(c.APIG.Origins, origin)
		}
	}
	if len(c.APIG.Origins) == 0 {
		return problem("want at least one origin, like http://localhost:3000")
	}
	return nil
}

// remarkOnAPIG says which settings have no effect.
func (c *Config) remarkOnAPIG() {
	if c.APIG.Addr != "" {
		return
	}
	for _, setting := range []string{"GANTRY_APIG_ROUTES", "GANTRY_APIG_CORS"} {
		if c.IsSet(setting) {
			c.Remarks = append(c.Remarks, setting+" has no effect without GANTRY_APIG_ADDR: set that to on")
		}
	}
}

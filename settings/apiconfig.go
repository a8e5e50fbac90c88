package settings

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"
)

// DefaultAPIAddr is where the platform API listens when it is asked for without an address.
const DefaultAPIAddr = "127.0.0.1:8079"

// API holds the settings of the platform API.
type API struct {
	Addr string // host:port; empty: no platform API
	// UsersFile is a JSON file; Cert and Key are files in PEM. Empty for none.
	UsersFile string
	Cert, Key string
	// BehindProxy says that a proxy in front ends TLS.
	BehindProxy bool
	// GatewayTimeout ends the wait of a caller; zero means never.
	GatewayTimeout time.Duration

	off  bool
	auth string
}

// resolve decides whether there is a platform API, and refuses what would leave it open.
func (a *API) resolve() error {
	open := a.auth == "none"
	if a.Addr == "" && (a.UsersFile != "" || open) {
		a.Addr = DefaultAPIAddr
	}
	if a.off {
		a.Addr = ""
	}
	switch {
	case a.Addr == "":
		return nil
	case (a.Cert == "") != (a.Key == ""):
		return errors.New("GANTRY_API_TLS_CERT and GANTRY_API_TLS_KEY belong together: set both or none")
	case open && a.UsersFile != "":
		return errors.New("GANTRY_API_AUTH=none and GANTRY_API_USERS_FILE contradict each other: remove one of them")
	case open && a.BehindProxy:
		return errors.New(
			"GANTRY_API_AUTH=none accepts calls without credentials, so it cannot stand behind a proxy: set GANTRY_API_USERS_FILE instead, or remove GANTRY_API_BEHIND_PROXY",
		)
	case open && !a.Local():
		return errors.New(
			"GANTRY_API_ADDR=" + a.Addr + " is not on loopback, where GANTRY_API_AUTH=none would accept calls of other hosts without credentials: set GANTRY_API_USERS_FILE, or listen on 127.0.0.1",
		)
	case !open && a.UsersFile == "":
		return errors.New(
			"the platform API needs GANTRY_API_USERS_FILE with those who may call; on loopback GANTRY_API_AUTH=none does without",
		)
	case !a.Local() && a.Cert == "" && !a.BehindProxy:
		return errors.New(
			"GANTRY_API_ADDR=" + a.Addr + " is not on loopback, so tokens and events would travel in the clear: set GANTRY_API_TLS_CERT and GANTRY_API_TLS_KEY, or GANTRY_API_BEHIND_PROXY=true if a proxy in front ends TLS, or listen on 127.0.0.1",
		)
	}
	return nil
}

// Local reports whether the address is one of loopback by its name; the listener checks what it was bound to.
func (a *API) Local() bool {
	host, _, err := net.SplitHostPort(a.Addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

package main

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"
)

// defaultAPIAddr is where the platform API listens when it is asked for without an address.
const defaultAPIAddr = "127.0.0.1:8079"

// apiConfig holds the settings of the platform API.
type apiConfig struct {
	off            bool
	addr           string // empty: no platform API
	auth           string
	usersFile      string
	cert, key      string
	behindProxy    bool
	gatewayTimeout time.Duration
}

// resolve decides whether there is a platform API, and refuses what would leave it open.
func (a *apiConfig) resolve() error {
	open := a.auth == "none"
	if a.addr == "" && (a.usersFile != "" || open) {
		a.addr = defaultAPIAddr
	}
	if a.off {
		a.addr = ""
	}
	switch {
	case a.addr == "":
		return nil
	case (a.cert == "") != (a.key == ""):
		return errors.New("GANTRY_API_TLS_CERT and GANTRY_API_TLS_KEY belong together: set both or none")
	case open && a.usersFile != "":
		return errors.New("GANTRY_API_AUTH=none and GANTRY_API_USERS_FILE contradict each other: remove one of them")
	case open && a.behindProxy:
		return errors.New(
			"GANTRY_API_AUTH=none accepts calls without credentials, so it cannot stand behind a proxy: set GANTRY_API_USERS_FILE instead, or remove GANTRY_API_BEHIND_PROXY",
		)
	case open && !a.local():
		return errors.New(
			"GANTRY_API_ADDR=" + a.addr + " is not on loopback, where GANTRY_API_AUTH=none would accept calls of other hosts without credentials: set GANTRY_API_USERS_FILE, or listen on 127.0.0.1",
		)
	case !open && a.usersFile == "":
		return errors.New(
			"the platform API needs GANTRY_API_USERS_FILE with those who may call; on loopback GANTRY_API_AUTH=none does without",
		)
	case !a.local() && a.cert == "" && !a.behindProxy:
		return errors.New(
			"GANTRY_API_ADDR=" + a.addr + " is not on loopback, so tokens and events would travel in the clear: set GANTRY_API_TLS_CERT and GANTRY_API_TLS_KEY, or GANTRY_API_BEHIND_PROXY=true if a proxy in front ends TLS, or listen on 127.0.0.1",
		)
	}
	return nil
}

// local reports whether the address is one of loopback by its name; the listener checks what it was bound to.
func (a *apiConfig) local() bool {
	host, _, err := net.SplitHostPort(a.addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

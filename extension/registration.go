package extension

import (
	"fmt"
	"gantry/fault"
	"net/netip"
	"strings"
)

// Registration is the headers of a registration, as they came. Events and Mode are our own, and may be missing: the
// body of a registration is not read by contract, so whatever is new has to be asked for in headers.
type Registration struct{ Name, Address, Events, Mode string }

// options is what an extension asked for.
type options struct{ invoke, shutdown, sync bool }

// options reads Events and Mode.
func (r *Registration) options() (*options, error) {
	o := &options{invoke: true}
	if strings.TrimSpace(r.Events) != "" {
		o.invoke = false
		for _, event := range strings.Split(r.Events, ",") {
			switch strings.ToUpper(strings.TrimSpace(event)) {
			case "INVOKE":
				o.invoke = true
			case "SHUTDOWN":
				o.shutdown = true
			default:
				return nil, refuse(
					fault.Invalid,
					TypeInvalidHeader,
					fmt.Sprintf("header FunctionGraph-Extension-Events has %.50q, want INVOKE, SHUTDOWN or both, with a comma", event),
				)
			}
		}
	}
	switch strings.ToLower(strings.TrimSpace(r.Mode)) {
	case "", "async":
	case "sync":
		o.sync = true
	default:
		return nil, refuse(
			fault.Invalid,
			TypeInvalidHeader,
			fmt.Sprintf("header FunctionGraph-Extension-Mode is %.50q, want sync or async", r.Mode),
		)
	}
	return o, nil
}

// Wants says which messages the registration asks for, and whether calls wait for the answers. Of a registration that
// is refused for its headers it says no three times.
func (r *Registration) Wants() (invoke, shutdown, sync bool) {
	o, err := r.options()
	if err != nil {
		return false, false, false
	}
	return o.invoke, o.shutdown, o.sync
}

// named returns the name and the address of a registration.
func (r *Registration) named() (name string, addr netip.AddrPort, err error) {
	name, address := strings.TrimSpace(r.Name), strings.TrimSpace(r.Address)
	wrong := ""
	switch {
	case name == "":
		wrong = "is missing: send the file name of the extension's script"
	case address == "":
		return "", addr, refuse(fault.Invalid, TypeMissingHeader,
			"header FunctionGraph-Extension-Address is missing: send the address the extension listens on, for example 127.0.0.1:8081")
	case !validName(name):
		wrong = "must be a file name: printable, without a slash, at most 255 bytes"
	}
	if wrong != "" {
		return "", addr, refuse(fault.Invalid, TypeMissingHeader, "header FunctionGraph-Extension-Name "+wrong)
	}
	if addr, err = ParseAddress(address); err != nil {
		return "", addr, refuse(fault.Invalid, TypeInvalidAddress, err.Error())
	}
	return name, addr, nil
}

func refuse(kind fault.Kind, errorType, message string) error {
	return &fault.Error{Kind: kind, Type: errorType, Code: fault.CodeBadRequest, Message: message}
}

func validName(name string) bool {
	if len(name) > maxName {
		return false
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == '/' || r == '\uFFFD' {
			return false
		}
	}
	return true
}

const maxName = 255

// Error types of a refused registration, as they appear in errorInfo.errorType. The platform documents none.
const (
	TypeMissingHeader     = "Extension.MissingHeader"
	TypeInvalidAddress    = "Extension.InvalidAddress"
	TypeUnknownName       = "Extension.UnknownName"
	TypeAddressInUse      = "Extension.AddressInUse"
	TypeAlreadyRegistered = "Extension.AlreadyRegistered"
	TypeTooMany           = "Extension.TooManyExtensions"
	TypeShuttingDown      = "Extension.ShuttingDown"
	TypeInvalidHeader     = "Extension.InvalidHeader"
)

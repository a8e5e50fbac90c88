package extension

import (
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/telemetry"
	"net/netip"
	"strings"
	"time"
)

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

const maxName = 255

// Register gives the extension its seat. The same name with the same address may come again and again. Errors are
// *fault.Error with one of the types above.
func (h *Host) Register(r Registration) error {
	err := h.register(&r)
	h.cfg.Observer.registered(r, err)
	if f := (*fault.Error)(nil); errors.As(err, &f) && h.allowRefusalEvent() {
		h.state(strings.ToValidUTF8(r.Name[:min(len(r.Name), maxName)], ""), telemetry.StateRefused, f.Type)
	}
	return err
}

// allowRefusalEvent bounds what refusals become telemetry events: they must not crowd out others.
func (h *Host) allowRefusalEvent() bool {
	_, ok := h.refusals.Take(time.Now())
	return ok
}

func (h *Host) register(r *Registration) error {
	name, addr, err := r.named()
	if err != nil {
		return err
	}
	o, err := r.options()
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.byName[name]
	switch {
	case h.stopping:
		return refuse(fault.Unavailable, TypeShuttingDown, "the instance is stopping")
	case e == nil && h.cfg.Strict:
		return refuse(
			fault.Forbidden,
			TypeUnknownName,
			fmt.Sprintf("%s was not started here, and GANTRY_EXTENSION_STRICT is set", name),
		)
	case e != nil && e.seat != nil && e.seat.addr == addr:
		return nil
	case e != nil && e.seat != nil:
		return refuse(fault.Conflict, TypeAlreadyRegistered, fmt.Sprintf("%s is registered with %s", name, e.seat.addr))
	case h.registered() == Seats:
		return refuse(fault.Conflict, TypeTooMany, fmt.Sprintf("%d extensions are registered, which is the limit", Seats))
	case h.listening() != nil && h.listener.port == addr.Port() && h.listener.owner != name:
		return refuse(fault.Conflict, TypeAddressInUse, fmt.Sprintf("%s is where telemetry goes", addr))
	case h.seats[seatOf(addr)] != nil:
		return refuse(fault.Conflict, TypeAddressInUse, fmt.Sprintf("%s belongs to %s", addr, h.seats[seatOf(addr)].name))
	}
	if e == nil {
		e = newExtension(name)
		h.byName[name] = e
	}
	h.occupy(e, addr, o)
	return nil
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

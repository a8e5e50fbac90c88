package extension

import (
	"fmt"
	"gantry/fault"
	"strings"
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
)

// Registration is the two headers of a registration, as they came.
type Registration struct{ Name, Address string }

const maxName = 255

// Register gives the extension its slot. The same name with the same address may come again and again. Errors are
// *fault.Error with one of the types above.
func (h *Host) Register(r Registration) error {
	name, address := strings.TrimSpace(r.Name), strings.TrimSpace(r.Address)
	if name == "" {
		return refuse(fault.Invalid, TypeMissingHeader, "header FunctionGraph-Extension-Name is missing: send the file name of the extension's script")
	}
	if address == "" {
		return refuse(fault.Invalid, TypeMissingHeader, "header FunctionGraph-Extension-Address is missing: send the address the extension listens on, for example 127.0.0.1:8081")
	}
	if !validName(name) {
		return refuse(fault.Invalid, TypeMissingHeader, "header FunctionGraph-Extension-Name must be a file name: printable, without a slash, at most 255 bytes")
	}
	addr, err := ParseAddress(address)
	if err != nil {
		return refuse(fault.Invalid, TypeInvalidAddress, err.Error())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.byName[name]
	switch {
	case h.stopping:
		return refuse(fault.Unavailable, TypeShuttingDown, "the instance is stopping")
	case e == nil && h.cfg.Strict:
		return refuse(fault.Forbidden, TypeUnknownName, fmt.Sprintf("%s was not started here, and GANTRY_EXTENSION_STRICT is set", name))
	case e != nil && e.slot != nil && e.slot.addr == addr:
		return nil
	case e != nil && e.slot != nil:
		return refuse(fault.Conflict, TypeAlreadyRegistered, fmt.Sprintf("%s is registered with %s", name, e.slot.addr))
	case h.registered() == Slots:
		return refuse(fault.Conflict, TypeTooMany, fmt.Sprintf("%d extensions are registered, which is the limit", Slots))
	case h.slots[slotOf(addr)] != nil:
		return refuse(fault.Conflict, TypeAddressInUse, fmt.Sprintf("%s belongs to %s", addr, h.slots[slotOf(addr)].name))
	}
	if e == nil {
		e = &extension{name: name}
		h.byName[name] = e
	}
	h.occupy(e, addr)
	return nil
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

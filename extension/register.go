package extension

import (
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/telemetry"
	"strings"
	"time"
)

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

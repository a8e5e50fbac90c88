package extension

import (
	"gantry/telemetry"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// occupy gives e the seat of addr; called with mu held.
func (h *Host) occupy(e *extension, addr netip.AddrPort, o *options) {
	e.seat = newSeat(e.name, addr, h, o)
	e.seat.lost = h.lost
	h.seats[seatOf(addr)] = e.seat
	h.registeredAt = time.Now()
	e.index.Store(int32(e.seat.index))
	h.taken.Add(1)
	if o.sync && o.invoke {
		h.inSync.Add(1)
	}
	if there, ok := h.required[e.name]; ok && !there {
		h.required[e.name] = true
		h.missing.Add(-1)
		close(h.arrived)
		h.arrived = make(chan struct{})
	}
	h.cfg.Log.Info("extension registered", zap.String("extension", e.name), zap.String("address", addr.String()))
	h.state(e.name, telemetry.StateRegistered, addr.String())
	h.settledLocked(e.name)
}

// vacate frees the seat of e; called with mu held.
func (h *Host) vacate(e *extension) {
	h.seats[seatOf(e.seat.addr)] = nil
	e.index.Store(-1)
	h.taken.Add(-1)
	if e.seat.sync && e.seat.invoke {
		h.inSync.Add(-1)
	}
	if h.required[e.name] {
		h.required[e.name] = false
		h.missing.Add(1)
	}
	e.seat.close()
	e.seat = nil
}

// lost frees the seat of an extension that was not started here and does not listen any more.
func (h *Host) lost(s *seat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.byName[s.name]
	if e == nil || e.seat != s || e.proc != nil {
		return
	}
	h.vacate(e)
	h.unlisten(s.name)
	delete(h.byName, s.name)
	h.state(s.name, telemetry.StateExited, "it refuses connections")
	h.cfg.Log.Warn(
		"extension is gone: it refuses connections, and its address is free again",
		zap.String("extension", s.name),
		zap.String("address", s.addr.String()),
	)
}

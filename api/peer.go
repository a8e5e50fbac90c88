package api

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// forwarded reads X-Forwarded-For, and warns once of each thing that is wrong with it.
type forwarded struct {
	log                 *zap.Logger
	missing, unreadable sync.Once
}

const onePeer = "all such callers count as one peer, the proxy, and their failed logins lock each other out; "

// peer returns the last address of X-Forwarded-For; ok is false where there is none.
func (f *forwarded) peer(h *fasthttp.RequestHeader) (addr netip.Addr, ok bool) {
	lines := h.PeekAll("X-Forwarded-For")
	if len(lines) == 0 {
		if len(h.RawHeaders()) > 0 { // else it was no request
			f.missing.Do(func() {
				f.log.Warn("a request came without X-Forwarded-For: " + onePeer + "let the proxy add its caller's address")
			})
		}
		return netip.Addr{}, false
	}
	last := lines[len(lines)-1]
	last = bytes.Trim(last[bytes.LastIndexByte(last, ',')+1:], " \t")
	if addr, ok = parsePeer(string(last)); !ok {
		f.unreadable.Do(func() {
			f.log.Warn(
				"the last value of X-Forwarded-For is no address: "+onePeer+"let the proxy add its caller's address, like 192.0.2.1 or [2001:db8::1]:4711",
				zap.String("value", cutText(string(last), maxReason)),
			)
		})
	}
	return addr, ok
}

// parsePeer reads an address in the forms that proxies write: with or without a port, brackets and quotes.
func parsePeer(text string) (addr netip.Addr, ok bool) {
	if inner, quoted := strings.CutPrefix(text, `"`); quoted {
		if text, quoted = strings.CutSuffix(inner, `"`); !quoted {
			return netip.Addr{}, false
		}
	}
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr(), true
	}
	if inner, bracketed := strings.CutPrefix(text, "["); bracketed {
		if text, bracketed = strings.CutSuffix(inner, "]"); !bracketed || !strings.Contains(text, ":") {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(text)
	return addr, err == nil
}

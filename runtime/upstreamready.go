package runtime

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"gantry/process"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

const (
	// readyPause is the longest time between two looks whether the server listens, as on the platform. What a server
	// that starts sooner waits for its first call is less: one part of so many of its start.
	readyPause = 10 * time.Millisecond
	readyShare = 32
	// lookEvery is how often it is looked where the function listens instead.
	lookEvery = 250 * time.Millisecond
	// lookLimit bounds one such look.
	lookLimit = 100 * time.Millisecond
)

// serve waits until the server listens; that is the end of its load.
func (u *upstream) serve() {
	began, looked := time.Now(), time.Now()
	for pause := firstDialPause; ; pause = min(max(time.Since(began)/readyShare, firstDialPause), readyPause) {
		own, foreign := u.listens()
		if own {
			if !u.takenUp() {
				return
			}
			u.worker.recordHello(&helloMeta{Concurrency: true, PreStop: true})
			u.worker.loadEnded(nil)
			return
		}
		if foreign { // it stays, and to look whose it is costs more
			pause = lookEvery
		}
		if time.Since(looked) > lookEvery {
			u.diagnose()
			looked = time.Now()
		}
		select {
		case <-time.After(pause):
		case <-u.ended.Done():
			return
		}
	}
}

// listens reports whether a process of the function takes connections at the address, or another program, which would
// take the function's calls.
func (u *upstream) listens() (own, foreign bool) {
	if !u.taken() {
		return false, false
	}
	own, gone := u.owned()
	return own, !own && !gone
}

// taken reports whether a program takes connections at the address. Where the kernel does not say so, it connects.
func (u *upstream) taken() bool {
	if to, err := netip.ParseAddrPort(u.addr); err == nil {
		if listening, err := process.Listening(to); err == nil {
			return listening
		}
	}
	conn, err := (&net.Dialer{}).DialContext(u.ended, "tcp", u.addr)
	if err != nil {
		if !errors.Is(err, syscall.ECONNREFUSED) {
			u.worker.setLoadError(err)
		}
		return false
	}
	itself := conn.LocalAddr().String() == conn.RemoteAddr().String()
	_ = conn.Close() // nothing was sent
	return !itself
}

// owned looks whether the function has the socket that listens, or whether that has gone meanwhile: another agent tries
// ports for a moment. Where it cannot be seen whose the socket is, it is taken for the function's.
func (u *upstream) owned() (own, gone bool) {
	to, err := netip.ParseAddrPort(u.addr)
	if err != nil {
		return true, false
	}
	own, err = u.worker.proc.ListensAt(to)
	switch {
	case errors.Is(err, process.ErrNoListener):
		return false, true
	case own, err != nil:
		return true, false
	}
	who := ""
	if owner, ok := process.FindPortOwner(to); ok && owner.PID != 0 {
		who = fmt.Sprintf(", process %d (%s)", owner.PID, owner.Command)
	}
	u.worker.setLoadError(fmt.Errorf("%s is taken by another program%s: stop it, or set GANTRY_UPSTREAM, "+
		"whose port is PORT for the function", u.addr, who))
	return false, false
}

// diagnose notes where the function listens instead, for the case that its load does not end in time.
func (u *upstream) diagnose() {
	all, _ := u.worker.proc.Sockets(time.Now().Add(lookLimit)) // what can be seen
	var where []string
	for _, s := range all {
		if s.Protocol == "tcp" && s.State == "LISTEN" && !slices.Contains(where, s.Local.String()) {
			where = append(where, s.Local.String())
		}
	}
	if len(where) > 0 {
		u.worker.setLoadError(fmt.Errorf("the function listens on %s, and calls go to %s: let the server listen there "+
			"(PORT says which port), or set GANTRY_UPSTREAM", strings.Join(where, ", "), u.addr))
	}
}

// Init implements Transport: an image may answer POST /init, with 404, 405 or 501 if it has none.
func (u *upstream) Init(ctx context.Context, inv *fncontext.Call, log *logger.Request) error {
	if u.worker.cfg.language().Proxies() {
		return nil
	}
	x := newExchange()
	defer x.release()
	u.post(x.Request, "/init", []byte("{}"))
	if err := u.exchange(ctx, inv, x, log); err != nil {
		return err
	}
	status := x.Response.StatusCode()
	switch {
	case status/100 == 2:
	case status == fasthttp.StatusNotFound, status == fasthttp.StatusMethodNotAllowed,
		status == fasthttp.StatusNotImplemented:
		u.worker.cfg.Log.Debug("the image has no POST /init", zap.Int("status", status))
	default:
		f := serverFault(status, append([]byte(nil), x.Response.Body()...))
		f.Kind, f.Code = fault.Init, fault.CodeInitializer
		f.Message = fmt.Sprintf("POST /init was answered with status %d", status)
		return f
	}
	return nil
}

// PreStop implements Transport: GET /shutdown, for servers that want to end by themselves. Any answer, or none, will
// do.
func (u *upstream) PreStop(ctx context.Context, inv *fncontext.Call, log *logger.Request) error {
	x := newExchange()
	defer x.release()
	x.Request.Header.SetRequestURI("/shutdown")
	x.Request.Header.SetHost(u.addr)
	err := u.exchange(ctx, inv, x, log)
	var f *fault.Error
	if errors.As(err, &f) && f.Kind != fault.Timeout { // it ended at once
		return nil
	}
	return err
}

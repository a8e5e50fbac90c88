package agent

import (
	"errors"
	"fmt"
	"gantry/api"
	"gantry/extension"
	"gantry/fault"
	"gantry/runtime/language"
	"slices"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// serve serves listeners.
func (s *serving) serve(servers ...*api.Server) {
	for _, server := range servers {
		go func() { s.ended <- server.Serve() }()
	}
}

// listening says in the log where the listeners are, how the function runs, and why.
func (s *serving) listening(l *language.Language, because string) {
	fields := []zap.Field{
		zap.String("urn", s.cfg.Function.URN()),
		zap.String("runtime", l.Name),
		zap.String("program", s.cfg.Program),
	}
	if because != "" {
		fields = append(fields, zap.String("because", because))
	}
	what := "listening"
	if s.pollers != nil {
		what = "polling"
		fields = append(fields, zap.String("runtime_api", s.cfg.RuntimeAPI), zap.Int("pollers", s.pollers.count))
	}
	for _, server := range append(append(slices.Clone(s.callers), s.others...), s.extensions) {
		fields = append(fields, zap.Stringer(server.Name(), server.Addr()))
	}
	s.log.Info(what, fields...)
	if s.pollers == nil && len(s.callers) > 0 && s.shown {
		path := "/invoke -d '{}'"
		if l.Proxies() {
			path = "/"
		}
		s.log.Info("to call it: curl http://" + Reachable(s.callers[0].Addr().String()) + path + "; Ctrl-C stops it")
		if s.cfg.APIG.Addr != "" {
			front := Reachable(s.callers[1].Addr().String())
			s.log.Info("to call it as behind API Gateway, without its authentication: curl http://" + front + "/")
		}
	}
	if s.pollers == nil {
		for _, remark := range s.cfg.ListenRemarks {
			s.log.Warn(remark)
		}
	}
}

// settle binds the function listener of a program that has shown what it is, and starts its timers, which an HTTP
// function has not. An error ends the agent.
func (s *serving) settle(l *language.Language, because string) error {
	if s.kind.settled { // by a failure, at the same moment
		return nil
	}
	s.kind.settled = true
	addr, err := s.cfg.AddrFor(l)
	if err := errors.Join(err, s.cfg.TimersFor(l)); err != nil {
		return fault.Mark(fault.Invalid, errors.Join(err, s.stop(extension.ReasonFailure)))
	}
	before := len(s.callers)
	if err := s.listenFunction(l, addr); err != nil {
		if isTaken(addr) {
			err = fmt.Errorf("%w%s", err, holder(addr))
		}
		return fault.Mark(fault.Unavailable, errors.Join(err, s.stop(extension.ReasonFailure)))
	}
	s.serve(s.callers[:len(s.callers)-before]...)
	s.listening(l, because)
	s.startTimers()
	return nil
}

// listenFunction binds the function listener, which is the first of those of callers, and the front, if there is one.
func (s *serving) listenFunction(l *language.Language, addr string) error {
	cfg := api.FunctionConfig{
		Addr: addr, Instance: s.instance, Function: &s.cfg.Function,
		Credentials: fncontext.NewCredentials(s.cfg.Secrets), TrustHeaders: s.cfg.Trust, Limits: s.limits, Log: s.log,
		StreamIdle: s.cfg.StreamIdle(),
	}
	bind := api.ListenFunction
	if l.Proxies() {
		bind = api.ListenProxy
	}
	direct := cfg
	function, err := bind(&direct)
	if err != nil {
		return err
	}
	s.callers = slices.Insert(s.callers, 0, function)
	if s.cfg.APIG.Addr == "" {
		return nil
	}
	cfg.Addr = s.cfg.APIG.Addr
	gateway, err := api.ListenGateway(&api.GatewayConfig{
		FunctionConfig: cfg, Routes: s.routes, Origins: s.cfg.APIG.Origins, Forwards: l.Proxies(), False: l.False,
	})
	if err != nil {
		return err
	}
	s.callers = slices.Insert(s.callers, 1, gateway)
	return nil
}

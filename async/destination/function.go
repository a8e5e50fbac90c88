package destination

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	fncontext "gantry/context"
)

// function is another function. How its agents are reached is up to Sender.Call.
type function struct{}

func (function) check(p *param) error {
	if err := needs(Function, "func_urn", p.FunctionURN); err != nil {
		return err
	}
	u, err := fncontext.ParseURN(p.FunctionURN)
	if err == nil && dots(u.Name) {
		err = fmt.Errorf("%q names no function", p.FunctionURN)
	}
	if err != nil {
		return fmt.Errorf(": func_urn: %w", err)
	}
	return nil
}

func (function) endpoint(*Endpoints) *Endpoint { return nil }

func (function) file(*Sender, *param, *Message) string { return "" } // Call decides whether it becomes one

func (function) chosen(*param) string { return "" }

func (function) deliver(ctx context.Context, s *Sender, _ *Endpoint, p *param, m *Message) error {
	return s.Call(ctx, p.FunctionURN, m)
}

// Complete fills in what a short URN leaves out: this function's own.
func (s *Sender) Complete(u fncontext.URN) fncontext.URN {
	fn := s.Function
	u.Region, u.Project, u.Package = cmp.Or(
		u.Region,
		fn.Region,
	), cmp.Or(
		u.Project,
		fn.Project,
	), cmp.Or(
		u.Package,
		fn.Package,
	)
	return u
}

// EndpointOf finds a function's endpoint, whatever form the two URNs have. An endpoint for the version or alias goes
// before one for all.
func (s *Sender) EndpointOf(urn string) (found Endpoint, ok bool) {
	want, err := fncontext.ParseURN(urn)
	if err != nil {
		return Endpoint{}, false
	}
	want = s.Complete(want)
	all := s.Endpoints.Functions
	for _, key := range slices.Sorted(maps.Keys(all)) { // of two that mean the same, always the same one
		u, err := fncontext.ParseURN(key)
		if err != nil {
			continue
		}
		u = s.Complete(u)
		if colons := strings.Count(key, ":"); colons == 3 || colons == 7 { // the last field is there
			if u == want {
				return all[key], true
			}
			continue
		}
		if u.Version, u.Alias = want.Version, want.Alias; u == want && !ok {
			found, ok = all[key], true
		}
	}
	return found, ok
}

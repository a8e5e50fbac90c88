package async

import (
	"context"
	"errors"
	"gantry/fault"
	"maps"
	"slices"
	"strings"
	"time"
)

// Configuration returns what is set for a version or alias; a NotFound fault if nothing is.
func (q *Queue) Configuration(ctx context.Context, version, alias string) (*Configuration, error) {
	e, err := q.engine(ctx)
	if err != nil {
		return nil, err
	}
	if c := e.configuration(configurationKey(version, alias)); c != nil {
		return c, nil
	}
	return nil, noConfiguration()
}

func noConfiguration() *fault.Error {
	return &fault.Error{
		Kind:    fault.NotFound,
		Type:    fault.TypeNotFound,
		Code:    fault.CodeBadRequest,
		Message: "The specified resource was not found: no asynchronous configuration is set here",
	}
}

// SetConfiguration replaces what is set; an Invalid fault if an outcome message would have no name as a file. It is in
// force here from then on, and at every agent of the same function within moments.
func (q *Queue) SetConfiguration(
	ctx context.Context,
	version, alias, urn string,
	c *Configuration,
) (*Configuration, error) {
	if err := checkFiles(q.cfg.Endpoints, c); err != nil {
		return nil, err
	}
	e, err := q.engine(ctx)
	if err != nil {
		return nil, err
	}
	key, now := configurationKey(version, alias), q.cfg.Now().Format(time.RFC3339)
	stored := *c
	stored.FunctionURN, stored.Modified = urn, now
	err = e.change(ctx, func(f *function) error {
		stored.Created = now
		if old := f.Configurations[key]; old != nil {
			stored.Created = old.Created
		}
		f.Configurations[key] = &stored
		return nil
	})
	if err != nil {
		return nil, unavailable("the configuration cannot be stored", err)
	}
	e.mirror(ctx, key, &stored)
	return &stored, nil
}

// DeleteConfiguration removes what is set; a NotFound fault if nothing is.
func (q *Queue) DeleteConfiguration(ctx context.Context, version, alias string) error {
	e, err := q.engine(ctx)
	if err != nil {
		return err
	}
	key := configurationKey(version, alias)
	removed, err := e.unmirror(ctx, key)
	if err != nil {
		return unavailable("the configuration cannot be removed", err)
	}
	err = e.change(ctx, func(f *function) error {
		if f.Configurations[key] == nil {
			if removed { // and another agent has seen that
				return errKnown
			}
			return noConfiguration()
		}
		delete(f.Configurations, key)
		return nil
	})
	var absent *fault.Error
	if errors.As(err, &absent) {
		return absent
	}
	if err = ignoreKnown(err); err != nil {
		return unavailable("the configuration cannot be removed", err)
	}
	return nil
}

// Configurations lists all, in the order of their URNs.
func (q *Queue) Configurations(ctx context.Context) ([]*Configuration, error) {
	e, err := q.engine(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	all := slices.Collect(maps.Values(e.known.Configurations))
	slices.SortFunc(all, func(a, b *Configuration) int { return strings.Compare(a.FunctionURN, b.FunctionURN) })
	return all, nil
}

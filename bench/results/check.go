package results

import (
	"errors"
	"fmt"
	"slices"
)

// Check says what is wrong with a file, such as a figure that was changed by hand.
func (f *File) Check() error {
	if f.Format != Format {
		return fmt.Errorf("format %d, want %d: measure again", f.Format, Format)
	}
	seen := map[string]bool{}
	for i, s := range f.Sections {
		if s == nil || s.Name == "" {
			return fmt.Errorf("section %d has no name", i)
		}
		if seen[s.Name] {
			return fmt.Errorf("section %s is there twice", s.Name)
		}
		seen[s.Name] = true
		if err := s.check(); err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	return nil
}

func (s *Section) check() error {
	if s.Run.Date.IsZero() || s.Run.Commit == "" || s.Run.Rounds < 1 {
		return errors.New("the date, the commit or the number of rounds is missing")
	}
	if len(s.Rows) == 0 {
		return errors.New("no rows")
	}
	seen := map[string]bool{}
	for i, r := range s.Rows {
		if r == nil || r.Figure == "" {
			return fmt.Errorf("row %d has no figure", i)
		}
		if seen[r.Name()] {
			return fmt.Errorf("%q is there twice", r.Name())
		}
		seen[r.Name()] = true
		if err := r.check(); err != nil {
			return fmt.Errorf("%q: %w", r.Name(), err)
		}
	}
	return nil
}

func (r *Row) check() error {
	switch r.Kind {
	case Remark:
		if len(r.Values) > 0 {
			return errors.New("a remark has no values")
		}
		return nil
	case Ratio, Value:
	default:
		return fmt.Errorf("kind %q, want %s, %s or %s", r.Kind, Ratio, Value, Remark)
	}
	if len(r.Values) == 0 {
		return errors.New("no values")
	}
	if slices.ContainsFunc(r.Values, infinite) {
		return errors.New("a value is no number")
	}
	if r.Min != slices.Min(r.Values) || r.Median != Median(r.Values) || r.Max != slices.Max(r.Values) {
		return fmt.Errorf("min %g, median %g and max %g are not those of its values", r.Min, r.Median, r.Max)
	}
	if r.Kind == Ratio && r.Min < 0 {
		return fmt.Errorf("a ratio of %g", r.Min)
	}
	if (r.Target == nil) != (r.Met == nil) {
		return errors.New("a target and whether it is met come together")
	}
	if r.Target == nil {
		return nil
	}
	if r.Target.Kind != AtLeast && r.Target.Kind != AtMost {
		return fmt.Errorf("target %q, want %s or %s", r.Target.Kind, AtLeast, AtMost)
	}
	if r.Target.Met(r.Median) != *r.Met {
		return fmt.Errorf("met is %t, and the median of %g says otherwise", *r.Met, r.Median)
	}
	return nil
}

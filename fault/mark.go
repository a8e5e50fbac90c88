package fault

import "errors"

// Mark gives err a kind without an answer's type and code: for errors that end a command and never reach a caller.
// Command bootstrap makes an exit code of the kind. Mark of nil is nil.
func Mark(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	return &marked{kind, err}
}

type marked struct {
	kind Kind
	err  error
}

func (m *marked) Error() string { return m.err.Error() }
func (m *marked) Unwrap() error { return m.err }

// MarkOf returns the kind that Mark gave err or an error in its chain, the outermost first; ok is false without any.
func MarkOf(err error) (kind Kind, ok bool) {
	if m := (*marked)(nil); errors.As(err, &m) {
		return m.kind, true
	}
	return Internal, false
}

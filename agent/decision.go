package agent

import (
	"gantry/instance"
	"gantry/runtime/language"
	"gantry/settings"
)

// decision is what a program of an undecided language turns out to be. The function listener waits for it: a server has
// the port that the listener has for a custom runtime, and each has a listener of its own kind.
type decision struct {
	// known has it, once; nil for all other languages.
	known chan known
	// settled says that the listener is there, exits that the agent ends when the function fails.
	settled, exits bool
}

// known is what the program is, and why.
type known struct {
	language *language.Language
	because  string
}

func newDecision(c *settings.Config) decision {
	if !c.Language.Undecided() {
		return decision{}
	}
	return decision{known: make(chan known, 1), exits: c.ExitOnFailure}
}

// decided takes note of the decision, of which there is one.
func (d *decision) decided(l *language.Language, because string) { d.known <- known{l, because} }

// failed is closed when the function has failed before there was a decision: its callers are to get the reason.
func (d *decision) failed(of *instance.Instance) <-chan struct{} {
	if d.known == nil || d.settled || d.exits {
		return nil
	}
	return of.Failed()
}

package instance

import "fmt"

// State is where the function instance is in its life.
type State uint8

// The life of an instance. Ready and Busy follow from the workers and the calls in flight.
const (
	Init State = iota
	Ready
	Busy
	Failed
	Draining
	Stopped
)

var stateNames = [...]string{"init", "ready", "busy", "failed", "draining", "stopped"}

// String returns the state in lower case, as it appears in metrics.
func (s State) String() string { return stateNames[s] }

// States lists all states in order.
func States() []State { return []State{Init, Ready, Busy, Failed, Draining, Stopped} }

// transitions holds every legal change; all others are refused.
var transitions = [...][]State{
	Init:     {Ready, Failed, Draining},
	Ready:    {Busy, Init, Draining},
	Busy:     {Ready, Init, Draining},
	Failed:   {Init, Draining},
	Draining: {Stopped},
	Stopped:  {},
}

func (s State) next(to State) error {
	for _, legal := range transitions[s] {
		if legal == to {
			return nil
		}
	}
	return fmt.Errorf("instance: no transition from %s to %s", s, to)
}

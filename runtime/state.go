package runtime

import "fmt"

// State is where a worker is in its life.
type State uint8

// The life of a worker: forward only.
const (
	Starting State = iota // the process runs, user code is being loaded or initialised
	Ready                 // takes calls
	Retiring              // takes no new calls; ends when the others have been answered
	Gone                  // the process has ended
)

var stateNames = [...]string{"starting", "ready", "retiring", "gone"}

// String returns the state in lower case.
func (s State) String() string { return stateNames[s] }

// transitions holds every legal change; all others are refused.
var transitions = [...][]State{
	Starting: {Ready, Gone},
	Ready:    {Retiring, Gone},
	Retiring: {Gone},
	Gone:     {},
}

// next checks one change of state against the table.
func (s State) next(to State) error {
	for _, legal := range transitions[s] {
		if legal == to {
			return nil
		}
	}
	return fmt.Errorf("worker: no transition from %s to %s", s, to)
}

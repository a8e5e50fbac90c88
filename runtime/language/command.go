package language

import "gantry/process"

// Complete adds to a command what the language needs.
func (l *Language) Complete(cmd *process.Command) error {
	if l.OwnProgram() {
		return asScript(cmd, platformShell())
	}
	source, err := sourceFile(l)
	if err != nil {
		return err
	}
	cmd.Args = append(cmd.Args, l.Arguments...)
	cmd.Files = append(cmd.Files, source) // behind the two sockets
	return nil
}

package language

import "gantry/process"

// Complete adds to a command what the language needs; examined says that the worker is to be asked for its stack when a
// call hangs. The remark, usually empty, says what is not as on the platform.
func (l *Language) Complete(cmd *process.Command, examined bool) (remark string, err error) {
	switch {
	case l.Listens():
		return completeServer(cmd, pathIn(cmd.Env))
	case l.OwnProgram():
		return "", asScript(cmd, platformShell())
	}
	if l.Archive != "" {
		return "", l.completeArchive(cmd)
	}
	source, err := sourceFile(l)
	if err != nil {
		return "", err
	}
	arguments := l.Arguments
	if examined && l.Examined != nil {
		arguments = l.Examined
	}
	if l.Local != nil {
		cmd.Args = append(cmd.Args, l.Local()...)
	}
	cmd.Args = append(cmd.Args, arguments...)
	cmd.Files = append(cmd.Files, source) // behind the two sockets
	return "", nil
}

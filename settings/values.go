package settings

// Flag is the name of the setting's flag, without hyphens; empty for a secret.
func (s *Setting) Flag() string { return s.flag }

// Default is the value without one of the user's; empty where the help says what it depends on.
func (s *Setting) Default() string { return s.fallback }

// Text says what the setting means.
func (s *Setting) Text() string { return s.help }

// Path is what kind of path the value is.
func (s *Setting) Path() Path { return s.path }

// Values are words that the setting takes, for completion: all of them, or some where it takes more. Empty for numbers
// and free text.
func (s *Setting) Values() []string {
	switch {
	case s.values != nil:
		return s.values
	case s.suggested != nil:
		return s.suggested
	case s.toggle:
		return []string{"true", "false"}
	}
	return nil
}

// Public returns environ without the secrets and the names of their files, for what must not read them.
func Public(environ []string) (public []string) {
	env := Variables(environ)
	for _, s := range Table() {
		if s.Secret {
			delete(env, s.Env)
			delete(env, s.Env+"_FILE")
		}
	}
	for name, value := range env {
		public = append(public, name+"="+value)
	}
	return public
}

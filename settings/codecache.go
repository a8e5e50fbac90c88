package settings

import "path/filepath"

// CodeCacheFile is the file of the code cache, empty for none.
func (c *Config) CodeCacheFile() string {
	switch {
	case c.CodeCache == "off":
		return ""
	case c.CodeCache == "":
		return filepath.Join(c.Function.CodeRoot, ".gantry", "code-cache")
	case filepath.IsAbs(c.CodeCache):
		return c.CodeCache
	}
	return filepath.Join(c.workDir, c.CodeCache)
}

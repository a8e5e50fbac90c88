package hang

import (
	"path/filepath"
	"strings"
)

// Code says which files of an interpreted language are the user's, and which are the worker's.
type Code struct {
	roots []string
	// Libraries is the name of folders with the code of others, worker those of the worker's own source.
	libraries []string
	worker    []string
}

// NewCode returns what there is to know about the files below the code folder root. libraries are names of folders with
// libraries in it, worker the names that the files of the worker have in stacks.
func NewCode(root string, libraries, worker []string) *Code {
	c := &Code{libraries: libraries, worker: worker}
	c.roots = append(c.roots, strings.TrimRight(root, "/")+"/")
	if real, err := filepath.EvalSymlinks(root); err == nil {
		c.roots = append(c.roots, strings.TrimRight(real, "/")+"/")
	}
	return c
}

// in reports whether a file is in the code folder, and whether it is the user's own there.
func (c *Code) in(file string) (inside, own bool) {
	for _, root := range c.roots {
		rest, ok := strings.CutPrefix(file, root)
		if !ok {
			continue
		}
		for _, library := range c.libraries {
			if strings.Contains("/"+rest, "/"+library+"/") {
				return true, false
			}
		}
		return true, true
	}
	return false, false
}

// Cut returns what is the function's of a stack, the most recent call first: what is older than the code folder's
// oldest frame is left out, and so is what is the worker's. none is returned if there is no frame of the code folder.
func (c *Code) Cut(stack []Frame) []Frame {
	var cut []Frame
	oldest := 0
	for _, f := range stack {
		if c.isWorker(f.File) {
			continue
		}
		inside, own := c.in(f.File)
		f.User = own
		cut = append(cut, f)
		if inside {
			oldest = len(cut)
		}
	}
	return cut[:oldest:oldest]
}

func (c *Code) isWorker(file string) bool {
	for _, name := range c.worker {
		if file == name {
			return true
		}
	}
	return false
}

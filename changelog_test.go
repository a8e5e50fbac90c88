package gantry

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestChangeNotesHaveAKindAndAText: each note has a kind, an empty line, and a text; changelog/README.md describes
// the form.
func TestChangeNotesHaveAKindAndAText(t *testing.T) {
	files, err := filepath.Glob("changelog/unreleased/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		kind, rest, _ := strings.Cut(string(text), "\n\n")
		if !slices.Contains([]string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}, kind) {
			t.Errorf("%s begins with %.40q, want Added, Changed, Deprecated, Removed, Fixed or Security, and an empty line", name, kind)
		}
		if strings.TrimSpace(rest) == "" || filepath.Ext(name) != ".md" {
			t.Errorf("%s has no text, or does not end with .md", name)
		}
	}
}

package gantry

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestDocumentLinesEndAtColumn120 is for documents what the linter is for code. Tables and examples are exempt: a row
// and a command stay in one line.
func TestDocumentLinesEndAtColumn120(t *testing.T) {
	var files []string
	for _, pattern := range []string{
		"*.md", "*/*.md", "*/*/*.md", "*/*/*/*.md",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 30 {
		t.Fatalf("only %d documents found", len(files))
	}
	for _, file := range files {
		if strings.Contains(file, "node_modules") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		example := false
		for i, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				example = !example
			}
			if !example && !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "|") && utf8.RuneCountInString(line) > 120 {
				t.Errorf("%s:%d has %d columns, want 120 at most", file, i+1, utf8.RuneCountInString(line))
			}
		}
	}
}

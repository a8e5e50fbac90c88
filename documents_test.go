package gantry

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// documents are the files in Markdown, without those of packages that tests install.
func documents(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{
		"*.md", "*/*.md", "*/*/*.md", "*/*/*/*.md",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found {
			if !strings.Contains(file, "node_modules") {
				files = append(files, file)
			}
		}
	}
	if len(files) < 30 {
		t.Fatalf("only %d documents found", len(files))
	}
	return files
}

// withoutExamples is a document whose fenced examples are empty lines, so that numbers of lines stay.
func withoutExamples(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	example := false
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence {
			example = !example
		}
		if example || fence {
			lines[i] = ""
		}
	}
	return lines
}

// TestDocumentLinesEndAtColumn120 is for documents what the linter is for code. Tables and examples are exempt: a row
// and a command stay in one line.
func TestDocumentLinesEndAtColumn120(t *testing.T) {
	for _, file := range documents(t) {
		for i, line := range withoutExamples(t, file) {
			if !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "|") && utf8.RuneCountInString(line) > 120 {
				t.Errorf("%s:%d has %d columns, want 120 at most", file, i+1, utf8.RuneCountInString(line))
			}
		}
	}
}

// TestMakeTargetsAreDocumented: CONTRIBUTING.md names every target for people, and no other.
func TestMakeTargetsAreDocumented(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.*)`).FindSubmatch(makefile)
	if phony == nil {
		t.Fatal("the Makefile has no line .PHONY")
	}
	want := map[string]bool{}
	for _, target := range strings.Fields(string(phony[1])) {
		if want[target] = target != "need-java"; want[target] && !strings.Contains(string(page), "`make "+target+"`") {
			t.Errorf("CONTRIBUTING.md does not name make %s", target)
		}
	}
	for _, target := range regexp.MustCompile("`make ([a-z-]+)`").FindAllStringSubmatch(string(page), -1) {
		if !want[target[1]] {
			t.Errorf("CONTRIBUTING.md names make %s, and there is no such target", target[1])
		}
	}
}

var (
	links    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	scheme   = regexp.MustCompile(`^[a-z]+:`)
	heading  = regexp.MustCompile(`^#{1,6} (.*)`)
	linkText = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	inAnchor = regexp.MustCompile(`[^\pL\pN_ -]`)
)

// anchors are the names of a document's headings in links, as GitHub makes them.
func anchors(t *testing.T, file string) map[string]bool {
	names := map[string]bool{}
	for _, line := range withoutExamples(t, file) {
		if h := heading.FindStringSubmatch(line); h != nil {
			text := strings.ToLower(strings.TrimSpace(linkText.ReplaceAllString(h[1], "$1")))
			names[strings.ReplaceAll(inAnchor.ReplaceAllString(text, ""), " ", "-")] = true
		}
	}
	return names
}

// TestDocumentLinksLeadToFilesAndHeadings: those inside the repository.
func TestDocumentLinksLeadToFilesAndHeadings(t *testing.T) {
	seen := 0
	for _, file := range documents(t) {
		folder := path.Dir(file)
		if folder == "changelog/unreleased" { // a release moves these texts into CHANGELOG.md
			folder = "."
		}
		for i, line := range withoutExamples(t, file) {
			for _, link := range links.FindAllStringSubmatch(line, -1) {
				if scheme.MatchString(link[1]) {
					continue
				}
				seen++
				name, anchor, _ := strings.Cut(link[1], "#")
				target := file
				if name != "" {
					target = path.Join(folder, name)
				}
				if _, err := os.Stat(target); err != nil {
					t.Errorf("%s:%d: %s: there is no %s", file, i+1, link[1], target)
				} else if anchor != "" && path.Ext(target) == ".md" && !anchors(t, target)[anchor] {
					t.Errorf("%s:%d: %s: %s has no such heading", file, i+1, link[1], target)
				}
			}
		}
	}
	if seen < 150 {
		t.Errorf("only %d links found", seen)
	}
}

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// exitConstants are the exit codes of program.go, in its order.
func exitConstants(t *testing.T) (codes []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "program.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.HasPrefix(spec.Names[0].Name, "exit") && len(spec.Values) == 1 {
			if value, ok := spec.Values[0].(*ast.BasicLit); ok {
				codes = append(codes, value.Value)
			}
		}
		return true
	})
	require.Contains(t, codes, "0")
	require.Contains(t, codes, "1")
	return codes
}

// configurationSection is a section of docs/CONFIGURATION.md, without its heading.
func configurationSection(t *testing.T, heading string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/CONFIGURATION.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## "+heading+"\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// TestExitCodesAreDocumented: the table of docs/CONFIGURATION.md has every code of program.go and that of signals, once
// each and no other, and names every command that ends with more than 0.
func TestExitCodesAreDocumented(t *testing.T) {
	section := configurationSection(t, "Exit codes")
	var documented []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\d[^|]*?) \|`).FindAllStringSubmatch(section, -1) {
		documented = append(documented, row[1])
	}
	require.Equal(t, append(exitConstants(t), "128 + n"), documented)
	for _, cmd := range (&program{name: "bootstrap"}).rootCommand().Commands() {
		if cmd.Runnable() && cmd.Name() != "version" && cmd.Name() != "completion" {
			require.Contains(t, section, "`"+cmd.Name()+"`")
		}
	}
}

// TestCommandsAreDocumented: docs/CONFIGURATION.md has a row for every command, and names every flag that is no setting.
func TestCommandsAreDocumented(t *testing.T) {
	section := configurationSection(t, "Commands")
	for _, cmd := range (&program{name: "bootstrap"}).rootCommand().Commands() {
		if cmd.Runnable() {
			require.Regexp(t, "(?m)^\\| `bootstrap "+cmd.Name()+"[ `]", section)
		}
		for _, c := range append(cmd.Commands(), cmd) {
			ownFlags(c).VisitAll(func(f *pflag.Flag) {
				require.Regexp(t, "`[^`\n]*--"+f.Name+"[^a-z-]", section, c.CommandPath())
			})
		}
	}
}

func TestInvokeHelpHasItsExitCodes(t *testing.T) {
	code, help, _ := output(t, "bootstrap", "invoke", "--help")
	require.Zero(t, code)
	for _, want := range []string{"Exit codes: 0; 1 a call failed", "; 2 the command", "; 3 an address", "--expect FILE", "--junit FILE", "--event EVENT"} {
		require.Contains(t, help, want)
	}
	for line := range strings.Lines(help) {
		if !strings.Contains(line, "NAME") && !strings.HasPrefix(line, "  bootstrap ") { // examples are to be copied
			require.LessOrEqual(t, len(line), 81, line)
		}
	}
}

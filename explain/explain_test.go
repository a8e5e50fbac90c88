package explain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// sent are the codes and types that the agent's sources declare.
func sent(t *testing.T) (codes []string) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"../fault/*.go", "../extension/*.go"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 {
				return true
			}
			literal, ok := v.Values[0].(*ast.BasicLit)
			if name := v.Names[0].Name; ok && regexp.MustCompile("^(Code|Type|API|Gateway)[A-Z]").MatchString(name) && name != "CodeOK" {
				codes = append(codes, strings.Trim(literal.Value, `"`))
			}
			return true
		})
	}
	answers, err := os.ReadFile("../api/answer.go")
	require.NoError(t, err)
	for _, code := range regexp.MustCompile(`"((?:FSS|APIGW)\.[0-9]+)"`).FindAllStringSubmatch(string(answers), -1) {
		codes = append(codes, code[1])
	}
	return codes
}

func TestEveryCodeThatIsSentIsExplainedInBothLanguages(t *testing.T) {
	codes := sent(t)
	require.Greater(t, len(codes), 45)
	for _, code := range codes {
		for _, l := range []Language{English, Chinese} {
			text, ok := Text(strings.ToLower(code), l)
			require.True(t, ok, "no row for %s", code)
			require.Contains(t, text, code)
			han := strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Han, r) })
			require.Equal(t, l == Chinese, han, text)
		}
	}
	for _, code := range Codes() {
		require.True(t, slices.Contains(codes, code), "%s is explained and never sent", code)
	}
}

func TestCodesAreUniqueAndRowsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range table {
		for _, code := range r.codes {
			require.False(t, seen[code], code)
			seen[code] = true
		}
		for _, text := range []texts{r.title, r.why, r.what} {
			require.NotEmpty(t, text[English])
			require.NotEmpty(t, text[Chinese])
		}
	}
	_, ok := Text("4999", English)
	require.False(t, ok)
	require.Equal(t, Chinese, LanguageOf("zh_CN.UTF-8"))
	require.Equal(t, English, LanguageOf("C"))
}

// Package explain says what an error code or error type means, why it comes up, and what to do, in English and Chinese.
// It needs no network and looks at nothing but its table.
package explain

import (
	"fmt"
	"strings"
)

// Language is the language of a text.
type Language int

// The languages of the table.
const (
	English Language = iota
	Chinese
)

// LanguageOf reads a locale as in LANG, like zh_CN.UTF-8. What is not Chinese is English.
func LanguageOf(locale string) Language {
	if strings.HasPrefix(strings.ToLower(locale), "zh") {
		return Chinese
	}
	return English
}

var labels = [2][2]string{{"Why", "What to do"}, {"原因", "处理方法"}}

// Text explains a code, number or error type; upper and lower case are the same. ok is false if there is no such code.
func Text(code string, l Language) (text string, ok bool) {
	r := find(strings.TrimSpace(code))
	if r == nil {
		return "", false
	}
	return fmt.Sprintf("%s: %s\n\n%s: %s\n%s: %s\n",
		strings.Join(r.codes, ", "), r.title[l], labels[l][0], r.why[l], labels[l][1], r.what[l]), true
}

// find returns the row of a code, nil if there is none.
func find(code string) *row {
	for i := range table {
		for _, c := range table[i].codes {
			if strings.EqualFold(c, code) {
				return &table[i]
			}
		}
	}
	return nil
}

// Codes lists every code, in the order of the table.
func Codes() (codes []string) {
	for _, r := range table {
		codes = append(codes, r.codes...)
	}
	return codes
}

// List has a line for each row: its codes and its title.
func List(l Language) string {
	var b strings.Builder
	for _, r := range table {
		fmt.Fprintf(&b, "%-52s %s\n", strings.Join(r.codes, ", "), r.title[l])
	}
	return b.String()
}

package function

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// shorten puts "." in the place of the code folder's path, as the other languages do, but not in longer names that only
// begin or end like it.
func (f *function) shorten(text string) string {
	for _, root := range f.codeRoots {
		text = shorten(text, root)
	}
	return text
}

func shorten(text, root string) string {
	var b strings.Builder
	rest := text
	for {
		i := strings.Index(rest, root)
		if i < 0 {
			return b.String() + rest
		}
		end := i + len(root)
		b.WriteString(rest[:i])
		before := text[:len(text)-len(rest)+i]
		if endsInName(before) || beginsAsName(rest[end:]) {
			b.WriteString(root)
		} else {
			b.WriteByte('.')
		}
		rest = rest[end:]
	}
}

// inName reports whether file names in most texts may contain the character.
func inName(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_~+@%-", r)
}

func endsInName(text string) bool {
	r, _ := utf8.DecodeLastRuneInString(text)
	return r == '.' || inName(r)
}

// beginsAsName takes a dot for the end of a sentence unless a name goes on behind it.
func beginsAsName(text string) bool {
	r, _ := utf8.DecodeRuneInString(strings.TrimPrefix(text, "."))
	return inName(r)
}

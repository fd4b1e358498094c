// Package shellword writes what a message tells a person to run: a word that a shell reads back as it was, and that steers no
// terminal while it is read.
package shellword

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Quote returns a word as a shell reads it back: as it is where no shell takes it apart, else in quotes. One with what is not
// printed is in the quotes of bash and of POSIX.1-2024, $'…'.
func Quote(s string) string {
	switch {
	case s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0:
		return s
	case !utf8.ValidString(s) || strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0:
		return "$'" + escaped(s) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Path is [Quote] of a file's name that stands where a command has its options, too: one that begins with - is no option.
func Path(s string) string {
	if strings.HasPrefix(s, "-") {
		s = "./" + s
	}
	return Quote(s)
}

// Command returns a command and its arguments as a shell reads them back.
func Command(args ...string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = Quote(arg)
	}
	return strings.Join(words, " ")
}

func plain(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("/._-+,:@%=", r)
}

// escaped writes each byte that is not of a printed character in octal, which takes three digits whatever follows.
func escaped(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\'' || r == '\\':
			b.WriteString(`\` + s[:1])
		case unicode.IsPrint(r) && (r != utf8.RuneError || n > 1):
			b.WriteString(s[:n])
		default:
			for i := range n {
				fmt.Fprintf(&b, `\%03o`, s[i])
			}
		}
		s = s[n:]
	}
	return b.String()
}

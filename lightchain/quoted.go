package lightchain

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxQuoted is how many bytes of a text from elsewhere an error repeats: more than any word of
// the format has.
const maxQuoted = 120

// quoted returns a text from elsewhere as an error repeats it, the beginning of a long one: errors are printed, and a file may
// hold megabytes where a word belongs.
func quoted(s string) string {
	if len(s) <= maxQuoted {
		return strconv.Quote(s)
	}
	n := maxQuoted
	for n > maxQuoted-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s and %d bytes more", strconv.Quote(s[:n]), len(s)-n)
}

package shellword

import (
	"os/exec"
	"strings"
	"testing"
	"unicode"
)

var words = []string{"", "a", "/var/lib/edge agent", "it's", `a"b$c`, "-rf", "a\nb", "\x1b[2J", "\xff\xfe", "Zürich", "~", "a=b", "*", `\`, "\u202e1", "\x007"[1:], "\t1'2"}

// A shell reads back what was quoted, as one word, and nothing in it steers a terminal.
func TestAShellReadsBackWhatWasQuoted(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not here")
	}
	for _, word := range words {
		for _, quoted := range []string{Quote(word), Command(word)} {
			out, err := exec.Command(bash, "-c", "printf '%s|' "+quoted).Output()
			if got := string(out); err != nil || got != word+"|" {
				t.Errorf("%q is quoted as %s, which is read as %q, %v", word, quoted, got, err)
			}
			if strings.ContainsFunc(quoted, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q is not printed", quoted)
			}
		}
	}
}

func TestAPathIsNoOption(t *testing.T) {
	for word, want := range map[string]string{"-rf": "./-rf", "a b": "'a b'", "-a b": "'./-a b'"} {
		if got := Path(word); got != want {
			t.Errorf("%q: %s, and not %s", word, got, want)
		}
	}
}

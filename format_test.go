package edgechain_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	spec      = regexp.MustCompile(`^\s*// SPEC: (.*)`)
	continued = regexp.MustCompile(`^\s*// ?(\S.*)`)
	cddlNote  = regexp.MustCompile(`\n\s*;\s*`)       // a comment of the CDDL that goes on
	marks     = regexp.MustCompile("[`*]|\\s*⟨\\d+⟩") // emphasis, and references to notes
	left      = regexp.MustCompile(`\[?…\]?`)         // where a quotation leaves words out
)

// unmarked returns text without line ends and emphasis.
func unmarked(text string) string {
	return strings.Join(strings.Fields(marks.ReplaceAllString(text, "")), " ")
}

// A check quotes the sentence that it enforces; who changes one of the two must see the other.
func TestWhatIsQuotedOfTheFormatStandsInIt(t *testing.T) {
	page, err := os.ReadFile("docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	format := unmarked(cddlNote.ReplaceAllString(string(page), " "))
	quotes := 0
	err = filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".go" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		lines := strings.Split(string(text), "\n")
		for i := range lines {
			begun := spec.FindStringSubmatch(lines[i])
			if begun == nil {
				continue
			}
			quote := begun[1]
			for _, line := range lines[i+1:] {
				more := continued.FindStringSubmatch(line)
				if more == nil {
					break
				}
				quote += " " + more[1]
			}
			for _, piece := range left.Split(quote, -1) {
				// A quotation may end where the sentence goes on.
				if !strings.Contains(format, strings.TrimSuffix(unmarked(piece), ".")) {
					t.Errorf("%s:%d: %q does not stand in docs/format.md", name, i+1, piece)
				}
			}
			quotes++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if quotes < 50 {
		t.Errorf("%d quotations are found", quotes)
	}
}

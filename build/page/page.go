// Package page opens the verifier for browsers in one, for tests: those of the page, which stand here, and those of whoever writes what
// it checks.
package page

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"edgechain.example/build/testenv"
)

// A Run of the page in a browser; see drive.mjs.
type Run struct {
	Page     string `json:"page"` // a file; "" is the page as it is built
	Plain    bool   `json:"plain,omitempty"`
	Language string `json:"language,omitempty"`
	Trust    string `json:"trust,omitempty"`
	Files    []File `json:"files,omitempty"`
	Drop     bool   `json:"drop,omitempty"`
	Script   string `json:"script,omitempty"`
	Picture  string `json:"picture,omitempty"`
	Dark     bool   `json:"dark,omitempty"`
	Small    bool   `json:"small,omitempty"`
	Print    bool   `json:"print,omitempty"` // what is shown is what would be printed
}

// A File is what the page is given.
type File struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// Shown is what the page then shows.
type Shown struct {
	Language, Trusted, Tally, Text string
	Secure, Subtle, Came           bool
	Images, Ticks                  int
	Said                           any
	Requests, Errors               []string
	Articles                       []Article
}

// An Article is what it says of one file, or of two together.
type Article struct {
	File, Verdict, Check, Together, Words, Why, Brief string
	Files, Proved, Beware, NotProved, Times, Steps    []string
	Facts, Readings                                   [][]string
	Charts                                            int
}

// Said is what edgeverify says of a file, as JSON.
type Said struct {
	File, Verdict, Message string
	Proved, Beware, Undone []string
	NotProved              []string `json:"not_proved"`
	Entry                  *struct {
		Readings []struct {
			Name  string
			Value json.RawMessage
		}
	}
}

// Open opens the page as often as it is told to; root is the folder of the tree. Whatever is done to the page, it asks nobody for
// anything.
func Open(t testing.TB, root string, runs ...Run) (all []Shown) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser")
	}
	for i := range runs {
		if runs[i].Page == "" {
			path, err := filepath.Abs(filepath.Join(root, "cmd/internal/verifypage/verify.html"))
			if err != nil {
				t.Fatal(err)
			}
			runs[i].Page = path
		}
	}
	testenv.Browser(t, filepath.Join(root, "build/page/drive.mjs"), runs, &all)
	for i, s := range all {
		if len(s.Requests) > 0 {
			t.Errorf("run %d asks for %q", i, s.Requests)
		}
		if len(s.Errors) > 0 && runs[i].Script == "" {
			t.Errorf("run %d tells of errors: %q", i, s.Errors)
		}
	}
	return all
}

// Compare claims that the page says of a file what edgeverify says, in the same words.
func (a *Article) Compare(t testing.TB, v *Said) {
	t.Helper()
	if a.Verdict != v.Verdict {
		t.Errorf("%s: the page says %q, edgeverify %q", a.File, a.Verdict, v.Verdict)
	}
	var beware []string
	for _, s := range v.Beware {
		beware = append(beware, s+".")
	}
	for _, c := range []struct {
		what       string
		page, said []string
	}{{"proved", a.Proved, v.Proved}, {"beware", a.Beware, beware}, {"not proved", a.NotProved, v.NotProved}} {
		if !slices.Equal(c.page, c.said) {
			t.Errorf("%s: %s: the page says\n%q\nedgeverify\n%q", a.File, c.what, c.page, c.said)
		}
	}
}

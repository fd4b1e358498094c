package verifypage

import (
	"bytes"
	"strings"
	"testing"
)

func TestAProofGoesIntoThePageAndOutOfIt(t *testing.T) {
	proof := []byte("\xa1\x01\x02 </script><img onerror=x>")
	html, err := Enclose("tavqmlqg-1042.edgeproof", proof)
	if err != nil {
		t.Fatal(err)
	}
	if got, found := Enclosed(html); !found || !bytes.Equal(got, proof) {
		t.Errorf("out of the page comes %q, %v", got, found)
	}
	if got, found := Enclosed(page); found {
		t.Errorf("a page without a proof has %q", got)
	}
	if more := len(html) - len(page); more > len(proof)*4/3+200 {
		t.Errorf("the page grew by %d bytes", more)
	}
	if strings.Contains(string(html), place) {
		t.Error("the place of the proof is still free")
	}
}

// Whoever mails it, or keeps it on a board, counts.
func TestThePageIsSmall(t *testing.T) {
	const most = 60_000
	if len(page) >= most {
		t.Errorf("the page has %d bytes, fewer than %d are allowed", len(page), most)
	}
	for _, far := range []string{"http:", "https:", "//cdn", "src=", "onerror", "onload", "unsafe-"} {
		if bytes.Contains(beforeProgram(t), []byte(far)) {
			t.Errorf("the page has %q in it", far)
		}
	}
}

func beforeProgram(t *testing.T) []byte {
	t.Helper()
	before, _, found := bytes.Cut(page, []byte(`id="program">`))
	if !found {
		t.Fatal("the page has no program")
	}
	return before
}

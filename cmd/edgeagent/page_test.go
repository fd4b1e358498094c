package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"edgechain.example/build/page"
	"edgechain.example/cmd/internal/verifypage"
)

// What an agent writes goes into the page for browsers, and that says of it what edgeverify says; so does the page that the agent
// writes with a proof in it, once it is told whom to trust.
func TestTheAgentsEvidenceInABrowser(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `
[[broker.decode]]
topics = ["#"]
dialect = "json"
`)
	g.start()
	for i := range 12 {
		g.publish("-t", "line1/press-07", "-m", fmt.Sprintf(`{"temperature":%d.5,"state":"<img src=x onerror=alert(1)>"}`, 70+i%5))
	}
	g.stop()
	chain, number := g.verify(), g.entries()[3].Number
	dir := t.TempDir()
	proof, bundle, html := filepath.Join(dir, "one.edgeproof"), filepath.Join(dir, "all.edgebundle"), filepath.Join(dir, "one.html")
	g.must("prove", fmt.Sprint(number), "--file", proof)
	g.must("export", "--bundle", fmt.Sprintf("1-%d", g.status().Height), "--file", bundle)
	var wrote struct {
		File   string
		Number uint64
		Bytes  int
	}
	if err := json.Unmarshal([]byte(g.must("prove", fmt.Sprint(number), "--html", html, "--output", "json")), &wrote); err != nil || wrote.File != html || wrote.Number != number {
		t.Errorf("prove --html says %+v, %v", wrote, err)
	}
	read := func(file string) []byte {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if enclosed, found := verifypage.Enclosed(read(html)); !found || string(enclosed) != string(read(proof)) || wrote.Bytes != len(read(html)) {
		t.Errorf("the page of %d bytes holds another proof than prove writes", wrote.Bytes)
	}

	trust := page.File{Name: "auditor.txt", Data: []byte("chain " + chain + "\n")}
	files := []page.File{{Name: "one.edgeproof", Data: read(proof)}, {Name: "all.edgebundle", Data: read(bundle)}}
	shown := page.Open(t, "../..", page.Run{Files: append([]page.File{trust}, files...), Drop: true},
		page.Run{Page: html}, page.Run{Page: html, Trust: chain}, page.Run{Trust: chain, Files: []page.File{{Name: "one.html", Data: read(html)}}})
	for i, s := range shown {
		if s.Images > 0 {
			t.Errorf("run %d: %d images", i, s.Images)
		}
	}

	said := map[string]*page.Said{}
	stdout, _, _ := g.output("edgeverify", "--chain", chain, "--output", "json", proof, bundle)
	for line := range strings.Lines(stdout) {
		v := new(page.Said)
		if err := json.Unmarshal([]byte(line), v); err != nil {
			t.Fatal(err)
		}
		said[filepath.Base(v.File)] = v
	}
	if len(shown[0].Articles) != 2 {
		t.Fatalf("the page shows %+v", shown[0].Articles)
	}
	for i := range shown[0].Articles {
		a := &shown[0].Articles[i]
		like(t, a, said[a.File])
	}
	if b := shown[0].Articles[1]; b.Charts != 1 || len(b.Readings) != 24 {
		t.Errorf("of the bundle it draws %d courses, and has %d readings", b.Charts, len(b.Readings))
	}

	// The page that came with the proof: it says nothing before it is told whom to trust, and whose it may be.
	untold := shown[1]
	if !untold.Came || len(untold.Articles) != 1 || untold.Articles[0].Verdict != "waiting" || len(untold.Articles[0].Proved) > 0 ||
		!strings.Contains(untold.Articles[0].Why, chain) || !strings.Contains(untold.Text, "proves nothing about itself") {
		t.Errorf("without trust it shows %+v", untold.Articles)
	}
	for _, s := range shown[2:] {
		if len(s.Articles) != 1 {
			t.Errorf("it shows %+v", s.Articles)
			continue
		}
		like(t, &s.Articles[0], said["one.edgeproof"])
	}
}

// like claims that the page shows of a file that verifies what edgeverify says of it.
func like(t *testing.T, a *page.Article, v *page.Said) {
	t.Helper()
	if v.Verdict != "verified" {
		t.Errorf("%s: edgeverify says %q", a.File, v.Verdict)
	}
	if a.Compare(t, v); v.Entry == nil {
		return
	}
	for i, r := range v.Entry.Readings {
		if i >= len(a.Readings) || a.Readings[i][1] != r.Name || regexp.MustCompile(`^[0-9.]+$`).Match(r.Value) && a.Readings[i][2] != string(r.Value) {
			t.Errorf("%s: reading %d is %+v, and in the page %q", a.File, i, r, a.Readings)
		}
	}
}

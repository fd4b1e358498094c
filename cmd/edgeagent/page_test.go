package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
	"edgechain.example/cmd/internal/verifypage"
)

type pageRun struct {
	Page  string     `json:"page"`
	Trust string     `json:"trust,omitempty"`
	Files []pageFile `json:"files,omitempty"`
	Drop  bool       `json:"drop,omitempty"`
}

type pageFile struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

type pageArticle struct {
	File, Verdict, Words, Why string
	Proved, Beware, NotProved []string
	Readings, Facts           [][]string
	Charts                    int
}

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
	proof, bundle, page := filepath.Join(dir, "one.edgeproof"), filepath.Join(dir, "all.edgebundle"), filepath.Join(dir, "one.html")
	g.must("prove", fmt.Sprint(number), "--file", proof)
	g.must("export", "--bundle", fmt.Sprintf("1-%d", g.status().Height), "--file", bundle)
	var wrote struct {
		File   string
		Number uint64
		Bytes  int
	}
	if err := json.Unmarshal([]byte(g.must("prove", fmt.Sprint(number), "--html", page, "--output", "json")), &wrote); err != nil || wrote.File != page || wrote.Number != number {
		t.Errorf("prove --html says %+v, %v", wrote, err)
	}
	read := func(file string) []byte {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if enclosed, found := verifypage.Enclosed(read(page)); !found || string(enclosed) != string(read(proof)) || wrote.Bytes != len(read(page)) {
		t.Errorf("the page of %d bytes holds another proof than prove writes", wrote.Bytes)
	}

	plain, err := filepath.Abs("../internal/verifypage/verify.html")
	if err != nil {
		t.Fatal(err)
	}
	trust := pageFile{"auditor.txt", []byte("chain " + chain + "\n")}
	files := []pageFile{{"one.edgeproof", read(proof)}, {"all.edgebundle", read(bundle)}}
	var shown []struct {
		Came             bool
		Text             string
		Images           int
		Requests, Errors []string
		Articles         []pageArticle
	}
	testenv.Browser(t, "../../build/page/drive.mjs", []pageRun{
		{Page: plain, Files: append([]pageFile{trust}, files...), Drop: true},
		{Page: page},
		{Page: page, Trust: chain},
		{Page: plain, Trust: chain, Files: []pageFile{{"one.html", read(page)}}},
	}, &shown)
	for i, s := range shown {
		if len(s.Requests)+len(s.Errors)+s.Images > 0 {
			t.Errorf("run %d: requests %q, errors %q, %d images", i, s.Requests, s.Errors, s.Images)
		}
	}

	said := map[string]pageSaid{}
	stdout, _, _ := g.output("edgeverify", "--chain", chain, "--output", "json", proof, bundle)
	for line := range strings.Lines(stdout) {
		var v pageSaid
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		said[filepath.Base(v.File)] = v
	}
	if len(shown[0].Articles) != 2 {
		t.Fatalf("the page shows %+v", shown[0].Articles)
	}
	for _, a := range shown[0].Articles {
		a.like(t, said[a.File])
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
		s.Articles[0].like(t, said["one.edgeproof"])
	}
}

type pageSaid struct {
	File, Verdict  string
	Proved, Beware []string
	NotProved      []string `json:"not_proved"`
	Entry          *struct {
		Readings []struct {
			Device, Name, Unit string
			Value              json.RawMessage
		}
	}
}

// like compares what the page shows of a file with what edgeverify says of it.
func (a pageArticle) like(t *testing.T, v pageSaid) {
	t.Helper()
	var beware []string
	for _, s := range v.Beware {
		beware = append(beware, s+".")
	}
	if a.Verdict != v.Verdict || v.Verdict != "verified" || !slices.Equal(a.Proved, v.Proved) || !slices.Equal(a.Beware, beware) || !slices.Equal(a.NotProved, v.NotProved) {
		t.Errorf("%s: the page says %s: %q, %q, %q\nedgeverify %s: %q, %q, %q", a.File, a.Verdict, a.Proved, a.Beware, a.NotProved, v.Verdict, v.Proved, v.Beware, v.NotProved)
	}
	if v.Entry == nil {
		return
	}
	for i, r := range v.Entry.Readings {
		if i >= len(a.Readings) || a.Readings[i][1] != r.Name || regexp.MustCompile(`^[0-9.]+$`).Match(r.Value) && a.Readings[i][2] != string(r.Value) {
			t.Errorf("%s: reading %d is %+v, and in the page %q", a.File, i, r, a.Readings)
		}
	}
}

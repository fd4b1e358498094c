package lightchain

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

// vector is one file of testdata/vectors; its README.md says what each field means.
type vector struct {
	About string `json:"about"`
	Kind  string `json:"kind"`
	Bytes []byte `json:"bytes,omitempty"` // base64
	Other []byte `json:"other,omitempty"` // base64
	Text  string `json:"text,omitempty"`
	Trust string `json:"trust,omitempty"`

	Genesis []byte `json:"genesis,omitempty"` // base64

	Expect string `json:"expect"`          // ok or fail
	Check  string `json:"check,omitempty"` // the first check that fails
	Hash   string `json:"hash,omitempty"`

	Number      *uint64  `json:"number,omitempty"`
	Next        *uint64  `json:"next,omitempty"`
	Height      *uint64  `json:"height,omitempty"`
	ReceiptedBy []string `json:"receipted_by,omitempty"`
	NotBefore   *uint64  `json:"not_before,omitempty"`
	NotAfter    *uint64  `json:"not_after,omitempty"`

	Silences []silenceVector `json:"silences,omitempty"`
	Falling  []string        `json:"falling,omitempty"`

	Standing  NoteStanding  `json:"standing,omitempty"`
	Signer    string        `json:"signer,omitempty"`
	Statement string        `json:"statement,omitempty"`
	Binding   NoteBinding   `json:"binding,omitempty"`
	Notes     []notesVector `json:"notes,omitempty"`

	Leaves []string `json:"leaves,omitempty"` // hexadecimal
	Root   string   `json:"root,omitempty"`
	From   uint64   `json:"from,omitempty"`
	To     uint64   `json:"to,omitempty"`
	Before string   `json:"before,omitempty"`
	After  string   `json:"after,omitempty"`
	Hashes []Hash   `json:"hashes,omitempty"`
}

// notesVector is [BundleNotes].
type notesVector struct {
	Number   uint64       `json:"number"`
	Count    uint64       `json:"count"`
	Repeats  uint64       `json:"repeats"`
	Standing NoteStanding `json:"standing"`
	Signer   string       `json:"signer,omitempty"`
	Binding  NoteBinding  `json:"binding,omitempty"`
}

// notesOf are the notes of a bundle as a vector has them.
func notesOf(r *BundleReport) (all []notesVector) {
	for i := range r.Notes {
		n := &r.Notes[i]
		all = append(all, notesVector{n.First, n.Count, n.Repeats, n.Standing, n.Signer, n.Binding})
	}
	return all
}

// silenceVector is a [Silence] in whole seconds.
type silenceVector struct {
	Height uint64 `json:"height"`
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
}

// told puts into a vector what a verifier tells and no check fails for.
func (v *vector) told(silences []Silence, reversals []Reversal) {
	v.Silences, v.Falling = nil, nil
	for _, s := range silences {
		v.Silences = append(v.Silences, silenceVector{s.Height, s.From.Time, s.To.Time})
	}
	for _, r := range reversals {
		v.Falling = append(v.Falling, r.Lower.Name)
	}
}

const vectorFolder = "testdata/vectors"

func TestPublishedVectors(t *testing.T) {
	files, err := filepath.Glob(vectorFolder + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	made := makeVectors(t)
	if *update {
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		files = nil
		for name, b := range made {
			files = append(files, filepath.Join(vectorFolder, name+".json"))
			if err := os.WriteFile(files[len(files)-1], b, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(files) != len(made) {
		t.Errorf("%d vectors are published, and %d are made", len(files), len(made))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, made[strings.TrimSuffix(filepath.Base(file), ".json")]) {
				t.Error("it is not what is made: go test ./lightchain -run Vectors -update")
			}
			var v vector
			d := json.NewDecoder(bytes.NewReader(b))
			d.DisallowUnknownFields()
			if err := d.Decode(&v); err != nil {
				t.Fatal(err)
			}
			v.run(t)
		})
	}
}

func (v *vector) run(t *testing.T) {
	t.Helper()
	switch v.Kind {
	case "proof":
		v.runProof(t)
		return
	case "bundle":
		v.runBundle(t)
		return
	case "run":
		v.runRun(t)
		return
	case "note":
		v.runNote(t)
		return
	case "fork":
		v.runFork(t)
		return
	case "tree":
		var r CompactRange
		for _, leaf := range v.Leaves {
			r.Append(LeafHash([]byte(leaf)), nil)
		}
		if got := r.Root().String(); got != v.Root {
			t.Errorf("root %s, want %s", got, v.Root)
		}
		return
	case "entry", "header", "signed header", "receipt", "trust", "text", "consistency", "pair":
	default:
		t.Fatalf("unknown kind %q", v.Kind)
	}
	err := v.refusal()
	if (err == nil) != (v.Expect == "ok") {
		t.Errorf("expected %s: %v", v.Expect, err)
	}
	if got := LeafHash(v.Bytes).String(); v.Hash != "" && got != v.Hash {
		t.Errorf("hash %s, want %s", got, v.Hash)
	}
}

// failed reports whether the vector is one that must not verify, and fails the test where err is not what is expected.
func (v *vector) failed(t *testing.T, err error) bool {
	t.Helper()
	if v.Expect != "fail" {
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	var failed *CheckError
	if !errors.As(err, &failed) || string(failed.Check) != v.Check {
		t.Fatalf("the check to fail is %s: %v", v.Check, err)
	}
	return true
}

func (v *vector) runProof(t *testing.T) {
	t.Helper()
	trust, err := ParseTrust([]byte(v.Trust))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Verify(v.Bytes, trust)
	if v.failed(t, err) {
		return
	}
	var names []string
	for _, r := range report.ReceiptedBy {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	equal := func(a, b *uint64) bool { return a == b || a != nil && b != nil && *a == *b }
	if report.Number != *v.Number || report.Header.Height != *v.Height || !slices.Equal(names, v.ReceiptedBy) ||
		!equal(report.NotBefore, v.NotBefore) || !equal(report.NotAfter, v.NotAfter) {
		t.Errorf("entry %d at height %d by %v, not before %v, not after %v", report.Number, report.Header.Height, names, report.NotBefore, report.NotAfter)
	}
	if n := report.Note; v.Standing != "" && (n == nil || n.Standing != v.Standing || n.Signer != v.Signer || n.Binding != v.Binding) {
		t.Errorf("its note stands %+v", n)
	}
	got := *v
	if got.told(report.Silences, report.Reversals); !slices.Equal(got.Silences, v.Silences) || !slices.Equal(got.Falling, v.Falling) {
		t.Errorf("silent %v, falling times of %v", got.Silences, got.Falling)
	}
}

func (v *vector) runBundle(t *testing.T) {
	t.Helper()
	trust, err := ParseTrust([]byte(v.Trust))
	if err != nil {
		t.Fatal(err)
	}
	report, err := verifyBundle(v.Bytes, trust)
	if v.failed(t, err) {
		return
	}
	equal := func(a, b *uint64) bool { return a == b || a != nil && b != nil && *a == *b }
	if report.First != *v.Number || report.Next != *v.Next || report.To != *v.Height || !equal(report.NotAfter, v.NotAfter) || len(report.ReceiptedBy) != len(v.ReceiptedBy) {
		t.Errorf("%+v", report)
	}
	if got := notesOf(report); !slices.Equal(got, v.Notes) {
		t.Errorf("notes %+v", got)
	}
}

func (v *vector) runFork(t *testing.T) {
	t.Helper()
	trust, err := ParseTrust([]byte(v.Trust))
	if err != nil {
		t.Fatal(err)
	}
	report, err := VerifyFork(v.Bytes, trust)
	if v.failed(t, err) {
		return
	}
	if report.Height != *v.Height || !slices.Equal(report.Both, v.ReceiptedBy) {
		t.Errorf("a fork at height %d, both sides countersigned by %v", report.Height, report.Both)
	}
}

func (v *vector) runRun(t *testing.T) {
	t.Helper()
	genesis, err := DecodeSignedHeader(v.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	tip, err := Begin(genesis)
	if err != nil {
		t.Fatal(err)
	}
	run, err := DecodeRun(v.Bytes)
	if err == nil {
		_, err = tip.Follow(run, nil)
	}
	if (err == nil) != (v.Expect == "ok") {
		t.Errorf("expected %s: %v", v.Expect, err)
	}
	if err == nil && tip.Hash.String() != v.Hash {
		t.Errorf("it leads to %s, want %s", tip.Hash, v.Hash)
	}
}

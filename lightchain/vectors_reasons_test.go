package lightchain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// A bad vector that fails for another reason than its name says tests nothing. testdata/reasons.txt, which is kept by hand,
// says of each how the error must read; that nothing else is wrong with it is shown by the verifier in build/foreign, which
// takes it once that one check is left out.
func TestBadVectorsFailForTheirReason(t *testing.T) {
	b, err := os.ReadFile("testdata/reasons.txt")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, why, found := strings.Cut(strings.TrimSpace(line), ": ")
		if !found || reasons[name] != "" {
			t.Fatalf("testdata/reasons.txt: %q", line)
		}
		reasons[name] = why
	}
	for name, b := range makeVectors(t) {
		var v vector
		if err := json.NewDecoder(bytes.NewReader(b)).Decode(&v); err != nil {
			t.Fatal(err)
		}
		if v.Expect != "fail" {
			continue
		}
		want := reasons[name]
		if err := v.refusal(); want == "" || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, %s: %v; testdata/reasons.txt has %q", name, v.About, err, want)
		}
		delete(reasons, name)
	}
	for name := range reasons {
		t.Errorf("testdata/reasons.txt names %s, and there is no such vector that fails", name)
	}
}

// refusal returns why a vector is refused, in this package's words.
func (v *vector) refusal() (err error) {
	var trust *Trust
	if v.Trust != "" {
		if trust, err = ParseTrust([]byte(v.Trust)); err != nil {
			return fmt.Errorf("its trust file: %w", err)
		}
	}
	switch v.Kind {
	case "entry":
		_, err = DecodeEntry(v.Bytes)
	case "header":
		_, err = DecodeHeader(v.Bytes)
	case "signed header":
		var h *SignedHeader
		if h, err = DecodeSignedHeader(v.Bytes); err == nil && h.Header.Genesis != nil {
			_, err = Begin(h)
		}
	case "receipt":
		_, err = DecodeReceipt(v.Bytes)
	case "trust":
		_, err = ParseTrust(append([]byte(v.Text), v.Bytes...))
	case "text":
		_, err = DecodeText([]byte(v.Text))
	case "proof":
		_, err = Verify(v.Bytes, trust)
	case "bundle":
		_, err = verifyBundle(v.Bytes, trust)
	case "fork":
		_, err = VerifyFork(v.Bytes, trust)
	case "run":
		var genesis *SignedHeader
		var tip *Tip
		var run *Run
		if genesis, err = DecodeSignedHeader(v.Genesis); err != nil {
			return err
		}
		if tip, err = Begin(genesis); err != nil {
			return err
		}
		if run, err = DecodeRun(v.Bytes); err == nil {
			_, err = tip.Follow(run, nil)
		}
	case "consistency":
		var before, after Hash
		if err := errors.Join(before.UnmarshalText([]byte(v.Before)), after.UnmarshalText([]byte(v.After))); err != nil {
			return err
		}
		err = VerifyConsistency(v.From, v.To, before, after, v.Hashes)
	case "pair":
		return v.contradiction(trust)
	case "note":
		var r *NoteReport
		if r, err = v.standing(trust); err == nil {
			return r.Err
		}
	}
	return err
}

// contradiction says why two files cannot be of one history.
func (v *vector) contradiction(t *Trust) error {
	var sides [2][]Side
	var blocks [2]*BundleBlocks
	var receipts []ReceiptedBy
	for i, b := range [][]byte{v.Bytes, v.Other} {
		var err error
		if sides[i], blocks[i], err = judgeWithBlocks(b, t); err != nil {
			return fmt.Errorf("file %d: %w", i+1, err)
		}
		if report, err := Verify(b, t); err == nil {
			receipts = append(receipts, report.Receipts...)
		}
	}
	if f := Contradiction(sides[0], sides[1], t); f != nil {
		if why := f.Conflict(); why != nil {
			return why
		}
		return fmt.Errorf("two headers at height %d", f.Height())
	}
	for i, b := range blocks {
		for j := range sides[1-i] {
			if b == nil {
				break
			}
			if why, _ := b.Apart(&sides[1-i][j]); why != nil {
				return why
			}
		}
	}
	if all := Reversals(receipts); len(all) > 0 {
		return fmt.Errorf("falling times of %s", all[0].Lower.Name)
	}
	return nil
}

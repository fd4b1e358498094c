package foreign

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

// Notes are mutated as text, since JSON and SSH signatures are what readers of them take for different things.
func TestBothVerifiersJudgeNotesAlike(t *testing.T) {
	n := 6000
	if testing.Short() {
		n = 500
	}
	m := newNoteMaker(t, 1)
	stand := map[string]int{}
	asked, _ := compare(t, func(yield func(question) bool) {
		for range n {
			q := m.mutant()
			stand[ask(q).Notes[0].Standing]++
			if !yield(q) {
				return
			}
		}
	})
	t.Logf("%d notes, by how they stand: %v", asked, stand)
	for _, standing := range []lightchain.NoteStanding{lightchain.NoteUnsigned, lightchain.NoteSigned, lightchain.NoteStranger, lightchain.NoteBad} {
		if stand[string(standing)] < asked/200 {
			t.Errorf("of %d mutants %d stand %q: they say too little", asked, stand[string(standing)], standing)
		}
	}
}

// In proofs and bundles notes stand alike, too, and none that is bad fails a check.
func TestBothVerifiersFindTheSameNotesInFiles(t *testing.T) {
	found := 0
	_, by := compare(t, func(yield func(question) bool) {
		for _, v := range vectors(t) {
			if v.Expect != "ok" || v.Kind != "proof" && v.Kind != "bundle" {
				continue
			}
			q := question{Trust: []byte(v.Trust), File: v.Bytes, about: v.name}
			found += len(ask(q).Notes)
			if !yield(q) {
				return
			}
		}
	})
	if found < 9 || len(by) != 1 {
		t.Errorf("%d notes in them; by the check that failed: %v", found, by)
	}
}

type noteMaker struct {
	rng     *rand.Rand
	entries []lightchain.Entry
	trust   []byte
}

func newNoteMaker(t *testing.T, seed uint64) *noteMaker {
	m := &noteMaker{rng: rand.New(rand.NewPCG(seed, 0))}
	for _, v := range vectors(t) {
		if v.Kind != "note" {
			continue
		}
		e, err := lightchain.DecodeEntry(v.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Payload) > 1<<14 {
			continue // long ones have vectors
		}
		for range map[bool]int{true: 4, false: 1}[v.Expect == "ok"] {
			m.entries = append(m.entries, e)
		}
		m.trust = []byte(v.Trust)
	}
	return m
}

// tokens are what JSON and its readers stumble over.
var tokens = []string{
	`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, ` `, "\t", "\n", "\r", "\x00", "\x7f", "\u0085", "\u00a0", "\u2028", "\ufeff", "\ufffd", "\xff", "\xed\xa0\x80",
	`\ud800`, `\udc00`, `\ud83d\ude00`, `\u0000`, `\u000a`, `\n`, `\/`, `\"`, `\x`, `\u12`, `0`, `-`, `.0`, `e0`, `01`, `null`, `true`, `9007199254740992`,
	`,"who":"y"`, `,"\u0077ho":"y"`, `,"WHO":"y"`, `,"__proto__":{"who":1}`, `,"text":"a"`, `,"entries":[[1,2]]`, `,"head":[2,"`, `"]`, `,"data":""`, `,"size":0`, `[0,0],`, `=`, `+`, `A`,
}

func (m *noteMaker) mutant() question {
	e := m.entries[m.rng.IntN(len(m.entries))]
	for range m.rng.IntN(3) {
		e.Payload = m.change(e.Payload)
	}
	if m.rng.IntN(50) == 0 {
		e.Flags ^= 1 << m.rng.IntN(6)
	}
	if m.rng.IntN(50) == 0 {
		e.Source = map[string]string{lightchain.SourceNote: lightchain.SourceAttach, lightchain.SourceAttach: lightchain.SourceNote}[e.Source]
	}
	e.Readings = nil
	b, err := e.Append(nil)
	if err != nil {
		panic(err)
	}
	trust := m.trust
	if m.rng.IntN(20) == 0 {
		trust = bytes.Replace(trust, []byte("person anna"), []byte("person a.berger-2"), 1)
	}
	return question{Trust: trust, File: b, Note: true, about: fmt.Sprintf("%q", e.Payload)}
}

func (m *noteMaker) change(payload []byte) []byte {
	at := m.rng.IntN(len(payload) + 1)
	token := tokens[m.rng.IntN(len(tokens))]
	splice := func(from, to int, with string) []byte {
		return append(append(bytes.Clone(payload[:from]), with...), payload[to:]...)
	}
	switch m.rng.IntN(8) {
	case 0:
		return splice(at, at, token)
	case 1:
		return splice(at, min(at+1+m.rng.IntN(4), len(payload)), "")
	case 2:
		return splice(at, min(at+1, len(payload)), token)
	case 3: // a member more
		if len(payload) > 0 {
			return splice(len(payload)-1, len(payload)-1, token)
		}
	case 4: // spaces where JSON has them free
		spaced := strings.NewReplacer(`":`, `" : `, `,"`, " ,\n\"").Replace(string(payload))
		return []byte(spaced)
	case 5: // one bit of the signature
		const member = `"signature":"`
		begin := bytes.Index(payload, []byte(member))
		if begin < 0 {
			break
		}
		begin += len(member)
		length := bytes.IndexByte(payload[begin:], '"')
		if length < 0 {
			break
		}
		blob, err := base64.StdEncoding.DecodeString(string(payload[begin : begin+length]))
		if err != nil || len(blob) == 0 {
			break
		}
		blob[m.rng.IntN(len(blob))] ^= 1 << m.rng.IntN(8)
		return splice(begin, begin+length, base64.StdEncoding.EncodeToString(blob))
	case 6: // digits
		if i := bytes.IndexAny(payload[at:], "0123456789"); i >= 0 {
			return splice(at+i, at+i+1, []string{"", "0", "12", "9007199254740991", "9007199254740992", "1.0", "-0"}[m.rng.IntN(7)])
		}
	case 7:
		return payload // as it is
	}
	return payload
}

package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

// Who gave a reading its name is said where a file before proves it, of the same chain, and asked for where none does.
func TestWhatNamedAReading(t *testing.T) {
	birth := []byte("a birth")
	hash := lightchain.Hash(sha256.Sum256(birth))
	data := &lightchain.Report{Chain: lightchain.ChainID{1}, Number: 7, Entry: lightchain.Entry{Readings: []lightchain.Reading{{Name: "a", Meaning: &hash}, {Name: "b", Meaning: &hash}, {Name: "c"}}}}
	for _, c := range []struct {
		what  string
		chain lightchain.ChainID
		entry lightchain.Entry
		err   error
		known bool
	}{
		{"the birth", lightchain.ChainID{1}, lightchain.Entry{Payload: birth}, nil, true},
		{"its hash", lightchain.ChainID{1}, lightchain.Entry{Payload: hash[:], Flags: lightchain.PayloadHashed}, nil, true},
		{"a hash that is a payload", lightchain.ChainID{1}, lightchain.Entry{Payload: hash[:]}, nil, false},
		{"a hash cut short", lightchain.ChainID{1}, lightchain.Entry{Payload: hash[:5], Flags: lightchain.PayloadHashed}, nil, false},
		{"another chain's", lightchain.ChainID{2}, lightchain.Entry{Payload: birth}, nil, false},
		{"a file that does not verify", lightchain.ChainID{1}, lightchain.Entry{Payload: birth}, errFault, false},
	} {
		named := givers{}
		named.add(&outcome{file: "birth.edgeproof", err: c.err, proof: &lightchain.Report{Chain: c.chain, Number: 3, Entry: c.entry}})
		notes := named.notes(data)
		if len(notes) == 1 && c.known && !strings.Contains(notes[0], "that it gives them these was not looked at") {
			t.Errorf("%s: more is said than is known: %q", c.what, notes)
		}
		if len(notes) != 1 || strings.Contains(notes[0], "entry 3, which birth.edgeproof proves") != c.known || strings.Contains(notes[0], hash.String()) == c.known {
			t.Errorf("%s: %q", c.what, notes)
		}
	}
	table := fmt.Appendf(nil, `{"who":"a","when":"2026-11-28T20:41:48Z","name":"press.table","media_type":"text/plain","size":7,"sha256":"%s"}`, hash)
	data.Entry.Source = "modbus:line-1:1/3/0"
	named := givers{}
	if notes := named.notes(data); len(notes) != 1 || !strings.Contains(notes[0], "by the table with the SHA-256 "+hash.String()) {
		t.Errorf("of what was polled: %q", notes)
	}
	named.add(&outcome{file: "table.edgeproof", proof: &lightchain.Report{Chain: lightchain.ChainID{1}, Number: 3, Entry: lightchain.Entry{Source: lightchain.SourceAttach, Payload: table}}})
	if notes := named.notes(data); len(notes) != 1 || !strings.Contains(notes[0], "the file attached by entry 3, which table.edgeproof proves") {
		t.Errorf("of what was polled, with the table attached: %q", notes)
	}
	if notes := (givers{}).notes(&lightchain.Report{}); len(notes) != 0 {
		t.Errorf("of no readings: %q", notes)
	}
}

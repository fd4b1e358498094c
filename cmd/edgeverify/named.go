package main

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"edgechain.example/lightchain"
)

// Some readings have their names and units from another payload, of which they have the hash: a birth message of Sparkplug's, a
// table, a description. Whoever has the proof of that entry, or of the one with which it was attached, can say so, by naming its
// file first.

// modbusSource begins the source of what a gateway has polled, and read by a table that is no entry's payload.
//
// SPEC: modbus:<source>:<unit>/<function>/<first>
const modbusSource = "modbus:"

// givers are the payloads of the files before, by chain and hash.
type givers map[giver]string

type giver struct {
	chain   lightchain.ChainID
	payload lightchain.Hash
}

// add takes in what a file proves.
func (g givers) add(o *outcome) {
	if o.err != nil || o.proof == nil {
		return
	}
	e := &o.proof.Entry
	hash := lightchain.Hash(sha256.Sum256(e.Payload))
	if e.Flags&lightchain.PayloadHashed != 0 {
		if len(e.Payload) != len(hash) {
			return
		}
		copy(hash[:], e.Payload)
	}
	by := fmt.Sprintf("entry %d, which %s proves", o.proof.Number, nameOf(o.file))
	g[giver{o.proof.Chain, hash}] = by
	if e.Source != lightchain.SourceAttach {
		return
	}
	if n, _, err := lightchain.ReadNote(e); err == nil {
		g[giver{o.proof.Chain, n.File.SHA256}] = "the file attached by " + by
	}
}

// notes says what gave readings their names.
func (g givers) notes(r *lightchain.Report) (notes []string) {
	told := map[lightchain.Hash]bool{}
	for i := range r.Entry.Readings {
		meaning := r.Entry.Readings[i].Meaning
		if meaning == nil || told[*meaning] {
			continue
		}
		told[*meaning] = true
		if by := g[giver{r.Chain, *meaning}]; by != "" {
			notes = append(notes, "what gave them their names and units is, by its SHA-256, in "+printable(by)+"; that it gives them these was not looked at")
		} else if strings.HasPrefix(r.Entry.Source, modbusSource) {
			notes = append(notes, fmt.Sprintf("their names, units and values are by the table with the SHA-256 %s: ask the gateway's operator for it, or name the file that proves the entry with which it was attached before this one", meaning))
		} else {
			notes = append(notes, fmt.Sprintf("their names and units are from another payload, with the SHA-256 %s: whoever names the file that proves that entry before this one sees which", meaning))
		}
	}
	return notes
}

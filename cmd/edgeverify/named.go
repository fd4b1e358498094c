package main

import (
	"crypto/sha256"
	"fmt"

	"edgechain.example/lightchain"
)

// Some readings have their names and units from another payload, of which they have the hash: a birth message of Sparkplug's, a
// table, a description. Whoever has the proof of that entry too can say so, by naming its file first.

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
	g[giver{o.proof.Chain, hash}] = fmt.Sprintf("entry %d, which %s proves", o.proof.Number, o.file)
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
			notes = append(notes, "their names and units are those that "+printable(by)+" gives them")
		} else {
			notes = append(notes, fmt.Sprintf("their names and units are from another payload, with the SHA-256 %s: whoever names the file that proves that entry before this one sees which", meaning))
		}
	}
	return notes
}

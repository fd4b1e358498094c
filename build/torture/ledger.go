package main

import (
	"maps"
	"slices"
	"sync"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
)

// A ledger is what the world outside a gateway knows of its chain: what was acknowledged, and what left it. It only grows,
// whatever becomes of the gateway.
type ledger struct {
	mu     sync.Mutex
	chain  string
	acked  map[string]bool            // payloads that were acknowledged,
	kept   map[string]bool            // and of these, those that were seen sealed: they are looked for once more at the end
	places map[string]place           // where they were seen last
	sealed map[uint64]string          // payloads by the number under which they were seen sealed, the agent's own included
	hashes map[uint64]lightchain.Hash // of headers that were seen
	proofs [][]byte
}

// A place is where an entry was seen.
type place struct {
	number uint64
	sealed bool
}

func newLedger() *ledger {
	return &ledger{acked: map[string]bool{}, kept: map[string]bool{}, places: map[string]place{}, sealed: map[uint64]string{}, hashes: map[uint64]lightchain.Hash{}}
}

// acknowledge notes that a message was.
func (l *ledger) acknowledge(payload string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[payload] = true
}

// see notes what a running gateway shows.
func (l *ledger) see(f *found) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chain = f.chain
	for _, e := range f.entries {
		payload := string(e.Payload)
		l.places[payload] = place{e.Number, e.Sealed}
		if e.Sealed {
			l.sealed[e.Number] = payload
		}
	}
	for height, hash := range f.hashes {
		if _, known := l.hashes[height]; !known {
			l.hashes[height] = hash
		}
	}
}

// seeHeader notes a header that left the gateway.
func (l *ledger) seeHeader(height uint64, hash lightchain.Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.hashes[height]; !known {
		l.hashes[height] = hash
	}
}

// keep puts away what was seen sealed, so that a chain that grows need not be read whole each time, and returns the number of
// the lowest entry that was not.
func (l *ledger) keep(f *found) (from uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range f.entries {
		if payload := string(e.Payload); e.Sealed && l.acked[payload] {
			delete(l.acked, payload)
			l.kept[payload] = true
		}
	}
	return f.status.Entries - f.status.Open
}

// all takes back what was put away.
func (l *ledger) all() {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.acked, l.kept)
	clear(l.kept)
}

// forget drops what retention deleted, as it is allowed to.
func (l *ledger) forget(held uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for payload, p := range l.places {
		if p.number < held {
			delete(l.acked, payload)
			delete(l.kept, payload)
		}
	}
}

// unseen returns what was acknowledged, was nowhere seen and is not found: retention may have deleted it before anybody looked.
func (l *ledger) unseen(f *found) []string {
	gone, _ := missing(l, f)
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(gone, func(payload string) bool {
		_, seen := l.places[payload]
		return seen
	})
}

// drop forgets that these were acknowledged.
func (l *ledger) drop(payloads []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, payload := range payloads {
		delete(l.acked, payload)
	}
}

// clone returns a ledger that goes its own way, for a copy of the gateway.
func (l *ledger) clone() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &ledger{chain: l.chain, acked: maps.Clone(l.acked), kept: maps.Clone(l.kept), places: maps.Clone(l.places), sealed: maps.Clone(l.sealed),
		hashes: maps.Clone(l.hashes), proofs: slices.Clone(l.proofs)}
}

// found is what a chain shows.
type found struct {
	chain   string
	status  api.Status
	entries []api.Entry // that can be read
	gone    int         // places that the chain says cannot
	hashes  map[uint64]lightchain.Hash
	told    []span
	gaps    int    // entries that tell of a loss without a number,
	loose   uint64 // and of how many messages
	err     error  // what kept the rest from being read
}

// held is why nothing is sealed, "" if that is not so.
func (f *found) held() string {
	if f.status.Live == nil {
		return ""
	}
	return f.status.Live.Held
}

// span is a run of numbers.
type span struct{ first, count uint64 }

func (f *found) tells(number uint64) bool {
	return slices.ContainsFunc(f.told, func(s span) bool { return s.first <= number && number-s.first < s.count })
}

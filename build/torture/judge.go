package main

import "fmt"

// The judge holds what a chain shows now against what the world knew of it. Nothing else counts: neither what the program
// says of itself, nor how it came to be.

// judge writes into o what of the ledger the chain does not keep.
func judge(l *ledger, f *found, o *outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.chain != l.chain {
		o.forks = append(o.forks, fmt.Sprintf("another chain, %.8s instead of %.8s", f.chain, l.chain))
	}
	there := map[string]bool{}
	for _, e := range f.entries {
		payload := string(e.Payload)
		there[payload] = true
		// An entry that is not sealed has no number for good: where nothing may be sealed it stands under one that was sealed before.
		if before, known := l.sealed[e.Number]; known && e.Sealed && before != payload {
			o.forks = append(o.forks, fmt.Sprintf("entry %d is %.60q, was %.60q", e.Number, payload, before))
		}
	}
	for height, hash := range f.hashes {
		if before, known := l.hashes[height]; known && before != hash {
			o.forks = append(o.forks, fmt.Sprintf("header %d is %.8s, was %.8s", height, hash, before))
		}
	}
	loose := f.loose
	for payload := range l.acked {
		if there[payload] {
			continue
		}
		o.lost++
		at, known := l.places[payload]
		switch {
		case known && f.tells(at.number):
		case !known && loose > 0: // nobody outside had seen its number
			loose--
		default:
			o.untold++
		}
	}
	if f.err != nil {
		o.notes = append(o.notes, "reading ends: "+f.err.Error())
	}
}

// missing returns the acknowledged payloads that the chain does not show, and whether any of them was sealed.
func missing(l *ledger, f *found) (payloads []string, sealed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	there := map[string]bool{}
	for _, e := range f.entries {
		there[string(e.Payload)] = true
	}
	for payload := range l.acked {
		if !there[payload] {
			payloads = append(payloads, payload)
			sealed = sealed || l.places[payload].sealed
		}
	}
	return payloads, sealed
}

// settled tells whether nothing is missing that is not told of: waiting for more would not change the verdict.
func settled(l *ledger, f *found) bool {
	var o outcome
	judge(l, f, &o)
	return o.untold == 0
}

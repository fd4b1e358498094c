package lightchain

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What the largest proofs and forks cost: in times of their hash, and for each signature that stands in them.
func BenchmarkVerifyLargest(b *testing.B) {
	proof := func(e *Entry, keys int) ([]byte, *Trust, int) {
		c := newTestChain(b)
		for i := range keys - 1 {
			c.rotate(0, fmt.Sprintf("gateway %d", i+1))
		}
		c.sealEntries([]*Entry{e}, nil)
		p := c.prove(uint64(keys), 0)
		for range 16 {
			p.Outside = append(p.Outside, Outside{Kind: "x", Height: 1, Bytes: make([]byte, 1<<20-16)})
		}
		for room := 32<<20 - 2<<20; len(p.Outside) > 0 && len(e.Payload)+len(p.Outside)<<20 > room; {
			p.Outside = p.Outside[1:]
		}
		encoded, err := p.Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		return encoded, c.trust(0), keys + 1
	}
	many := func(n int, r Reading) (all []Reading) {
		for range n {
			all = append(all, r)
		}
		return all
	}
	for name, build := range map[string]func() ([]byte, *Trust, int){
		"proof/large payload": func() ([]byte, *Trust, int) {
			return proof(&Entry{Payload: make([]byte, MaxEntry-1<<10)}, 1)
		},
		"proof/most readings": func() ([]byte, *Trust, int) { return proof(&Entry{Readings: many(MaxReadings, Reading{})}, 1) },
		"proof/long readings": func() ([]byte, *Trust, int) {
			return proof(&Entry{Readings: many(MaxReadings, Reading{Device: strings.Repeat("d", 200)})}, 1)
		},
		"proof/most keys": func() ([]byte, *Trust, int) { return proof(testEntry(0), 1024) },
		"fork/most keys": func() ([]byte, *Trust, int) {
			c := newTestChain(b)
			for i := range 1023 {
				c.rotate(0, fmt.Sprintf("gateway %d", i+1))
			}
			keys := c.headers
			head := c.seal(1, nil)
			other := (forger{c}).sign(head.Header.Height, "gateway 1023", func(h *Header) { h.Sealed++ })
			encoded, err := NewFork(keys, Side{Head: head, Leaf: head.Hash()}, Side{Head: other, Leaf: other.Hash()}).Append(nil)
			if err != nil {
				b.Fatal(err)
			}
			return encoded, c.trust(0), 1026
		},
	} {
		b.Run(name, func(b *testing.B) {
			file, trust, signatures := build()
			verify := func() error {
				if file[0] == 0xa3 {
					_, err := VerifyFork(file, trust)
					return err
				}
				_, err := Verify(file, trust)
				return err
			}
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			for b.Loop() {
				if err := verify(); err != nil {
					b.Fatal(err)
				}
			}
			all, hash := time.Hour, time.Hour
			for range 5 {
				begin := time.Now()
				if err := verify(); err != nil {
					b.Fatal(err)
				}
				all = min(all, time.Since(begin))
				begin = time.Now()
				sha256.Sum256(file)
				hash = min(hash, time.Since(begin))
			}
			b.ReportMetric(float64(all)/float64(hash), "×hash")
			b.ReportMetric(float64(all.Microseconds())/float64(signatures), "µs/signature")
		})
	}
}

package store

import (
	"bytes"
	"testing"
)

// What the store reads back may be anything after years on a card: its decoders answer with an error, never a panic.

func FuzzChunk(f *testing.F) {
	z, err := newCompressor()
	if err != nil {
		f.Fatal(err)
	}
	decoder, err := newDecoder()
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range []int{1, 3, 100} {
		var c chunkBuilder
		for _, e := range testEntries(0, n) {
			if err := c.add(&e); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(c.append(nil, z))
	}
	f.Add([]byte{codecPlain, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{codecZstd, 0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, b []byte) {
		u := unpacker{decoder: decoder}
		c, err := u.unpack(b)
		if err != nil {
			return
		}
		// What was understood, packed again, is understood as the same.
		var again chunkBuilder
		for i, body := range c.bodies {
			again.bodies = append(again.bodies, body...)
			again.received = append(again.received, c.received[i])
			again.ends = append(again.ends, len(again.bodies))
		}
		v := unpacker{decoder: decoder}
		d, err := v.unpack(again.append(nil, z))
		if err != nil || len(d.bodies) != len(c.bodies) {
			t.Fatalf("%d bodies come back as %d: %v", len(c.bodies), len(d.bodies), err)
		}
		for i := range c.bodies {
			if !bytes.Equal(c.bodies[i], d.bodies[i]) || c.received[i] != d.received[i] {
				t.Fatalf("entry %d differs", i)
			}
		}
	})
}

func FuzzSmallRecords(f *testing.F) {
	s := newSummary()
	for _, e := range testEntries(0, 9) {
		s.add(&e)
	}
	f.Add(s.append(nil))
	f.Add(appendBeacon(nil, []named{{7, "north"}, {1 << 40, "south"}}))
	_, v := run{from: 3, to: 9, first: 40, next: 60, what: bodyPruned}.record()
	f.Add(v)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := decodeSummary(b); err == nil {
			again, err := decodeSummary(s.append(nil))
			if err != nil || !bytes.Equal(again.append(nil), s.append(nil)) {
				t.Fatalf("summary: %v", err)
			}
		}
		if list, err := decodeBeacon(b); err == nil {
			if again, err := decodeBeacon(appendBeacon(nil, list)); err != nil || len(again) != len(list) {
				t.Fatalf("beacon: %v", err)
			}
		}
		decodeRun(key(spaceAbsent, 5), b)
		splitHeader(b)
	})
}

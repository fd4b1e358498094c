package store

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// durable is what stands beside the database and says what of its log had been synced: the head mark is written when its
// header is, the note of the next number when the entries below it are. Its zero value says nothing.
type durable struct {
	marked bool   // the headers up to a height were
	height uint64 // which
	next   uint64 // the entries below this number were
}

// readDurable reads it, as far as it can be read.
func readDurable(dir string, o Options, found *slotsRead) durable {
	m := found.newest()
	if m == nil {
		return durable{}
	}
	return durable{marked: true, height: m.head.Height, next: readNote(dir, o, m.chain()).next}
}

// record reports whether a record of the log is known to have been synced. It is a [salvage.Durable].
func (d durable) record(b []byte) bool {
	if _, ok := batchrepr.ReadHeader(b); !ok {
		return false
	}
	for reader := batchrepr.Read(b); ; {
		kind, k, _, ok, err := reader.Next()
		if !ok || err != nil {
			return false
		}
		height, p, rest, ok := parseBlockKey(k)
		if kind != pebble.InternalKeyKindSet || !ok {
			continue
		}
		if p == partHeader && d.marked && height <= d.height {
			return true
		}
		if first, ok := parseNumber(rest); ok && p == partChunk && first < d.next {
			return true
		}
	}
}

package store

import (
	"encoding/binary"
)

// All that belongs to one height stands together, and heights rise, so the store grows at its end only: flushed
// tables never overlap, are never rewritten, and a whole block is one short scan. Numbers in keys are big-endian,
// so that Pebble's order is the chain's.
//
//	0x10 height 0x00 number          seed of the salts from that entry on: 32 bytes
//	0x10 height 0x01 number          chunk of entries that begins with that one; see chunk.go
//	0x10 height 0x02                 header: signature or not, then the header's bytes
//	0x10 height 0x03 level           node of the history tree that this height completed: 32 bytes
//	0x10 height 0x04 level           summary of the 64^level blocks that end here; see index.go
//	0x11 height level                the same node of the history tree again, from level 6 on: see history.go
//	0x20 first height                a run of heights that is not whole: see absent.go
//	0x21 first height, number        what a scrub found lost: see damage.go
//	0x22 name of a table             one that a scrub found damaged
//	0x30 height                      a header that sets the key: the key
//	0x40 height name                 first receipt of that aggregator for that header; see receipts.go
//	0x41 name 0x00 height            number of the next entry when that receipt came
//	0x42 height                      which receipts the beacon of that header names
//	0x50 word                        what the store remembers about itself; see meta.go
//
// What is not written with a block stands in spaces of its own, for which Pebble makes tables of their own: one key
// that falls behind would make tables overlap, and Pebble write them again.
const (
	spaceBlocks   = 0x10
	spaceNodes    = 0x11
	spaceAbsent   = 0x20
	spaceLost     = 0x21
	spaceTables   = 0x22
	spaceKeys     = 0x30
	spaceReceipts = 0x40
	spaceReceived = 0x41
	spaceBeacons  = 0x42
	spaceMeta     = 0x50
)

// part is what a key of the block space holds. A block is seeds, chunks, header, nodes, summaries, in this order.
type part byte

const (
	partSeed part = iota
	partChunk
	partHeader
	partNode
	partSummary
)

// key returns the space's key for one number.
func key(space byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{space}, n)
}

// blockKey returns the key of a part that a height has once, or the prefix of one that it has several times.
func blockKey(height uint64, p part) []byte {
	b := make([]byte, 0, 18)
	b = binary.BigEndian.AppendUint64(append(b, spaceBlocks), height)
	return append(b, byte(p))
}

func seedKey(height, number uint64) []byte {
	return binary.BigEndian.AppendUint64(blockKey(height, partSeed), number)
}

func chunkKey(height, number uint64) []byte {
	return binary.BigEndian.AppendUint64(blockKey(height, partChunk), number)
}

func headerKey(height uint64) []byte { return blockKey(height, partHeader) }

func nodeKey(height uint64, level int) []byte {
	return append(blockKey(height, partNode), byte(level))
}

func spareNodeKey(height uint64, level int) []byte {
	return append(key(spaceNodes, height), byte(level))
}

func summaryKey(height uint64, level int) []byte {
	return append(blockKey(height, partSummary), byte(level))
}

func receiptKey(height uint64, name string) []byte {
	return append(key(spaceReceipts, height), name...)
}

// receivedKey orders one aggregator's receipts by height.
func receivedKey(name string, height uint64) []byte {
	return binary.BigEndian.AppendUint64(append(receivedPrefix(name), 0), height)
}

func receivedPrefix(name string) []byte { return append([]byte{spaceReceived}, name...) }

func metaKey(word string) []byte { return append([]byte{spaceMeta}, word...) }

// parseBlockKey takes a key of the block space apart; rest is what follows the part.
func parseBlockKey(k []byte) (height uint64, p part, rest []byte, ok bool) {
	if len(k) < 10 || k[0] != spaceBlocks {
		return 0, 0, nil, false
	}
	return binary.BigEndian.Uint64(k[1:]), part(k[9]), k[10:], true
}

// parseNumber reads the number at the end of a seed's or a chunk's key.
func parseNumber(rest []byte) (uint64, bool) {
	if len(rest) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(rest), true
}

// isKey tells a key of this store from what is none.
func isKey(k []byte) bool { return len(k) > 0 && k[0] >= spaceBlocks && k[0] <= spaceMeta }

// Package headlog is an aggregator's own transparency log: one tree of RFC 9162 whose leaves are the heads that the aggregator
// countersigned, of all its chains, in the order in which they came. Whoever holds its newest checkpoint holds one root for the
// whole fleet; what an aggregator shows to one and hides from another stands in no tree that has both checkpoints.
//
// A leaf is a header's bytes as they were signed, so that the hash of the leaf is the hash of the header. Checkpoints, tiles and
// proofs are in the forms of C2SP (tlog-checkpoint, tlog-tiles, tlog-proof). The package owns what is appended, signed, marked
// and served, and in which order; where it is kept is a [Store]'s, which heads come in is the ledger's.
//
// # No size has two roots
//
// A turn of the log ([Log.Turn]) goes through these steps, and a crash may stop it behind each:
//
//  1. Where the log stands is read, and compared with the mark: the newest checkpoint that this process, or one before it, published.
//  2. The heads that wait become leaves of the next tree, whose checkpoint is signed. Nobody has seen that signature yet.
//  3. Leaves, tree and checkpoint become durable in one transaction, if the log still stands where it was read. From here on this
//     is the tree of that size: whoever comes next begins from it. A checkpoint whose transaction failed never leaves the process.
//  4. The checkpoint becomes the mark, in a file outside the store.
//  5. It is served.
//
// So nothing is served that the store can forget in a crash, and what a store has forgotten all the same, since an old copy was
// put back, shows by the mark.
package headlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"edgechain.example/lightchain"
)

// Errors on which a caller branches.
var (
	// ErrMoved means that the log stands elsewhere than it was read: another sequencer was first, and nothing was appended.
	ErrMoved = errors.New("the log was appended to meanwhile")
	// ErrNotFound means that the log holds no such head.
	ErrNotFound = errors.New("not in the log")
	// ErrInvalid means that what a log holds, shows or signed does not verify.
	ErrInvalid = errors.New("the log does not verify")
	// ErrEmpty means that the log has no checkpoint that may be shown.
	ErrEmpty = errors.New("the log has no checkpoint")
)

// Leaf is a head that was countersigned.
type Leaf struct {
	Chain  lightchain.ChainID
	Height uint64
	Header []byte // as it was signed: the data of the leaf
}

// Hash returns the hash of the leaf, which is the header's.
func (l *Leaf) Hash() lightchain.Hash { return lightchain.LeafHash(l.Header) }

// Head is where a log stands.
type Head struct {
	Size       uint64            `json:"size"`       // of its tree, in leaves
	Edge       []lightchain.Hash `json:"edge"`       // see [lightchain.CompactRange]
	Checkpoint []byte            `json:"checkpoint"` // the signed note
	Time       int64             `json:"time"`       // when it was signed, in seconds since the Unix epoch
}

// Encode returns the head as the stores keep it.
func (h *Head) Encode() ([]byte, error) { return json.Marshal(h) }

// DecodeHead reads what [Head.Encode] gave.
func DecodeHead(b []byte) (*Head, error) {
	h := new(Head)
	if err := json.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("where the log stands: %w", err)
	}
	_, err := h.tree()
	return h, err
}

func (h *Head) tree() (lightchain.CompactRange, error) {
	return lightchain.NewCompactRange(h.Size, h.Edge)
}

// Root returns the root of the tree. The edge is one of the size.
func (h *Head) Root() lightchain.Hash {
	t, err := h.tree()
	if err != nil {
		return lightchain.Hash{}
	}
	return t.Root()
}

// Node is a hash of a tile above the lowest level: the root of a full tile of the level below.
type Node struct {
	Level int // of the tile
	Index uint64
	Hash  lightchain.Hash
}

// Batch is what one transaction appends.
type Batch struct {
	Leaves []Leaf // from the former size on; none of them waits any more
	Nodes  []Node
	Head   Head // after it
}

// Kept is a checkpoint as the store keeps it, forever. The note may get more lines of signatures: those of witnesses. Its text
// never changes.
type Kept struct {
	Size uint64
	Time int64 // seconds since the Unix epoch
	Note []byte
}

// Store keeps logs, each under its origin, and the heads that wait to get into one. All of it may be used by many goroutines,
// and in a database by many processes, at once. All that it returns is durable.
type Store interface {
	// LogHead returns where the log stands, nil if it was not begun.
	LogHead(ctx context.Context, origin string) (*Head, error)
	// LogAppend appends if the log stands at before in size and root, nil being a log that was not begun, and fails with
	// [ErrMoved] otherwise: of two that append to the same log one does. When it returns nil, leaves, nodes, checkpoint and
	// head are durable, all of them; another error than ErrMoved leaves open whether they are, and [Store.LogHead] tells. A head
	// that took the place of one of the batch meanwhile goes on waiting.
	LogAppend(ctx context.Context, origin string, before *Head, b *Batch) error
	// LogWaiting returns at most limit of the heads that wait, one of each chain, ascending by chain.
	LogWaiting(ctx context.Context, limit int) ([]Leaf, error)
	// LogBacklog returns how many wait.
	LogBacklog(ctx context.Context) (int, error)
	Contents
}

// Contents is what a log holds. Beyond its end there is nothing, and what is missing is an error of whoever asked for it.
type Contents interface {
	// LogHashes returns at most limit hashes of a level of tiles from an index on: leaves at level 0.
	LogHashes(ctx context.Context, origin string, level int, first uint64, limit int) ([]lightchain.Hash, error)
	// LogLeaves returns at most limit leaves from an index on.
	LogLeaves(ctx context.Context, origin string, first uint64, limit int) ([]Leaf, error)
	// LogFind returns the first head of a chain at that height or above, nil being the highest, among the first size leaves, or
	// [ErrNotFound].
	LogFind(ctx context.Context, origin string, size uint64, chain lightchain.ChainID, height *uint64) (index uint64, leaf *Leaf, err error)
	// LogCheckpoints returns at most limit of the checkpoints kept, from a size on, ascending.
	LogCheckpoints(ctx context.Context, origin string, from uint64, limit int) ([]Kept, error)
}

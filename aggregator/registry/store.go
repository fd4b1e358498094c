package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
)

// Chains keeps the records of chains.
type Chains interface {
	// Update is one read-modify-write. It calls change with a copy of the chain's record, or with one that holds
	// nothing but the chain's name if the store has none; change returns what is to be stored with the record as it
	// left it. When Update returns nil, all of it is durable, or none of it was to be ([ErrUnchanged]).
	//
	// Of two updates of one chain at the same time, in however many processes, one happens after the other: the second
	// sees what the first wrote. change is therefore called again whenever somebody else was first, and must have no
	// effect but on what it was given. An error of change comes back as it is, and nothing was written. Any other error
	// leaves open whether something was: the next Update sees what is true.
	Update(ctx context.Context, chain lightchain.ChainID, change func(*Record) (*Change, error)) error

	// Record returns a chain's record, or [ErrNotFound].
	Record(ctx context.Context, chain lightchain.ChainID) (*Record, error)

	// Records returns at most limit records above after, ascending by chain, without their states. The zero chain is
	// below all others.
	Records(ctx context.Context, after lightchain.ChainID, limit int) ([]*Record, error)
}

// History keeps what was accepted of each chain. All its answers ascend by height.
type History interface {
	// Segments returns at most limit segments, beginning with the one that height from lies in, or the next above.
	Segments(ctx context.Context, chain lightchain.ChainID, from uint64, limit int) ([]Segment, error)
	// Receipts returns at most limit of the receipts issued, from the given height on.
	Receipts(ctx context.Context, chain lightchain.ChainID, from uint64, limit int) ([]Receipted, error)
	// Forks returns the evidence kept against the chain.
	Forks(ctx context.Context, chain lightchain.ChainID) ([]Evidence, error)
}

// Documents keeps small texts by name: enrolment tokens, and whose the store is.
type Documents interface {
	// UpdateDocument is a read-modify-write as [Chains.Update] is. old is nil where there is no such document; change
	// returns the new text, or nil to remove it.
	UpdateDocument(ctx context.Context, kind, name string, change func(old []byte) ([]byte, error)) error
	// Documents returns all documents of a kind by name.
	Documents(ctx context.Context, kind string) (map[string][]byte, error)
}

// Store is all that an aggregator keeps. All of it may be used by many goroutines at once.
type Store interface {
	Chains
	History
	Documents
	headlog.Store
	Close() error
}

// Checkpointer is a store in a folder of its own, which can be copied while it is written to. A database has its own
// tools for that.
type Checkpointer interface {
	// Checkpoint makes a copy in the folder dir, which must not exist. All that is durable when it is called is in it.
	Checkpoint(dir string) error
}

var (
	// ErrNotFound means that the store has no record of the chain, or not what was asked for.
	ErrNotFound = errors.New("not known here")
	// ErrUnchanged, returned by a change, ends the update without an error and without writing anything.
	ErrUnchanged = collector.ErrUnchanged
	// ErrFailed means that the store cannot write any more: the program must end, and look again when it starts.
	ErrFailed = errors.New("the store failed")
	// ErrRunning means that another process has what this one needs for itself.
	ErrRunning = errors.New("another aggregator runs")
	// ErrDatabase is what a store answers that is no folder, asked for what only a folder has.
	ErrDatabase = errors.New("the store is a database: back that up with its own tools (pg_dump), and the key file beside it")
)

// Change is what is stored together with a record and its state. Its zero value stores these alone.
type Change struct {
	Segments []Segment
	Receipt  *Receipted
	Again    bool // the receipt was issued before: it is put back
	Evidence *Evidence
	Forget   bool          // removes the chain's segments and receipts first; evidence stays
	Decided  bool          // somebody decided about the chain: the replicas that share the store are told
	Logged   *headlog.Leaf // the head waits to get into the log of heads, in the place of a lower one of the chain; nil: none does
}

// Segment is a piece of a chain: consecutive headers that were accepted together.
type Segment struct {
	First, Last uint64 // heights
	Body        []byte // see [NewSegment]
}

// Receipted is a head with the receipt that was issued for it.
type Receipted struct {
	Height uint64
	Time   uint64 // whole seconds since the Unix epoch
	Body   []byte // signed header with that one receipt
}

// Evidence shows that a chain's keys signed two histories.
type Evidence struct {
	Height uint64          // where they differ, as far as is known
	ID     lightchain.Hash // SHA-256 of Body
	Seen   int64           // seconds since the Unix epoch, by the aggregator's clock
	Body   []byte          // a [lightchain.Fork]
}

// NewSegments packs headers, ascending by height, into as few segments as they have gaps plus one.
//
// A body is each header in turn: its length (2 bytes, big-endian), its encoding, and the id of its key (8 bytes) with its
// signature (64 bytes) or nothing, which the length's highest bit tells apart.
func NewSegments(headers []collector.Held) []Segment {
	var segments []Segment
	for _, h := range headers {
		n := len(segments)
		if n == 0 || segments[n-1].Last+1 != h.Height {
			segments = append(segments, Segment{First: h.Height})
			n++
		}
		s := &segments[n-1]
		s.Last = h.Height
		length := uint16(len(h.Bytes)) // at most lightchain.MaxHeader
		if h.Signature != nil {
			length |= signedBit
		}
		s.Body = append(binary.BigEndian.AppendUint16(s.Body, length), h.Bytes...)
		if h.Signature != nil {
			s.Body = append(append(s.Body, h.Signature.KeyID[:]...), h.Signature.Signature[:]...)
		}
	}
	return segments
}

const (
	signedBit     = 1 << 15
	signatureSize = len(lightchain.HeaderSignature{}.KeyID) + len(lightchain.HeaderSignature{}.Signature)
)

// Walk calls visit for each header of the segment in turn, until it returns an error, which it returns.
func (s *Segment) Walk(visit func(collector.Held) error) error {
	body := s.Body
	for height := s.First; height <= s.Last; height++ {
		if len(body) < 2 {
			return s.damaged()
		}
		length := binary.BigEndian.Uint16(body)
		body = body[2:]
		size := int(length &^ signedBit)
		h := collector.Held{Height: height}
		if length&signedBit != 0 {
			h.Signature = new(lightchain.HeaderSignature)
			if len(body) < size+signatureSize {
				return s.damaged()
			}
			copy(h.Signature.Signature[:], body[size+copy(h.Signature.KeyID[:], body[size:]):])
		}
		if len(body) < size {
			return s.damaged()
		}
		h.Bytes, body = body[:size:size], body[size:]
		if h.Signature != nil {
			body = body[signatureSize:]
		}
		if err := visit(h); err != nil {
			return err
		}
	}
	if len(body) != 0 {
		return s.damaged()
	}
	return nil
}

func (s *Segment) damaged() error {
	return fmt.Errorf("stored headers %d to %d: damaged", s.First, s.Last)
}

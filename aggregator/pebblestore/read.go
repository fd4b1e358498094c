package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
)

var errDamaged = errors.New("the store holds what it never wrote")

// Record implements [registry.Chains].
func (s *Store) Record(_ context.Context, chain lightchain.ChainID) (*registry.Record, error) {
	return s.read(chain)
}

func (s *Store) read(chain lightchain.ChainID) (*registry.Record, error) {
	value, err := s.get(chainKey(keyRecord, chain))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, registry.ErrNotFound
	}
	r, err := registry.DecodeRecord(value)
	if err != nil {
		return nil, err
	}
	state, err := s.get(chainKey(keyState, chain))
	if err != nil || state == nil {
		return r, err
	}
	r.State, err = collector.DecodeState(state)
	return r, err
}

// Records implements [registry.Chains].
func (s *Store) Records(ctx context.Context, above lightchain.ChainID, limit int) (records []*registry.Record, err error) {
	lower := append(chainKey(keyRecord, above), 0)
	err = s.scan(lower, []byte{keyRecord + 1}, func(_, value []byte) (bool, error) {
		r, err := registry.DecodeRecord(value)
		records = append(records, r)
		return len(records) < limit, errors.Join(err, ctx.Err())
	})
	return records, err
}

// Segments implements [registry.History].
func (s *Store) Segments(ctx context.Context, chain lightchain.ChainID, from uint64, limit int) (segments []registry.Segment, err error) {
	prefix := chainKey(keySegment, chain)
	lower := heightKey(keySegment, chain, from)
	// The segment that from lies in may begin below it.
	below, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(lower)})
	if err != nil {
		return nil, s.unread(err)
	}
	if below.Last() {
		g, err := decodeSegment(below.Key(), below.Value())
		if err == nil && g.Last >= from {
			lower = heightKey(keySegment, chain, g.First)
		}
	}
	if err := below.Close(); err != nil {
		return nil, s.unread(err)
	}
	err = s.scan(lower, after(prefix), func(key, value []byte) (bool, error) {
		g, err := decodeSegment(key, value)
		segments = append(segments, g)
		return len(segments) < limit, errors.Join(err, ctx.Err())
	})
	return segments, err
}

func decodeSegment(key, value []byte) (g registry.Segment, err error) {
	if len(value) < 8 {
		return g, errDamaged
	}
	return registry.Segment{First: heightOf(key), Last: binary.BigEndian.Uint64(value), Body: append([]byte(nil), value[8:]...)}, nil
}

// Receipts implements [registry.History].
func (s *Store) Receipts(ctx context.Context, chain lightchain.ChainID, from uint64, limit int) (receipts []registry.Receipted, err error) {
	err = s.scan(heightKey(keyReceipt, chain, from), after(chainKey(keyReceipt, chain)), func(key, value []byte) (bool, error) {
		if len(value) < 8 {
			return false, errDamaged
		}
		receipts = append(receipts, registry.Receipted{
			Height: heightOf(key), Time: binary.BigEndian.Uint64(value), Body: append([]byte(nil), value[8:]...)})
		return len(receipts) < limit, ctx.Err()
	})
	return receipts, err
}

// Forks implements [registry.History].
func (s *Store) Forks(ctx context.Context, chain lightchain.ChainID) (forks []registry.Evidence, err error) {
	prefix := chainKey(keyEvidence, chain)
	err = s.scan(prefix, after(prefix), func(key, value []byte) (bool, error) {
		if len(value) < 8 || len(key) != len(prefix)+8+len(lightchain.Hash{}) {
			return false, errDamaged
		}
		e := registry.Evidence{Height: heightOf(key), Seen: int64(binary.BigEndian.Uint64(value)), Body: append([]byte(nil), value[8:]...)}
		copy(e.ID[:], key[len(prefix)+8:])
		forks = append(forks, e)
		return true, ctx.Err()
	})
	return forks, err
}

// Documents implements [registry.Documents].
func (s *Store) Documents(ctx context.Context, kind string) (map[string][]byte, error) {
	prefix, documents := documentPrefix(kind), map[string][]byte{}
	err := s.scan(prefix, after(prefix), func(key, value []byte) (bool, error) {
		documents[string(key[len(prefix):])] = append([]byte(nil), value...)
		return true, ctx.Err()
	})
	return documents, err
}

// get returns a copy of a value, nil where there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, s.unread(err)
	}
	defer closer.Close()
	return append([]byte{}, value...), nil
}

// scan visits the keys in [lower, upper) in order until visit says that it has enough.
func (s *Store) scan(lower, upper []byte, visit func(key, value []byte) (more bool, err error)) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return s.unread(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		more, visitErr := visit(it.Key(), it.Value())
		if visitErr != nil || !more {
			return errors.Join(visitErr, s.unread(it.Close()))
		}
	}
	return s.unread(it.Close()) // which returns what the iterator met, too
}

// unread returns why the store could not be read, on one line. Damage is a failure of the store, of which Pebble says
// which file has it behind words that tell nobody anything: the program must end, and its next start rebuilds.
func (s *Store) unread(err error) error {
	switch {
	case err == nil:
		return nil
	case pebble.IsCorruptionError(err), errors.Is(err, syscall.EIO): // a sector that is gone
		return s.damaged(damage(err))
	}
	return fmt.Errorf("reading the store: %w", err)
}

func damage(err error) error {
	file := "its folder"
	if at := pebble.ExtractDataCorruptionInfo(err); at != nil {
		file = at.Path
	}
	what, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%w: %s: %s", errBroken, file, what)
}

// damaged takes note of damage that was met, for the next start.
func (s *Store) damaged(err error) error {
	if !s.running.Load() {
		return err // this start sees to it
	}
	f, noteErr := s.fs.Create(s.fs.PathJoin(s.dir, damagedNote), vfs.WriteCategoryUnspecified)
	if noteErr == nil {
		noteErr = errors.Join(f.Sync(), f.Close(), syncFolder(s.fs, s.dir))
	}
	if noteErr != nil {
		err = fmt.Errorf("%w; and the next start may not see it: %w", err, noteErr)
	}
	return s.fail(err)
}

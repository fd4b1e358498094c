package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/lightchain"
)

// What follows keyLog in a key says what it is of the log whose origin stands behind it, ended by a zero. Numbers are 8 bytes,
// big-endian.
const (
	logHead       = 'h' // -> head
	logLeaf       = 'e' // index -> chain, height, header
	logNode       = 'n' // level (1 byte), index -> hash
	logCheckpoint = 'c' // size -> time, note
	logChain      = 'f' // chain, height, index -> nothing
)

func logKey(kind byte, origin string, numbers ...uint64) []byte {
	key := append(append([]byte{keyLog, kind}, origin...), 0)
	for _, n := range numbers {
		key = binary.BigEndian.AppendUint64(key, n)
	}
	return key
}

func logNodeKey(origin string, level int, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(logKey(logNode, origin), byte(level)), index)
}

func logChainKey(origin string, chain lightchain.ChainID, numbers ...uint64) []byte {
	key := append(logKey(logChain, origin), chain[:]...)
	for _, n := range numbers {
		key = binary.BigEndian.AppendUint64(key, n)
	}
	return key
}

// LogHead implements [headlog.Store].
func (s *Store) LogHead(_ context.Context, origin string) (*headlog.Head, error) {
	b, err := s.get(logKey(logHead, origin))
	if err != nil || b == nil {
		return nil, err
	}
	return headlog.DecodeHead(b)
}

// LogAppend implements [headlog.Store].
func (s *Store) LogAppend(ctx context.Context, origin string, before *headlog.Head, b *headlog.Batch) error {
	// All updates wait for this one: a head that waits for the log may not give way to a higher one while it is taken out. Nobody
	// else holds more than one of these.
	for i := range s.updating {
		s.updating[i].Lock()
		defer s.updating[i].Unlock()
	}
	if err := errors.Join(ctx.Err(), s.err()); err != nil {
		return err
	}
	now, err := s.LogHead(ctx, origin)
	if err != nil {
		return err
	}
	size := uint64(0)
	switch {
	case (now == nil) != (before == nil), now != nil && (now.Size != before.Size || now.Root() != before.Root()):
		return headlog.ErrMoved
	case now != nil:
		size = now.Size
	}
	// What was rebuilt may have lost where the log stood, and not its leaves.
	switch beyond, err := s.LogLeaves(ctx, origin, size, 1); {
	case err != nil:
		return err
	case len(beyond) > 0:
		return fmt.Errorf("the log %s has leaves beyond its %d: %w", origin, size, errDamaged)
	}
	batch := s.db.NewBatch()
	if err := s.putLog(batch, origin, size, b); err != nil {
		batch.Close()
		return err
	}
	// Stopping here, nothing has happened. The batch is whole in the log or not at all.
	return s.commit(batch)
}

func (s *Store) putLog(batch *pebble.Batch, origin string, size uint64, b *headlog.Batch) error {
	head, err := b.Head.Encode()
	set := func(key, value []byte) { err = errors.Join(err, batch.Set(key, value, nil)) }
	set(logKey(logHead, origin), head)
	set(logKey(logCheckpoint, origin, b.Head.Size), append(binary.BigEndian.AppendUint64(nil, uint64(b.Head.Time)), b.Head.Checkpoint...))
	for i := range b.Leaves {
		l, index := &b.Leaves[i], size+uint64(i)
		held := append(binary.BigEndian.AppendUint64(nil, l.Height), l.Header...)
		set(logKey(logLeaf, origin, index), append(append([]byte(nil), l.Chain[:]...), held...))
		set(logChainKey(origin, l.Chain, l.Height, index), nil)
		key := chainKey(keyWaiting, l.Chain)
		waiting, readErr := s.get(key)
		if err = errors.Join(err, readErr); bytes.Equal(waiting, held) {
			err = errors.Join(err, batch.Delete(key, nil))
		}
	}
	for _, n := range b.Nodes {
		set(logNodeKey(origin, n.Level, n.Index), n.Hash[:])
	}
	return err
}

// LogWaiting implements [headlog.Store].
func (s *Store) LogWaiting(ctx context.Context, limit int) (leaves []headlog.Leaf, err error) {
	err = s.scan([]byte{keyWaiting}, []byte{keyWaiting + 1}, func(key, value []byte) (bool, error) {
		l, err := decodeLeaf(append(append([]byte(nil), key[1:]...), value...))
		leaves = append(leaves, l)
		return len(leaves) < limit, errors.Join(err, ctx.Err())
	})
	return leaves, err
}

// LogBacklog implements [headlog.Store].
func (s *Store) LogBacklog(ctx context.Context) (n int, err error) {
	err = s.scan([]byte{keyWaiting}, []byte{keyWaiting + 1}, func(_, _ []byte) (bool, error) {
		n++
		return true, ctx.Err()
	})
	return n, err
}

// decodeLeaf reads chain, height and header, and keeps the bytes.
func decodeLeaf(b []byte) (l headlog.Leaf, err error) {
	if len(b) < len(l.Chain)+8 {
		return l, errDamaged
	}
	b = b[copy(l.Chain[:], b):]
	l.Height, l.Header = binary.BigEndian.Uint64(b), b[8:]
	return l, nil
}

// LogLeaves implements [headlog.Store].
func (s *Store) LogLeaves(ctx context.Context, origin string, first uint64, limit int) (leaves []headlog.Leaf, err error) {
	prefix, next := logKey(logLeaf, origin), first
	err = s.scan(logKey(logLeaf, origin, first), after(prefix), func(key, value []byte) (bool, error) {
		l, err := decodeLeaf(append([]byte(nil), value...))
		if index := binary.BigEndian.Uint64(key[len(prefix):]); index != next {
			err = fmt.Errorf("leaf %d of the log %s: %w", next, origin, errDamaged)
		}
		next++
		leaves = append(leaves, l)
		return len(leaves) < limit, errors.Join(err, ctx.Err())
	})
	return leaves, err
}

// LogHashes implements [headlog.Store].
func (s *Store) LogHashes(ctx context.Context, origin string, level int, first uint64, limit int) (hashes []lightchain.Hash, err error) {
	if level == 0 {
		leaves, err := s.LogLeaves(ctx, origin, first, limit)
		for i := range leaves {
			hashes = append(hashes, leaves[i].Hash())
		}
		return hashes, err
	}
	prefix, next := append(logKey(logNode, origin), byte(level)), first
	err = s.scan(logNodeKey(origin, level, first), after(prefix), func(key, value []byte) (bool, error) {
		var h lightchain.Hash
		if len(value) != copy(h[:], value) || binary.BigEndian.Uint64(key[len(prefix):]) != next {
			return false, fmt.Errorf("hash %d of level %d of the log %s: %w", next, level, origin, errDamaged)
		}
		next++
		hashes = append(hashes, h)
		return len(hashes) < limit, ctx.Err()
	})
	return hashes, err
}

// LogFind implements [headlog.Store].
func (s *Store) LogFind(ctx context.Context, origin string, size uint64, chain lightchain.ChainID, height *uint64) (index uint64, leaf *headlog.Leaf, err error) {
	prefix, found := logChainKey(origin, chain), false
	lower := prefix
	if height != nil {
		lower = logChainKey(origin, chain, *height)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(prefix)})
	if err != nil {
		return 0, nil, s.unread(err)
	}
	begin, next := it.First, it.Next
	if height == nil {
		begin, next = it.Last, it.Prev
	}
	for found = begin(); found; found = next() {
		if index = binary.BigEndian.Uint64(it.Key()[len(prefix)+8:]); index < size {
			break
		}
	}
	if err := it.Close(); err != nil {
		return 0, nil, s.unread(err)
	}
	if !found {
		return 0, nil, fmt.Errorf("chain %s: %w", chain, headlog.ErrNotFound)
	}
	leaves, err := s.LogLeaves(ctx, origin, index, 1)
	if err == nil && (len(leaves) != 1 || leaves[0].Chain != chain) {
		err = fmt.Errorf("leaf %d of the log %s: %w", index, origin, errDamaged)
	}
	if err != nil {
		return 0, nil, err
	}
	return index, &leaves[0], nil
}

// LogCheckpoints implements [headlog.Store].
func (s *Store) LogCheckpoints(ctx context.Context, origin string, from uint64, limit int) (all []headlog.Kept, err error) {
	prefix := logKey(logCheckpoint, origin)
	err = s.scan(logKey(logCheckpoint, origin, from), after(prefix), func(key, value []byte) (bool, error) {
		if len(value) < 8 {
			return false, errDamaged
		}
		all = append(all, headlog.Kept{
			Size: binary.BigEndian.Uint64(key[len(prefix):]), Time: int64(binary.BigEndian.Uint64(value)), Note: append([]byte(nil), value[8:]...)})
		return len(all) < limit, ctx.Err()
	})
	return all, err
}

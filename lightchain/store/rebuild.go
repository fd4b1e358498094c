package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"edgechain/lightchain"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// A card that lied about what it had written leaves a database with empty or missing files, which Pebble does not
// open. Then a new one is made from every pair that can be read in the old one's tables and logs. It takes as much
// space again; the old one stays for whoever investigates.

// rebuild makes the database after the n-th from what can be read of it, and genesis, if that is known beside
// it. failed is why that does not open.
func rebuild(dir, path string, n int, o Options, g *guard, genesis *lightchain.SignedHeader, failed error) error {
	o.Logger.Error("the database does not open and is rebuilt from what can be read", "folder", path, "err", failed)
	err := install(dir, n+1, o, func(fresh string) (err error) {
		db, err := openPebble(fresh, o, g)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		r := rebuilder{o: o, db: db, guard: g, batch: db.NewBatch()}
		if err := r.copyFrom(path); err != nil {
			return err
		}
		if genesis != nil { // with the head mark, the chain can go on from nothing else
			if err := r.put(headerKey(0), appendHeader(nil, &genesis.Signature, genesis.Bytes())); err != nil {
				return err
			}
		}
		if r.headers == 0 {
			return errors.New("no header can be read")
		}
		set(r.batch, metaKey(metaUnsure), nil)
		if err := r.flush(); err != nil {
			return err
		}
		o.Logger.Warn("the database was rebuilt", "pairs", r.pairs, "headers", r.headers, "unreadable_places", r.gaps)
		return db.Flush()
	})
	if err != nil {
		return fmt.Errorf("rebuilding the database: %w, after: %w", err, failed)
	}
	return nil
}

type rebuilder struct {
	o     Options
	db    *pebble.DB
	guard *guard
	batch *pebble.Batch

	pairs, headers, gaps int
}

// copyFrom takes over all tables, the oldest first, and then the logs, which are newer than any table. Nearly every
// key is written once, so their order matters little.
func (r *rebuilder) copyFrom(path string) error {
	names, err := r.o.FS.List(path)
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(fileNumber(a), fileNumber(b)) })
	// The version comes first, so that a database whose own record of it is lost is taken for one of this layout.
	set(r.batch, metaKey(metaLayout), binary.AppendUvarint(nil, layout(r.o.migrations)))
	for _, name := range names {
		if isTable(name) {
			if err := r.table(r.o.FS.PathJoin(path, name)); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			if err := r.log(r.o.FS.PathJoin(path, name), logNumber(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// unreadable notes a place that is lost and goes on.
func (r *rebuilder) unreadable(name string, err error) error {
	r.gaps++
	r.o.Logger.Warn("cannot be read and is left out", "file", name, "err", err)
	return nil
}

func (r *rebuilder) table(name string) error {
	f, err := r.o.FS.Open(name)
	if err == nil {
		f, err = openTable(f)
	}
	if err != nil {
		return r.unreadable(name, err)
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return r.unreadable(name, errors.Join(err, f.Close()))
	}
	table, err := sstable.NewReader(context.Background(), readable, sstable.ReaderOptions{KeySchemas: keySchemas()})
	if err != nil {
		return r.unreadable(name, err) // it has closed the file
	}
	defer table.Close()
	if err := r.deletions(table); err != nil {
		return r.unreadable(name, err)
	}
	it, err := table.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return r.unreadable(name, err)
	}
	defer it.Close()
	var last []byte
	for kv := it.First(); ; kv = it.Next() {
		if kv == nil {
			if it.Error() == nil {
				return nil
			}
			// Behind an unreadable place, the next height that can be read goes on. Nothing but a search finds it.
			r.unreadable(name, it.Error())
			height, _, _, ok := parseBlockKey(last)
			if !ok {
				return nil
			}
			for step := uint64(1); kv == nil && step < 1<<40; step *= 2 {
				if kv = it.SeekGE(blockKey(height+step, partSeed), 0); kv == nil && it.Error() == nil {
					return nil
				}
			}
			if kv == nil {
				return nil
			}
		}
		last = append(last[:0], kv.K.UserKey...)
		value, _, err := kv.Value(nil)
		if err != nil {
			r.unreadable(name, err)
			continue
		}
		switch kv.Kind() {
		case pebble.InternalKeyKindDelete:
			err = r.batch.Delete(last, nil)
		case pebble.InternalKeyKindSet, pebble.InternalKeyKindSetWithDelete:
			err = r.put(last, value)
		}
		if err != nil {
			return err
		}
	}
}

// deletions takes over a table's deleted ranges. They are older than its pairs, or hide none of them.
func (r *rebuilder) deletions(table *sstable.Reader) error {
	it, err := table.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil || it == nil {
		return err
	}
	defer it.Close()
	span, err := it.First()
	for ; span != nil && err == nil; span, err = it.Next() {
		if err := r.batch.DeleteRange(span.Start, span.End, nil); err != nil {
			return err
		}
	}
	return err
}

// put takes over a pair, and writes again what derives from a header and may be lost.
func (r *rebuilder) put(k, v []byte) error {
	set(r.batch, k, v)
	r.pairs++
	if height, p, _, ok := parseBlockKey(k); ok && p == partHeader {
		if _, b, err := splitHeader(v); err == nil {
			if h, err := lightchain.DecodeHeader(b); err == nil {
				r.headers++
				if h.NextKey != nil {
					set(r.batch, key(spaceKeys, height), h.NextKey[:])
				}
				if height == 0 {
					chain := lightchain.LeafHash(b)
					set(r.batch, metaKey(metaChain), chain[:])
				}
			}
		}
	}
	if r.batch.Len() < 1<<20 {
		return nil
	}
	return r.flush()
}

func (r *rebuilder) flush() error {
	err := r.guard.commit(r.batch)
	r.batch.Close()
	r.batch = r.db.NewBatch()
	return err
}

// log takes over the batches of a log as they were committed.
func (r *rebuilder) log(name string, number uint32) error {
	b, err := readFile(r.o.FS, name)
	if err != nil {
		return r.unreadable(name, err)
	}
	salvaged := salvageLog(b, number)
	if salvaged.bad > 0 {
		r.unreadable(name, fmt.Errorf("%d bytes", salvaged.bad))
	}
	if err := r.flush(); err != nil {
		return err
	}
	for _, record := range salvaged.records {
		batch := r.db.NewBatch()
		if err := batch.SetRepr(slices.Clone(record)); err != nil {
			r.unreadable(name, err)
			continue
		}
		for reader := batch.Reader(); ; {
			kind, k, _, ok, err := reader.Next()
			if !ok || err != nil {
				break
			}
			if _, p, _, isBlock := parseBlockKey(k); isBlock && kind == pebble.InternalKeyKindSet && p == partHeader {
				r.headers++
			}
		}
		if !batch.Empty() {
			if err := r.guard.commit(batch); err != nil {
				return err
			}
		}
		batch.Close()
	}
	return nil
}

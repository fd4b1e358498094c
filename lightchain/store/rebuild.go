package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"

	"edgechain.example/lightchain/store/salvage"
)

// A card that lied about what it had written leaves a database with empty or missing files, which Pebble does not
// open. Then a new one is made from every pair that can be read in the old one's tables and logs. It takes as much
// space again; the old one stays for whoever investigates.

// rebuild makes the database after the n-th from what can be read of it, and genesis, if that is known beside
// it. failed is why that does not open.
func rebuild(dir, path string, n int, o Options, g *guard, known durable, genesis *lightchain.SignedHeader, failed error) (held []heightRun, err error) {
	o.Logger.Error("failed to open the database, which is rebuilt from what can be read", "folder", path, "err", failed)
	err = install(dir, n+1, o, func(fresh string) (err error) {
		db, err := createPebble(fresh, o, g)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		r := rebuilder{o: o, db: db, guard: g, durable: known, batch: db.NewBatch(), newest: map[string]uint64{}}
		if err := r.copyFrom(path); err != nil {
			return err
		}
		if genesis != nil && r.isOf(genesis.ChainID()) { // with the head mark, the chain can go on from nothing else
			if err := r.put(headerKey(0), appendHeader(nil, &genesis.HeaderSignature, genesis.Bytes())); err != nil {
				return err
			}
		}
		if r.headers == 0 {
			return fmt.Errorf("%w: no header can be read", ErrDamaged)
		}
		if !r.began {
			return fmt.Errorf("%w: nothing says how the chain began. If there is a backup, move %s elsewhere, and edgeagent restore", ErrDamaged, dir)
		}
		set(r.batch, metaKey(metaUnsure), nil)
		if err := r.flush(); err != nil {
			return err
		}
		held = r.held
		o.Logger.Warn("the database was rebuilt", "pairs", r.pairs, "headers", r.headers, "unreadable_places", r.gaps)
		return db.Flush()
	})
	if err != nil {
		return nil, fmt.Errorf("rebuilding the database: %w, after: %v", err, failed) // a file that is not there is no chain that is not
	}
	return held, nil
}

// rebuilder takes over what can be read, whatever the order in which it is read: a pair counts unless its range was
// deleted later, and of pairs that are written more than once the newest.
type rebuilder struct {
	o       Options
	db      *pebble.DB
	guard   *guard
	durable durable
	batch   *pebble.Batch

	deleted []salvage.Span
	newest  map[string]uint64 // sequence number of what was taken over, of the keys that are written more than once

	held []heightRun // headers that were taken over, in the order in which they were

	began bool                // it holds which chain it is
	chain *lightchain.ChainID // which one a header names; nil: none was read

	pairs, headers, gaps int

	read, tables uint64 // how many tables were read, of how many; each is read twice
}

// tell says how far it is, and fails if it is to end.
func (r *rebuilder) tell() error { return r.o.Opening("rebuilding the database", r.read, 2*r.tables) }

// copyFrom takes over all tables in the folder, those that no manifest names among them, and then the logs.
func (r *rebuilder) copyFrom(path string) error {
	names, err := r.o.FS.List(path)
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(salvage.FileNumber(a), salvage.FileNumber(b)) })
	// The version comes first, so that a database whose own record of it is lost is taken for one of this layout.
	set(r.batch, metaKey(metaLayout), binary.AppendUvarint(nil, layout(r.o.migrations)))

	for _, name := range names {
		if salvage.IsTable(name) {
			r.tables++
		}
	}
	// What was deleted must be known of all before any pair is put back.
	var logs []salvage.Batch
	for _, name := range names {
		switch {
		case salvage.IsTable(name):
			if err := r.withTable(path, name, func(t *salvage.Table) error {
				r.deleted = append(r.deleted, t.Spans()...)
				return nil
			}); err != nil {
				return err
			}
		case strings.HasSuffix(name, ".log"):
			read, err := r.log(path, name)
			if err != nil {
				return err
			}
			logs = append(logs, read...)
		}
	}
	for _, b := range logs {
		r.deleted = append(r.deleted, b.Spans()...)
	}

	told := time.Now()
	for _, name := range names {
		if !salvage.IsTable(name) {
			continue
		}
		if err := r.withTable(path, name, func(t *salvage.Table) error { return t.Pairs(r.take) }); err != nil {
			return err
		}
		if time.Since(told) > rebuildProgress {
			told = time.Now()
			r.o.Logger.Warn("the database is being rebuilt", "tables", r.read-r.tables, "of", r.tables, "pairs", r.pairs)
		}
	}
	for _, b := range logs {
		if err := b.Each(r.take); err != nil {
			return err
		}
	}
	return nil
}

// rebuildProgress is how often a rebuild tells how far it is.
const rebuildProgress = 10 * time.Second

// unreadable notes a place that is lost and goes on.
func (r *rebuilder) unreadable(name string, err error) {
	r.gaps++
	r.o.Logger.Warn("failed to read a file, which is left out", "file", name, "err", err)
}

// withTable opens a table and lets it be read.
func (r *rebuilder) withTable(path, name string, read func(*salvage.Table) error) error {
	if err := r.tell(); err != nil {
		return err
	}
	r.read++
	t, err := salvage.OpenTable(r.o.FS, r.o.FS.PathJoin(path, name), isKey, func(err error) { r.unreadable(name, err) })
	if err != nil && !isDamage(err) {
		return err // the table may be sound
	}
	if err != nil {
		r.unreadable(name, err)
		return nil
	}
	return errors.Join(read(t), t.Close())
}

// take takes over a pair, unless what is newer says otherwise.
func (r *rebuilder) take(p salvage.Pair) error {
	if len(p.Key) == 0 {
		return nil
	}
	for i := range r.deleted {
		if r.deleted[i].Covers(p) {
			return nil
		}
	}
	if rewritten(p.Key[0]) {
		if r.newest[string(p.Key)] > p.Seq {
			return nil
		}
		r.newest[string(p.Key)] = p.Seq
	}
	switch p.Kind {
	case pebble.InternalKeyKindDelete:
		return r.batch.Delete(p.Key, nil)
	case pebble.InternalKeyKindSet, pebble.InternalKeyKindSetWithDelete:
		return r.put(p.Key, p.Value)
	}
	return nil
}

// isOf tells whether no header that was read names another chain.
func (r *rebuilder) isOf(chain lightchain.ChainID) bool { return r.chain == nil || *r.chain == chain }

// rewritten tells of a space whether its keys may be written more than once. What belongs to a block is written once, but
// for what is mended, and then with what it should have been from the beginning.
func rewritten(space byte) bool {
	return space != spaceBlocks && space != spaceNodes && space != spaceReceipts
}

// put takes over a pair, and writes again what derives from a header and may be lost.
func (r *rebuilder) put(k, v []byte) error {
	set(r.batch, k, v)
	r.pairs++
	r.began = r.began || bytes.Equal(k, metaKey(metaChain))
	if height, p, _, ok := parseBlockKey(k); ok && p == partHeader {
		if _, b, err := splitHeader(v); err == nil {
			if h, err := lightchain.DecodeHeader(b); err == nil {
				r.headers++
				r.have(height)
				if h.NextKey != nil {
					set(r.batch, key(spaceKeys, height), h.NextKey[:])
				}
				if height == 0 {
					chain := lightchain.LeafHash(b)
					set(r.batch, metaKey(metaChain), chain[:])
					r.began = true
				} else {
					r.chain = &h.Chain
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
	if err := r.tell(); err != nil {
		return err
	}
	err := r.guard.commit(r.batch)
	r.batch.Close()
	r.batch = r.db.NewBatch()
	return err
}

// log returns the whole batches of a log.
func (r *rebuilder) log(path, name string) ([]salvage.Batch, error) {
	batches, err := salvage.ReadBatches(r.o.FS, r.o.FS.PathJoin(path, name), r.durable.record, func(err error) { r.unreadable(name, err) })
	if err != nil && isDamage(err) {
		r.unreadable(name, err)
		return nil, nil
	}
	return batches, err
}

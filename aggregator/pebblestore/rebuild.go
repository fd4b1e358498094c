package pebblestore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// rebuild puts a database of all that can be read in the place of one that is damaged, and opens it. It takes as much space
// again; the damaged one stays for whoever investigates.
func (p *opening) rebuild(failed error) error {
	p.o.Logger.Error("failed to open the store, which is damaged; it is rebuilt from what can be read", "folder", p.dir, "err", failed)
	if p.store.db != nil {
		if err := p.store.db.Close(); err != nil {
			p.o.Logger.Warn("failed in background work of the store", "err", err)
		}
		p.store.db = nil
	}
	fs, fresh := p.o.FS, p.dir+newSuffix
	if err := fs.RemoveAll(fresh); err != nil {
		return err
	}
	if err := p.copyTo(fresh); err != nil {
		return fmt.Errorf("rebuilding the store: %w, after: %w", err, failed)
	}
	// Stopping here, the damaged one counts, and the next start begins anew. When the next rename is durable, the rebuilt one does.
	if err := errors.Join(syncFolder(fs, fresh), fs.Rename(fresh, p.dir+rebuiltSuffix), syncFolder(fs, fs.PathDir(p.dir))); err != nil {
		return err
	}
	if err := installRebuilt(p.dir, fs); err != nil {
		return err
	}
	// The lock went with the damaged one: whoever comes now finds the new one's.
	if err := p.lock.Close(); err != nil {
		return err
	}
	var err error
	if p.lock, err = pebble.LockDirectory(p.dir, lockFS{fs}); err != nil {
		return err
	}
	p.store.opened.Rebuilt = true
	return p.open(true)
}

// installRebuilt gives a database that was rebuilt its name, if there is one that has not got it.
func installRebuilt(dir string, fs vfs.FS) error {
	if _, err := fs.Stat(dir + rebuiltSuffix); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if _, err := fs.Stat(dir); err == nil {
		if err := fs.Rename(dir, freeName(fs, dir+damagedSuffix)); err != nil {
			return err
		}
	}
	return errors.Join(fs.Rename(dir+rebuiltSuffix, dir), syncFolder(fs, fs.PathDir(dir)))
}

// copyTo makes a database of what can be read.
func (p *opening) copyTo(fresh string) (err error) {
	options := p.options()
	options.FS = p.o.FS
	options.ErrorIfExists = true
	db, err := pebble.Open(fresh, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c := &copying{opening: p, db: db, batch: db.NewBatch(), newest: map[string]version{}}
	if err := c.all(); err != nil {
		return err
	}
	// The version, so that a database whose own record of it is lost is taken for one of this layout.
	if err := errors.Join(c.batch.Set([]byte{keyLayout}, []byte{layout}, nil), c.flush()); err != nil {
		return err
	}
	p.o.Logger.Warn("the store was rebuilt", "pairs", c.pairs, "unreadable_places", c.gaps)
	p.store.opened.Unreadable += c.gaps
	return db.Flush()
}

// copying takes over what can be read, whatever the order in which it is read: a pair counts unless its range was deleted
// later, and of pairs that are written more than once the newest.
type copying struct {
	*opening
	db      *pebble.DB
	batch   *pebble.Batch
	deleted []salvage.Span
	newest  map[string]version // of what was taken over, of keys that are written more than once

	pairs, gaps int
}

// version says how new a pair is.
type version struct{ seq, file uint64 }

// before reports whether another pair of the same key is newer. Of one that was merged to the bottom Pebble has forgotten the
// number: then the files tell.
func (v version) before(other version) bool {
	if v.seq != 0 && other.seq != 0 {
		return v.seq < other.seq
	}
	return v.file < other.file
}

func (c *copying) all() error {
	fs := c.o.FS
	names, err := fs.List(c.dir)
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(salvage.FileNumber(a), salvage.FileNumber(b)) })
	// What was deleted must be known of all before any pair is put back.
	var logs []salvage.Batch
	for _, name := range names {
		path := fs.PathJoin(c.dir, name)
		switch {
		case salvage.IsTable(name):
			err = c.table(path, func(t *salvage.Table) error {
				c.deleted = append(c.deleted, t.Spans()...)
				return nil
			})
		case salvage.IsLog(name):
			var read []salvage.Batch
			read, err = salvage.ReadBatches(fs, path, nil, func(err error) { c.unreadable(path, err) })
			logs = append(logs, read...)
		}
		if err != nil && !isDamage(err) {
			return err // the file may be sound
		}
		if err != nil {
			c.unreadable(path, err)
		}
	}
	for _, b := range logs {
		c.deleted = append(c.deleted, b.Spans()...)
	}
	for _, name := range names {
		if !salvage.IsTable(name) {
			continue
		}
		// One that does not open has been told of.
		if err := c.table(fs.PathJoin(c.dir, name), func(t *salvage.Table) error { return t.Pairs(c.take) }); err != nil && !isDamage(err) {
			return err
		}
	}
	for _, b := range logs {
		if err := b.Each(c.take); err != nil {
			return err
		}
	}
	return nil
}

func (c *copying) unreadable(path string, err error) {
	c.gaps++
	c.o.Logger.Warn("failed to read a file, which is left out", "file", path, "err", err)
}

func (c *copying) table(path string, read func(*salvage.Table) error) error {
	t, err := salvage.OpenTable(c.o.FS, path, isKey, func(err error) { c.unreadable(path, err) })
	if err != nil {
		return err
	}
	return errors.Join(read(t), t.Close())
}

// take takes over a pair, unless what is newer says otherwise.
func (c *copying) take(p salvage.Pair) error {
	if !isKey(p.Key) {
		return nil
	}
	for i := range c.deleted {
		if c.deleted[i].Covers(p) {
			return nil
		}
	}
	if !isWrittenOnce(p.Key) {
		now := version{p.Seq, p.File}
		if last, found := c.newest[string(p.Key)]; found && now.before(last) {
			return nil
		}
		c.newest[string(p.Key)] = now
	}
	var err error
	switch p.Kind {
	case pebble.InternalKeyKindDelete:
		err = c.batch.Delete(p.Key, nil)
	case pebble.InternalKeyKindSet, pebble.InternalKeyKindSetWithDelete:
		err = c.batch.Set(p.Key, p.Value, nil)
		c.pairs++
	}
	if err != nil || c.batch.Len() < 1<<20 {
		return err
	}
	return c.flush()
}

// isWrittenOnce tells keys whose value never changes. There may be millions of these.
func isWrittenOnce(key []byte) bool {
	switch key[0] {
	case keySegment, keyReceipt, keyEvidence:
		return true
	case keyLog:
		return len(key) > 1 && (key[1] == logLeaf || key[1] == logNode || key[1] == logChain)
	}
	return false
}

func (c *copying) flush() error {
	err := c.batch.Commit(pebble.Sync)
	c.batch.Close()
	c.batch = c.db.NewBatch()
	return err
}

// isKey tells a key of this store from what is none.
func isKey(k []byte) bool {
	return len(k) > 0 && bytes.IndexByte([]byte{keyLayout, keyRecord, keyState, keySegment, keyReceipt, keyEvidence, keyDocument, keyJournal, keyLog, keyWaiting}, k[0]) >= 0
}

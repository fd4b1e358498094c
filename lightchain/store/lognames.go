package store

import (
	"errors"
	"io"
	"os"
	"strings"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store/salvage"

	"github.com/cockroachdb/pebble/v2"
)

// A log says its number in each of its chunks. Where it has another name, given by a hand or by a tool that keeps copies, and
// its own is free, it gets that back: Pebble would not read it, and what was acknowledged last stands in it.

// nameLogs gives logs of the database in path their names back.
func (s *Store) nameLogs(path string) error {
	fs := s.options.FS
	names, err := fs.List(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		number, ok := s.misnamedLog(path, name)
		if !ok {
			continue
		}
		own := salvage.LogName(number)
		if _, there := firstChunk(fs.PathJoin(path, own), s.options); there || !s.ownLog(fs.PathJoin(path, name), number) {
			continue // a copy; or another chain's
		}
		if _, err := fs.Stat(fs.PathJoin(path, own)); err == nil { // nothing stands in it
			if err := s.putAside(fs.PathJoin(path, own)); err != nil {
				return err
			}
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := fs.Rename(fs.PathJoin(path, name), fs.PathJoin(path, own)); err != nil {
			return err
		}
		s.options.Logger.Warn("a log of the database had another name, and has its own again", "file", fs.PathJoin(path, own), "was", name)
		if err := syncFolder(path, s.options); err != nil {
			return err
		}
	}
	return nil
}

// misnamedLog returns the number of a log whose name is another one: another number's, or its own with something behind it.
func (s *Store) misnamedLog(path, name string) (number uint32, ok bool) {
	if salvage.IsTable(name) || strings.HasPrefix(name, salvage.KeptPrefix) || strings.HasSuffix(name, ".repaired") || strings.HasPrefix(name, "MANIFEST-") {
		return 0, false
	}
	number, ok = firstChunk(s.options.FS.PathJoin(path, name), s.options)
	own := salvage.LogName(number)
	return number, ok && name != own && (salvage.IsLog(name) || strings.HasPrefix(name, strings.TrimSuffix(own, ".log")))
}

// firstChunk returns the number of the log at path; false if it is none.
func firstChunk(path string, o Options) (number uint32, ok bool) {
	f, err := salvage.OpenFile(o.FS, path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 32<<10))
	if err != nil {
		return 0, false
	}
	return salvage.NumberIn(b)
}

// ownLog tells whether a log is this chain's, as far as it holds headers and the chain is known beside the database.
func (s *Store) ownLog(path string, number uint32) bool {
	b, err := salvage.ReadSectors(s.options.FS, path)
	if err != nil {
		return false
	}
	own := true
	for _, record := range salvage.ReadLog(b, number, s.durable.record).Records {
		_ = salvage.EachIn(record, func(p salvage.Pair) error {
			if _, part, _, ok := parseBlockKey(p.Key); !ok || part != partHeader || p.Kind != pebble.InternalKeyKindSet {
				return nil
			}
			_, header, err := splitHeader(p.Value)
			if err != nil {
				return nil
			}
			h, err := lightchain.DecodeHeader(header)
			if m := s.found.newest(); err == nil && m != nil && h.Genesis == nil && h.Chain != m.chain() {
				own = false
			}
			return nil
		})
	}
	return own
}

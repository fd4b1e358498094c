package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// What is staged and not sealed stands in no head mark. A note beside the database says up to which number entries were
// acknowledged, so that a start whose log was lost or damaged at its end knows how many are gone. It is written for each
// group and not synced: it survives the end of the program, and the loss or rot of other files. A power cut may take half
// a minute of it; then the note says less than was acknowledged, never more.
//
// It also says which header is the newest, and of which run, for a start that finds no head mark: see doubt.go. For that it
// is synced when the store is opened and when it is closed.
//
//	"edgechain next", version 2 · 8 bytes: number of the next entry · 8 bytes: height of the newest header · 8 bytes: how often
//	the store was opened · 16 bytes: SHA-256 of all that and the chain
//
// Version 1 has neither height nor openings.
const (
	noteName    = "acknowledged"
	noteMagic   = "edgechain next"
	noteVersion = 2
	noteSize    = len(noteMagic) + 1 + 3*8 + 16
)

// acknowledged is what the note says.
type acknowledged struct {
	next   uint64 // number of the next entry; 0: there is no note of this chain
	height uint64 // of the newest header
	opens  uint64 // how often the store was opened
	ends   bool   // it is of a version that says the last two
}

func appendNote(b []byte, chain lightchain.ChainID, version byte, n acknowledged) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint64(append(append(b, noteMagic...), version), n.next)
	if version > 1 {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, n.height), n.opens)
	}
	sum := sha256.Sum256(append(b[start:len(b):len(b)], chain[:]...))
	return append(b, sum[:16]...)
}

// readNote returns what the note says of this chain, nothing where there is none.
func readNote(dir string, o Options, chain lightchain.ChainID) (n acknowledged) {
	b, err := salvage.ReadSmall(o.FS, o.FS.PathJoin(dir, noteName), int64(noteSize))
	at := len(noteMagic) + 1
	if err != nil || len(b) < at+8+16 {
		return n
	}
	version := b[len(noteMagic)]
	n.next = binary.BigEndian.Uint64(b[at:])
	if n.ends = version > 1; n.ends && len(b) >= noteSize {
		n.height, n.opens = binary.BigEndian.Uint64(b[at+8:]), binary.BigEndian.Uint64(b[at+16:])
	}
	if want := appendNote(nil, chain, version, n); version > noteVersion || len(b) < len(want) || !bytes.Equal(b[:len(want)], want) {
		return acknowledged{}
	}
	return n
}

// note is the file, open for writing. It is guarded by [Store.seeing].
type note struct {
	file   vfs.File // nil: it cannot be written, or the store is not open yet
	chain  lightchain.ChainID
	opens  uint64
	buffer [noteSize]byte
}

// openNote opens the note's file. What it said was read before.
func (s *Store) openNote() error {
	path := s.options.FS.PathJoin(s.dir, noteName)
	if _, err := s.get(metaKey(metaMarked)); err == nil && s.info.Opens > 1 && s.info.Restored == nil && s.Next() > 0 && readNote(s.dir, s.options, s.tip.Chain).next == 0 {
		s.options.Logger.Warn("the note of the newest acknowledged entry cannot be read, and is written anew") // else there never was one
	}
	if info, err := s.options.FS.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && (info.IsDir() || info.Size() < int64(noteSize)) {
		if err := putWhole(s.dir, s.options, noteName, appendNote(nil, s.tip.Chain, noteVersion, acknowledged{next: s.Next(), height: s.tip.Height, opens: s.info.Opens})); err != nil {
			return err
		}
	}
	f, err := s.options.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	s.seeing.Lock()
	defer s.seeing.Unlock()
	s.note = note{file: f, chain: s.tip.Chain, opens: s.info.Opens}
	next := max(s.Next(), readNote(s.dir, s.options, s.tip.Chain).next) // as long as a loss is not recorded the next start is to find it again
	return errors.Join(s.note.put(next, s.tip.Height), s.note.sync())
}

// put notes the number of the next entry and the newest header. Nothing hangs on it but what a start can tell of a loss, so
// an error ends the note, not the recording.
func (n *note) put(next, height uint64) error {
	if n.file == nil {
		return nil
	}
	if _, err := n.file.WriteAt(appendNote(n.buffer[:0], n.chain, noteVersion, acknowledged{next: next, height: height, opens: n.opens}), 0); err != nil {
		return errors.Join(err, n.close())
	}
	return nil
}

func (n *note) sync() error {
	if n.file == nil {
		return nil
	}
	return n.file.SyncData()
}

func (n *note) close() error {
	if n.file == nil {
		return nil
	}
	err := errors.Join(n.sync(), n.file.Close())
	n.file = nil
	return err
}

// acknowledgedLost adds to what was found of the open block that entries behind it had been acknowledged, and are gone.
func (s *Store) acknowledgedLost(r *Recovered) {
	next := s.noted.next
	s.noted = acknowledged{} // the numbers are given again
	if n := len(r.Gaps); n > 0 && r.Gaps[n-1].Count == 0 && next > r.Gaps[n-1].First {
		r.Gaps[n-1].Count = next - r.Gaps[n-1].First
		return
	}
	if next > r.end {
		r.Gaps = append(r.Gaps, Gap{r.end, next - r.end, fmt.Errorf("they were acknowledged, and the log does not hold them: %w", ErrDamaged)})
	}
}

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
//	"edgechain next", version 1 · 8 bytes: number of the next entry · 16 bytes: SHA-256 of all that and the chain
const (
	noteName    = "acknowledged"
	noteMagic   = "edgechain next"
	noteVersion = 1
	noteSize    = len(noteMagic) + 1 + 8 + 16
)

func appendNote(b []byte, chain lightchain.ChainID, next uint64) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint64(append(append(b, noteMagic...), noteVersion), next)
	sum := sha256.Sum256(append(b[start:len(b):len(b)], chain[:]...))
	return append(b, sum[:16]...)
}

// readNote returns the number of the note, 0 where there is none for this chain.
func readNote(dir string, o Options, chain lightchain.ChainID) uint64 {
	b, err := salvage.ReadFile(o.FS, o.FS.PathJoin(dir, noteName))
	if err != nil || len(b) < noteSize {
		return 0
	}
	next := binary.BigEndian.Uint64(b[len(noteMagic)+1:])
	if !bytes.Equal(b[:noteSize], appendNote(nil, chain, next)) {
		return 0
	}
	return next
}

// note is the file, open for writing. It is guarded by [Store.seeing].
type note struct {
	file   vfs.File // nil: it cannot be written, or the store is not open yet
	chain  lightchain.ChainID
	buffer [noteSize]byte
}

// openNote opens the note's file. What it said was read before.
func (s *Store) openNote() error {
	path := s.options.FS.PathJoin(s.dir, noteName)
	if _, err := s.get(metaKey(metaMarked)); err == nil && s.info.Opens > 1 && s.info.Restored == nil && s.Next() > 0 && readNote(s.dir, s.options, s.tip.Chain) == 0 {
		s.options.Logger.Warn("the note of the newest acknowledged entry cannot be read, and is written anew") // else there never was one
	}
	if info, err := s.options.FS.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && (info.IsDir() || info.Size() < int64(noteSize)) {
		if err := putWhole(s.dir, s.options, noteName, appendNote(nil, s.tip.Chain, s.Next())); err != nil {
			return err
		}
	}
	f, err := s.options.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	s.seeing.Lock()
	s.note = note{file: f, chain: s.tip.Chain}
	s.seeing.Unlock()
	return nil
}

// put notes the number of the next entry. Nothing hangs on it but what a start can tell of a loss, so an error ends the
// note, not the recording.
func (n *note) put(next uint64) error {
	if n.file == nil {
		return nil
	}
	if _, err := n.file.WriteAt(appendNote(n.buffer[:0], n.chain, next), 0); err != nil {
		return errors.Join(err, n.close())
	}
	return nil
}

func (n *note) close() error {
	if n.file == nil {
		return nil
	}
	err := n.file.Close()
	n.file = nil
	return err
}

// acknowledgedLost adds to what was found of the open block that entries behind it had been acknowledged, and are gone.
func (s *Store) acknowledgedLost(r *Recovered) {
	next := s.noted
	s.noted = 0 // the numbers are given again
	if n := len(r.Gaps); n > 0 && r.Gaps[n-1].Count == 0 && next > r.Gaps[n-1].First {
		r.Gaps[n-1].Count = next - r.Gaps[n-1].First
		return
	}
	if next > r.end {
		r.Gaps = append(r.Gaps, Gap{r.end, next - r.end, fmt.Errorf("they were acknowledged, and the log does not hold them: %w", ErrDamaged)})
	}
}

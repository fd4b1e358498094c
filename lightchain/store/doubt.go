package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"edgechain.example/lightchain/store/salvage"
)

// The head mark says where the chain ended. Where a slot of it is lost, or both are, headers may have left above the end that
// the database shows, and to seal there would give one height two contents. So such a store records and does not seal,
// until an aggregator has told the newest head or the operator has given his word, as a restored one does and by the same
// file, [Restored], which is durable before the lost slots are written anew.
//
// It does not doubt where the log is whole, and what it gives ends with the header, the entry and the run that the note of
// what was acknowledged names: that is written after each header and each group. A lost log shows by the run, which is noted
// in the log when the store is opened and in the note, synced, before anything leaves; the loss of a later one by header or
// entry. A power cut may set the note back by half a minute, and then it does not fit.

// soundLogs tells whether a database has logs, and all that is in them can be read, before anything is repaired.
func soundLogs(path string, o Options, d durable) bool {
	unreadable, err := salvage.UnreadableLogs(path, o.FS, d.record)
	if err != nil || len(unreadable) > 0 {
		return false
	}
	names, err := o.FS.List(path)
	return err == nil && slices.ContainsFunc(names, salvage.IsLog)
}

// everMarked tells whether a head mark ever stood beside the database: then the keys and the note do, too. A chain may have
// been cut off while it was begun, when the note came first: it was never opened.
func (r *Reader) everMarked(dir string, o Options) bool {
	if r.view().tip.Height == 0 {
		if n := readNote(dir, o, r.view().tip.Chain); n.ends && n.opens == 0 && r.opens() == 0 {
			return false
		}
	} else if _, err := r.get(metaKey(metaMarked)); !errors.Is(err, ErrNotFound) {
		return true
	}
	for _, name := range [...]string{keysName, noteName} {
		if _, err := o.FS.Stat(o.FS.PathJoin(dir, name)); !errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

// opens returns how often the store was opened, as the database has it; 0 where it cannot be read.
func (r *Reader) opens() uint64 {
	b, err := r.get(metaKey(metaOpens))
	if err != nil {
		return 0
	}
	n, _ := binary.Uvarint(b)
	return n
}

// doubt returns why headers may have left above the tip, "" if none has as far as the head mark, the logs, the note and
// the keys can tell. next is the number behind the last entry that was found, or that is known to be gone.
func (r *Reader) doubt(dir string, o Options, found *slotsRead, sound bool, n acknowledged, next uint64) string {
	tip, m, bad := r.view().tip, found.newest(), found.bad()
	switch {
	case bad == nil:
		return ""
	case m == nil && !r.everMarked(dir, o):
		return ""
	case m != nil && m.chain() == tip.Chain && tip.Height > m.head.Height:
		return "" // the mark of a header above the next one would stand in this slot
	}
	why := ""
	keys := readKeys(dir, o, tip.Chain)
	switch {
	case m != nil && m.chain() == tip.Chain && tip.Height < m.head.Height:
		why = fmt.Sprintf("the database ended below header %d, of which one slot of the head mark still tells", m.head.Height)
	case n.ends && n.height > tip.Height:
		why = fmt.Sprintf("header %d has left, and the newest one here is %d", n.height, tip.Height)
	case len(keys) > 0 && keys[len(keys)-1].Header.Height > tip.Height:
		why = fmt.Sprintf("header %d has left, and the newest one here is %d", keys[len(keys)-1].Header.Height, tip.Height)
	case n.next > next:
		why = fmt.Sprintf("entries up to %d were acknowledged, and the last one here is %d", n.next-1, int64(next)-1)
	case sound && n.ends && n.opens == r.opens() && n.height == tip.Height && n.next == next:
		return ""
	default:
		why = "neither the log nor the note of what was acknowledged shows that the chain ended here"
	}
	lost := "the head mark is lost"
	if m != nil {
		lost = "a slot of the head mark is lost"
	}
	return fmt.Sprintf("%s (%v), and %s", lost, bad, why)
}

// doubted tells whether an earlier start found that headers may have left, and nobody has settled it since.
func (s *Store) doubted() bool { return s.info.Restored != nil && s.info.Restored.Doubt != "" }

// noteDoubt notes durably that headers may have left above the tip.
func (s *Store) noteDoubt(why string) error {
	r := Restored{At: s.options.Now().UTC(), Height: s.tip.Height, Entries: s.tip.Next}
	if s.info.Restored != nil {
		if s.info.Restored.Doubt == why {
			return nil
		}
		r = *s.info.Restored
		r.Newest = false
	}
	r.Doubt = why
	if err := putMark(s.dir, s.options, restoredName, r); err != nil {
		return err
	}
	s.info.Restored = &r
	return nil
}

package store

import (
	"errors"
	"fmt"
	"io"
	"os"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// The mark is written into two slots in turn, in place: files of a fixed size, whose every byte was written once, so
// that a mark costs one write and one fdatasync that has no metadata to wait for. A mark that is torn leaves the other
// slot, which is older by one header, and a database that holds that header.
var slotNames = [...]string{"head-a", "head-b"}

// slotSize is the size of a slot's file; no mark is longer.
const slotSize = 16 << 10

// MarkBytes is what a seal writes beside the database, which [Stats] does not count: the head mark.
const MarkBytes = slotSize

// slotsRead is what the two slots were found to hold.
type slotsRead struct {
	marks [len(slotNames)]*headMark
	errs  [len(slotNames)]error // os.ErrNotExist where there is no file
}

// readSlots reads both slots. A slot that cannot be read is no error: the other one counts.
func readSlots(dir string, o Options) (r slotsRead) {
	for i, name := range slotNames {
		r.marks[i], r.errs[i] = readSlot(o.FS, o.FS.PathJoin(dir, name))
	}
	return r
}

func readSlot(fs vfs.FS, path string) (*headMark, error) {
	f, err := salvage.OpenFile(fs, path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, slotSize))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return decodeMark(b)
}

// newest returns the mark that counts, nil if no slot holds one.
func (r *slotsRead) newest() *headMark {
	a, b := r.marks[0], r.marks[1]
	if a == nil || b != nil && b.counter > a.counter {
		return b
	}
	return a
}

// absent tells that neither slot is there: the store was made before marks were, or they were removed.
func (r *slotsRead) absent() bool {
	return errors.Is(r.errs[0], os.ErrNotExist) && errors.Is(r.errs[1], os.ErrNotExist)
}

// torn tells that the power may have cut off the writing of the slot that holds no mark: its file is there.
func (r *slotsRead) torn() bool {
	for _, err := range r.errs {
		if err != nil && !errors.Is(err, errMark) {
			return false
		}
	}
	return true
}

// bad says of each slot that holds no mark why, nil if both hold one.
func (r *slotsRead) bad() (err error) {
	for i, e := range r.errs {
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", slotNames[i], e))
		}
	}
	return err
}

// foreign returns the error of a slot whose version this program does not read.
func (r *slotsRead) foreign() error {
	for _, err := range r.errs {
		if errors.Is(err, ErrNewer) || errors.Is(err, ErrOlder) {
			return err
		}
	}
	return nil
}

// slots are the files of the mark, open for writing. They belong to the owner of the tail.
type slots struct {
	files  [len(slotNames)]vfs.File
	next   int    // the slot to be written next: the one whose mark is older
	buffer []byte // scratch
}

// openSlots opens both files, making anew each one that holds no mark: with m, which is durable then.
func openSlots(dir string, o Options, found *slotsRead, m *headMark) (s slots, err error) {
	for i, name := range slotNames {
		path := o.FS.PathJoin(dir, name)
		if found.marks[i] == nil {
			if err := makeSlot(dir, name, o, m); err != nil {
				return s, errors.Join(err, s.close())
			}
		}
		if s.files[i], err = o.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified); err != nil {
			return s, errors.Join(err, s.close())
		}
	}
	if a, b := found.marks[0], found.marks[1]; a != nil && (b == nil || a.counter >= b.counter) {
		s.next = 1
	}
	return s, nil
}

// makeSlot makes one slot's file, whole and durable, whatever stands at its place.
func makeSlot(dir, name string, o Options, m *headMark) error {
	b, err := m.append(make([]byte, 0, slotSize))
	if err != nil {
		return err
	}
	// Until the rename is durable the old slot is there, or none; the other one counts either way.
	return putWhole(dir, o, name, b[:slotSize])
}

// putWhole writes a file in one rename, whatever stands at its place.
func putWhole(dir string, o Options, name string, b []byte) error {
	if info, err := o.FS.Stat(o.FS.PathJoin(dir, name)); err == nil && info.IsDir() {
		if err := setAside(dir, o, name); err != nil {
			return err
		}
	}
	return writeMark(dir, o, name, b)
}

// setAside moves a file of the store's folder to where it is of no use to the store any more.
func setAside(dir string, o Options, name string) error {
	to, err := asideFolder(dir, o)
	if err != nil {
		return err
	}
	if err := o.FS.Rename(o.FS.PathJoin(dir, name), o.FS.PathJoin(to, name)); err != nil {
		return err
	}
	return errors.Join(syncFolder(to, o), syncFolder(dir, o))
}

// write makes a mark durable, in place of the older one.
func (s *slots) write(m *headMark) error {
	b, err := m.append(s.buffer[:0])
	if err != nil {
		return err
	}
	s.buffer = b
	f := s.files[s.next]
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	// Torn here, the slot holds no mark; the other one is older by this header, which the database holds.
	if err := f.SyncData(); err != nil {
		return err
	}
	s.next = 1 - s.next
	return nil
}

func (s *slots) close() (err error) {
	for i, f := range s.files {
		if f != nil {
			err = errors.Join(err, f.Close())
			s.files[i] = nil
		}
	}
	return err
}

// advance makes the mark for a header durable that the database holds and that has not left yet.
func (s *Store) advance(signed *lightchain.SignedHeader) error {
	return s.setMark(s.mark.after(signed), signed.Header.NextKey != nil)
}

// advanceTo is advance for an end of the chain that came from elsewhere, and may lie many headers above.
func (s *Store) advanceTo(tip *lightchain.Tip) error {
	with := &Reader{db: s.db, from: s.db, decoder: s.decoder}
	with.now.Store(&view{tip: tip, next: tip.Next})
	m, err := with.markAt(tip)
	if err != nil {
		return s.guard.fail(fmt.Errorf("head mark: %w", err))
	}
	m.opens, m.counter = s.mark.opens, s.mark.counter
	for name, height := range s.mark.receipted {
		m.receipted[name] = max(m.receipted[name], height)
	}
	return s.setMark(*m, true)
}

// setMark makes a mark durable. keys says that its headers set the key: they go into their file first, since a mark
// whose key nothing explains would be one whose entries nobody can prove.
//
// If the power fails before it returns, the database is above the mark, and the chain goes on from the database. A write
// that fails leaves unknown which of the two slots counts, so the store fails and nothing leaves.
func (s *Store) setMark(m headMark, keys bool) error {
	if keys {
		if err := s.keepKeys(m.head.Height); err != nil {
			return s.guard.fail(fmt.Errorf("the file of headers that set the key: %w", err))
		}
	}
	m.counter++
	if err := s.slots.write(&m); err != nil {
		return s.guard.fail(fmt.Errorf("head mark: %w", err))
	}
	s.mark = m
	return nil
}

// Head is what the head mark beside a chain's database says.
type Head struct {
	Chain  lightchain.ChainID
	Height uint64 // of the newest header that may have left
	Hash   lightchain.Hash
	Next   uint64 // number of the next entry
	Bad    error  // says which of the two slots cannot be read, nil if both can
}

// ReadHead returns what the head mark of the chain in dir says, nil if none can be read.
func ReadHead(dir string, o Options) (*Head, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	found := readSlots(dir, o)
	m := found.newest()
	if m == nil {
		return nil, nil
	}
	tip := m.tip()
	return &Head{Chain: tip.Chain, Height: tip.Height, Hash: tip.Hash, Next: tip.Next, Bad: found.bad()}, nil
}

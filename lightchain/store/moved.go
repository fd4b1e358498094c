package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// Two files beside the database say what its own records cannot know: that this copy of the chain is a restored one,
// which another may have outgrown, or that the chain has moved away. A backup does not take them along, a copy of the
// folder does.
const (
	restoredName = "RESTORED"
	movedName    = "MOVED"
)

// Restored says of a store that it was brought back from a backup. Until [Store.ConfirmHead] such a store does not
// seal: whatever was sealed after the backup was made is not in it, and sealing on top of what is would fork the
// chain. The same holds of a store that lost what says where its chain ended: see doubt.go.
type Restored struct {
	Made    time.Time `json:"made"`            // the backup, by its maker's clock
	Doubt   string    `json:"doubt,omitempty"` // no backup: why headers may have left that are not here
	At      time.Time `json:"at"`              // restored, or found to be in doubt
	Height  uint64    `json:"height"`          // of the newest header in it
	Entries uint64    `json:"entries"`         // that it numbers
	// Newest says that no header was ever sealed above it: the backup handed the chain over, or somebody who must
	// know has said so. A doubt that comes later ends that.
	Newest bool `json:"newest"`
	Moved  bool `json:"moved"` // the backup handed the chain over, its key with it
	// Strangers are aggregators that knew nothing of the chain when they were asked about it: what they know by now
	// they have from here.
	Strangers []string `json:"strangers,omitempty"`
	By        *By      `json:"by,omitempty"` // who restored it, or gave his word last that it is the newest; nil: not known
}

// By is a user of the machine.
type By struct {
	UID  uint32 `json:"uid"`
	User string `json:"user,omitempty"` // "" where the system knows no name
}

// Moved says of a store that its chain was handed over to another place.
type Moved struct {
	At time.Time `json:"at"`
	To string    `json:"to"` // the backup folder
}

// MarkRestored notes durably that the store in dir, which nobody else has open, was restored.
func MarkRestored(dir string, o Options, r Restored) error { return putMark(dir, o, restoredName, r) }

// ReadRestored returns what MarkRestored noted, or nil.
func ReadRestored(dir string, o Options) (*Restored, error) {
	return readMark[Restored](dir, o, restoredName)
}

// MarkMoved notes durably that the chain in dir goes on elsewhere: it can be read here, and nothing be added. Nobody
// else may have the store open; whoever marks it reads it, and so holds its lock.
func MarkMoved(dir string, o Options, m Moved) error { return putMark(dir, o, movedName, m) }

// ReadMoved returns what MarkMoved noted, or nil.
func ReadMoved(dir string, o Options) (*Moved, error) { return readMark[Moved](dir, o, movedName) }

func putMark(dir string, o Options, name string, mark any) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	text, err := json.Marshal(mark)
	if err == nil {
		err = putWhole(dir, o, name, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("marking the chain in %s as %s: %w", dir, strings.ToLower(name), err)
	}
	return nil
}

func writeMark(dir string, o Options, name string, text []byte) error {
	path := o.FS.PathJoin(dir, name)
	f, err := o.FS.Create(path+newSuffix, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := o.FS.Rename(path+newSuffix, path); err != nil {
		return err
	}
	return syncFolder(dir, o)
}

// readMark returns nil where there is no mark. One that cannot be understood counts, with nothing known: a mark keeps
// the store from doing something.
func readMark[T any](dir string, o Options, name string) (*T, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	path := o.FS.PathJoin(dir, name)
	text := []byte(nil)
	switch info, err := o.FS.Stat(path); {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.IsDir() && info.Mode().IsRegular():
		if text, err = salvage.ReadSmall(o.FS, path, 1<<20); err != nil {
			return nil, err
		}
	}
	mark := new(T)
	if json.Unmarshal(text, mark) != nil {
		mark = new(T)
	}
	return mark, nil
}

// CheckMoved fails with [ErrMoved] where the chain in dir goes on elsewhere, as [Open] does.
func CheckMoved(dir string, o Options) error {
	m, err := ReadMoved(dir, o)
	if err != nil || m == nil {
		return err
	}
	if m.At.IsZero() {
		return fmt.Errorf("%w, by %s in its folder, which cannot be read: it can be read here, not recorded. If it never was moved, remove that file", ErrMoved, movedName)
	}
	return fmt.Errorf("%w, on %s to %s: it can be read here, not recorded", ErrMoved, m.At.UTC().Format(time.RFC3339), m.To)
}

// ForgetRestored removes the note that the store was restored, when its head is confirmed and what the restore asked
// for is done. It belongs to the owner of the tail.
func (s *Store) ForgetRestored() error {
	if s.info.Restored == nil {
		return nil
	}
	err := s.options.FS.Remove(s.options.FS.PathJoin(s.dir, restoredName))
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = syncFolder(s.dir, s.options)
	}
	if err != nil {
		return fmt.Errorf("forgetting that the chain was restored: %w", err)
	}
	return nil
}

// Files returns the paths, relative to dir and with slashes, of the files that make up the chain in dir: a checkpoint,
// or a store that nobody records on. What was put aside is not among them.
func Files(dir string, o Options) ([]string, error) {
	files, err := listFiles(dir, o)
	if err != nil {
		return nil, fmt.Errorf("files of the chain in %s: %w", dir, err)
	}
	return files, nil
}

func listFiles(dir string, o Options) (files []string, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	path, n, err := current(dir, o)
	var names []string
	if err == nil {
		names, err = o.FS.List(path)
	} else if errors.Is(err, ErrNoChain) && chainLeft(dir, o) {
		err = nil // its database is gone, and the chain goes on above what is left
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name != "LOCK" && !strings.HasSuffix(name, ".dbtmp") {
			files = append(files, dataName(n)+"/"+name)
		}
	}
	for _, name := range append(slotNames[:], keysName) {
		if info, err := o.FS.Stat(o.FS.PathJoin(dir, name)); err == nil && !info.IsDir() {
			files = append(files, name)
		}
	}
	return files, nil
}

package salvage

import (
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Withheld is what Pebble has removed from one database since it was opened, and is there still.
type Withheld struct {
	mu       sync.Mutex
	released bool     // what is removed from now on goes at once
	names    []string // paths, in the order in which they were removed
}

// keep notes that a file was removed, and reports whether it stays.
func (w *Withheld) keep(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.released {
		w.names = append(w.names, name)
	}
	return !w.released
}

// KeptPrefix begins the new name of a file that was withheld when its own was to be used again. Pebble ignores it; to
// a rebuild it is a table or a log like others.
const KeptPrefix = "kept-"

// Remove removes a file, now or, as long as it is withheld, later.
func (w *Withheld) Remove(fs vfs.FS, name string) error {
	if w.keep(name) {
		return nil
	}
	return fs.Remove(name)
}

// MakeRoom gives a file that is withheld another name when its own is to be used again.
//
// The log is synced with the folder before anything is promised in the new file; until then there is one of the two.
func (w *Withheld) MakeRoom(fs vfs.FS, name string) error {
	if !w.taken(name) {
		return nil
	}
	kept := fs.PathJoin(fs.PathDir(name), KeptPrefix+fs.PathBase(name))
	if err := fs.Rename(name, kept); err != nil {
		return err
	}
	w.keep(kept)
	return nil
}

// taken reports whether a file is withheld, and withholds it under this name no longer.
func (w *Withheld) taken(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.names, name)
	if i < 0 {
		return false
	}
	w.names = slices.Delete(w.names, i, i+1)
	return true
}

// Released reports whether what is removed goes at once.
func (w *Withheld) Released() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.released
}

// Release ends the withholding and returns what was kept.
func (w *Withheld) Release() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := w.names
	w.released, w.names = true, nil
	return names
}

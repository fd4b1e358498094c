// Package asowner lets a command that root runs act as the owner of the folder that it works in.
//
// The folder belongs to the service's user, who may be taken over. What root opens there by name can be a link of his, and
// what root writes there is root's, which the service cannot read afterwards. So a command gives up root before it touches
// the folder: [Become]. What the operator has named himself, an output or a stick that root alone may write to, it opens as
// who started it: [AsCaller].
//
// The process keeps root as its real user. So it can go back for one call, is still root to whoever asks who it is, and its
// new user can neither trace nor stop it. On systems other than Linux nothing is given up.
//
// It owns whose rights file work has, and knows nothing of the files.
package asowner

import (
	"os"
	"path/filepath"
)

// Owns reports whether this process may change what is in a folder, as its owner or as root.
func Owns(folder string) bool {
	uid, ok := ownerOf(folder)
	return !ok || os.Geteuid() == 0 || os.Geteuid() == uid
}

// Outside runs f, which works with the file at path, as who started the process where that is not below folder: there the
// operator has named it. Below folder f runs as the folder's owner.
func Outside(folder, path string, f func() error) error {
	if Below(folder, path) {
		return AsOwner(f)
	}
	return AsCaller(f)
}

// Named runs f, which makes what the operator has named, as [Outside] does. Below folder the process becomes its owner first,
// also where nothing else of the command touched the folder: there the name may be a link of the owner's.
func Named(folder, path string, f func() error) error {
	if Below(folder, path) {
		if err := Become(folder); err != nil {
			return err
		}
	}
	return Outside(folder, path, f)
}

// Below reports whether a path is in a folder, by its name.
func Below(folder, path string) bool {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return false
	}
	if path, err = filepath.Abs(path); err != nil {
		return false
	}
	name, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(name)
}

//go:build unix

package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"edgechain.example/asowner"
)

// GiveToOwner gives what root has restored below a data folder, or for it, to the folder's owner, as whom the service
// runs. What is not there is left out.
func GiveToOwner(folder string, made ...string) error { return give(folder, false, made...) }

// giveFolders is GiveToOwner for the folders alone, so that their owner can empty them; files in them may have other names.
func giveFolders(folder string, made ...string) error { return give(folder, true, made...) }

func give(folder string, foldersAlone bool, made ...string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if os.Getuid() != 0 || !ok || owner.Uid == 0 {
		return nil
	}
	for _, path := range made {
		if err := asowner.Outside(folder, path, func() error { return giveBelow(folder, path, foldersAlone, owner) }); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// giveBelow gives a path and what is below it. The owner to be can rename in folder meanwhile: no link leads out of it.
func giveBelow(folder, path string, foldersAlone bool, owner *syscall.Stat_t) error {
	name, err := filepath.Rel(folder, path)
	if err != nil || !filepath.IsLocal(name) { // the key, elsewhere: nothing but what is named
		folder, name = filepath.Dir(path), filepath.Base(path)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), filepath.ToSlash(name), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || foldersAlone && !entry.IsDir() {
			return err
		}
		return root.Lchown(filepath.FromSlash(path), int(owner.Uid), int(owner.Gid))
	})
}

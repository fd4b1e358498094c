//go:build unix

package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
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
	if os.Geteuid() != 0 || !ok || owner.Uid == 0 {
		return nil
	}
	for _, root := range made {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || foldersAlone && !entry.IsDir() {
				return err
			}
			return os.Lchown(path, int(owner.Uid), int(owner.Gid))
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

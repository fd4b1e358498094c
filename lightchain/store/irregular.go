package store

import (
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A pipe, a socket or a device in the place of a file would have whoever opens it wait for ever, and a link that leads nowhere
// is no file and stands in the way of one. Before recording such are put aside; who reads says so, and changes nothing.

// irregular returns what in the folder of a store is neither a file nor a folder, nor a link to one. What was put aside is not
// looked at. A file that says that the store was moved or restored counts whatever it is: see readMark.
func irregular(dir string, o Options) (found []string) {
	if o.FS != vfs.Default {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, entry iofs.DirEntry, err error) error {
		if err != nil || path == dir {
			return nil // it is met, and told, where it is opened
		}
		name := filepath.Base(path)
		if entry.IsDir() {
			if name == asideName || strings.Count(strings.TrimPrefix(path, dir), string(filepath.Separator)) > 1 {
				return iofs.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(name, asideName+"-") {
			return nil // see rename
		}
		info, err := os.Stat(path)
		if (err != nil && os.IsNotExist(err) || err == nil && !info.IsDir() && !info.Mode().IsRegular()) && name != movedName && name != restoredName {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// clearIrregular puts aside what is no file.
func clearIrregular(dir string, o Options) error {
	found := irregular(dir, o)
	for _, path := range found { // where the rest goes must be free first
		if filepath.Base(path) == asideName {
			if err := rename(path, o); err != nil {
				return err
			}
		}
	}
	for _, path := range found {
		if filepath.Base(path) == asideName {
			continue
		}
		if err := moveAside(dir, path, o); err != nil {
			return err
		}
	}
	return nil
}

// checkRegular fails with a damagedDatabase where something is no file.
func checkRegular(dir string, o Options) error {
	found := slices.DeleteFunc(irregular(dir, o), func(path string) bool { return filepath.Base(path) == asideName })
	if len(found) == 0 {
		return nil
	}
	return &damagedDatabase{fmt.Errorf("%s is neither a file nor a folder, but %s", found[0], kindOf(found[0]))}
}

func kindOf(path string) string {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err.Error()
	case info.Mode()&iofs.ModeSymlink != 0:
		return "a link that leads to none"
	case info.Mode()&iofs.ModeNamedPipe != 0:
		return "a pipe"
	case info.Mode()&iofs.ModeSocket != 0:
		return "a socket"
	case info.Mode().IsRegular():
		return "a file"
	case info.IsDir():
		return "a folder"
	}
	return "a device"
}

//go:build unix

package keyfile

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"edgechain.example/shellword"
)

// overwritesAfterRename says that a file which is open keeps its blocks when another takes its name.
const overwritesAfterRename = true

// checkPrivate refuses a file to which others than its owner have any right, and one whose owner is a third party:
// neither root, nor whom the program runs as. Root itself may use anybody's, since `sudo edgeagent key show` does.
func checkPrivate(path string, info fs.FileInfo) error {
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s: %w (mode %#o): run `chmod 600 %s`", path, ErrExposed, perm, shellword.Path(path))
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if uid := uint32(os.Geteuid()); uid != 0 && stat.Uid != 0 && stat.Uid != uid {
		return fmt.Errorf("%s: %w: it belongs to user %d and this program runs as %d: run `chown %d %s`",
			path, ErrExposed, stat.Uid, uid, uid, shellword.Path(path))
	}
	return nil
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
